"""
The same job written the ordinary way, on servers of its own, fed as fast as it takes payments.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fraudstream.adapters.postgres_account import rows_of
from fraudstream.adapters.redis_account import has_groups
from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_keys import RAW
from fraudstream.app.demo import Progress
from fraudstream.domain.errors import TransientError
from fraudstream.local import LocalPostgres, LocalValkey
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate
from fraudstream.settings import Settings, locate

#: As many as we use to decide, and what the first batches cost more is paid by these.
_PROCESSES, _WARM_UP = 2, 2_000
#: Seconds without a new row after which nothing more is expected.
_STUCK_S = 30.0


async def peer_throughput(script: Path, burst: int, inherited: Mapping[str, str], progress: Progress) -> float:
    """
    Return transactions per second from the first XADD to the last row, over a burst.

    Raises:
        TransientError: It stopped before everything was recorded.
    """
    with LocalValkey() as valkey, LocalPostgres() as postgres, tempfile.TemporaryDirectory() as folder:
        files = [
            _bodies(Path(folder) / f"{number}.jsonl", count, seed=number) for number, count in enumerate((_WARM_UP, burst))
        ]
        model = locate(Settings().model_path)
        model = model / "fraud.onnx" if model.is_dir() else model
        words = ["serve", "--redis", valkey.url, "--postgres", postgres.url, "--model", str(model)]
        servers = (valkey.url, postgres.url)
        with _workers(script, words, inherited):
            await _grouped(valkey.url)
            await _through(script, files[0], servers, _WARM_UP, inherited=inherited, progress=progress)
            began = time.monotonic()
            await _through(script, files[1], servers, _WARM_UP + burst, inherited=inherited, progress=progress)
            return round(burst / (time.monotonic() - began), 1)


def _bodies(file: Path, count: int, *, seed: int) -> Path:
    with file.open("wb") as lines:
        for one in generate(demo_plan(seed, end_ms=int(time.time() * 1000), transactions=count)):
            lines.write(one.body + b"\n")
    return file


@contextmanager
def _workers(script: Path, words: list[str], inherited: Mapping[str, str]) -> Iterator[None]:
    processes = [
        subprocess.Popen(  # noqa: S603 our own script
            [sys.executable, str(script), *words, "--name", f"worker-{number}"],
            env=dict(inherited), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for number in range(_PROCESSES)
    ]  # fmt: skip
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


async def _grouped(redis_url: str) -> None:
    """
    Wait until the workers have made their group: it begins with what comes after it.

    Raises:
        TransientError: They did not.
    """
    bound = time.monotonic() + _STUCK_S
    async with connected(RedisAddress(url=redis_url), connections=1) as client:
        while not await has_groups(client, RAW):
            if time.monotonic() > bound:
                raise TransientError("the comparison did not start; run its script by hand to see why")
            await asyncio.sleep(0.1)


async def _through(
    script: Path, file: Path, servers: tuple[str, str], rows: int, *, inherited: Mapping[str, str], progress: Progress
) -> None:
    """
    Publish a file and wait until so many rows are there. ``servers`` are the addresses of Redis and of the database.
    """
    redis_url, postgres_url = servers
    publisher = await asyncio.create_subprocess_exec(
        sys.executable, str(script), "publish", str(file), "--redis", redis_url, env=dict(inherited)
    )
    found, moved_at = -1, time.monotonic()
    while found < rows:
        now = await rows_of(postgres_url, "decisions")
        if now != found:
            found, moved_at = now, time.monotonic()
            progress.count("recorded by the comparison", found, rows)
        if time.monotonic() - moved_at > _STUCK_S:
            raise TransientError(f"the comparison recorded {found} of {rows} and stopped")
        await asyncio.sleep(0.1)
    await publisher.wait()
