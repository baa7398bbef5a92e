"""
A primary that dies, and a fleet that goes on at the replica that the sentinel names.
"""

from pathlib import Path

import pytest

from fraudstream.adapters.redis_client import RedisAddress, connected, translated
from fraudstream.adapters.redis_finders import Found, PrimaryFinder
from fraudstream.app.connections import intake
from fraudstream.domain.errors import StreamUnavailable
from fraudstream.local import LocalValkey
from fraudstream.producers.produce import produce
from fraudstream.settings import Settings
from tests.support.sentinel import SERVICE, watched
from tests.support.system import QUICK, ForkedWorker, ids_of, open_entries, payments, recorded_ids
from tests.support.wait import wait_until_sync

ALL = ("fraud-check", "ml-scoring", "recorder", "alerter")


async def test_a_fleet_goes_on_at_the_replica_that_took_over(database: str, tmp_path: Path) -> None:
    sent = payments(400)
    with watched() as servers:
        settings = Settings(redis_url=servers.url, postgres_url=database, dedup_horizon_s=0)
        environment = {
            **QUICK, "REDIS_URL": servers.url, "POSTGRES_URL": database, "FRAUDSTREAM_DEDUP_HORIZON_S": "0",
            "PATH": "/usr/bin:/bin", "FRAUDSTREAM_LOG_LEVEL": "warning",
        }  # fmt: skip
        worker = ForkedWorker(",".join(ALL), environment=environment, folder=tmp_path / "all")
        try:
            worker.start()
            assert PrimaryFinder([Found("127.0.0.1", 1), *servers.sentinels], SERVICE).find().port == servers.primary.port
            async with intake(settings) as target:
                await produce(sent[:200], target)
                wait_until_sync(lambda: not any(open_entries(servers.clients[0], ALL).values()), "the first half")
                servers.fail_over()
                await produce(sent[200:], target)
            wait_until_sync(lambda: not any(open_entries(servers.clients[1], ALL).values()), "the second half")
        finally:
            worker.kill()

    found = await recorded_ids(database)
    assert found.keys() == ids_of(sent)
    assert set(found.values()) == {1}


async def test_an_unknown_service_and_no_sentinel_at_all_say_so(valkey: LocalValkey) -> None:
    for url, says in (
        (f"redis+sentinel://127.0.0.1:{valkey.port}/main", "is no sentinel"),
        ("redis+sentinel://127.0.0.1:1/main", "no sentinel knows"),
    ):
        async with connected(RedisAddress(url=url), 1) as client:
            with pytest.raises(StreamUnavailable, match=says), translated("PING"):
                await client.execute_command("PING")
