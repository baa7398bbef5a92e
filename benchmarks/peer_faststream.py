"""
The same job written the ordinary way on FastStream: what ``fraudstream bench --compare`` measures fraudstream against.

A batch subscriber on the raw stream: SET NX against duplicates, velocity counters in one Redis pipeline per batch, rules as
plain Python conditions, the shipped ONNX model over the batch, rows by asyncpg, flagged payments to another stream. It is
written as one would write it without thinking of crashes: a batch that dies between two of these steps is lost or counted
twice.

``python benchmarks/peer_faststream.py serve`` and ``… publish FILE`` (one JSON body a line).
"""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import onnxruntime
from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis

STREAM, GROUP, FLAGGED = "transactions:raw", "fraud", "transactions:fraud"
BATCH = 256
ENTITIES = ("card_id", "user_id", "device_id", "merchant")
WINDOWS_S = (3_600, 86_400)
TABLE = """
CREATE TABLE IF NOT EXISTS decisions (
    transaction_id text PRIMARY KEY, amount double precision, outcome text, score double precision, rules text[],
    occurred_at timestamptz, decided_at timestamptz DEFAULT now())
"""
INSERT = "INSERT INTO decisions VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"

Rule = Callable[[dict[str, Any], Sequence[float]], bool]


def rules(count: int = 50) -> list[tuple[str, Rule]]:
    """
    Return rules of two or three conditions over counts, amounts and words, of which few fire.
    """
    made: list[tuple[str, Rule]] = []
    for number in range(count):
        column, most, amount = number % 16, 40.0 + number, 500.0 + 10 * number
        made.append(
            (
                f"rule_{number}",
                lambda body, values, column=column, most=most, amount=amount: (
                    values[column] > most and float(body["amount"]) > amount and body.get("country") != "ZZ"
                ),
            )
        )
    return made


class Worker:
    """
    Everything that one process holds.
    """

    def __init__(self, redis_url: str, postgres_url: str, model: Path) -> None:
        self._redis = Redis.from_url(redis_url)
        self._postgres_url = postgres_url
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self._rules = rules()

    async def open(self) -> None:
        """
        Connect to the database.
        """
        self._pool = await asyncpg.create_pool(self._postgres_url, min_size=1, max_size=4)
        await self._pool.execute(TABLE)

    async def handle(self, bodies: list[dict[str, Any]]) -> None:
        """
        Decide one batch.
        """
        fresh = await self._fresh(bodies)
        if not fresh:
            return
        counts = await self._counts(fresh)
        matrix = np.full((len(fresh), int(self._input.shape[1])), np.nan, np.float32)
        matrix[:, : counts.shape[1]] = counts
        scores = self._session.run(None, {self._input.name: matrix})[-1].reshape(len(fresh), -1)[:, -1]
        rows, flagged = [], []
        for body, values, score in zip(fresh, counts.tolist(), scores.tolist(), strict=True):
            hits = [name for name, rule in self._rules if rule(body, values)]
            outcome = "block" if score > 0.93 else "review" if hits or score > 0.75 else "approve"
            rows.append(
                (body["transaction_id"], float(body["amount"]), outcome, score, hits, datetime.fromisoformat(body["timestamp"]))
            )
            if outcome != "approve":
                flagged.append(body["transaction_id"])
        async with self._pool.acquire() as connection:
            await connection.executemany(INSERT, rows)
        if flagged:
            pipeline = self._redis.pipeline(transaction=False)
            for identity in flagged:
                pipeline.xadd(FLAGGED, {"transaction_id": identity})
            await pipeline.execute()

    async def _fresh(self, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        pipeline = self._redis.pipeline(transaction=False)
        for body in bodies:
            pipeline.set(f"seen:{body['transaction_id']}", 1, nx=True, ex=3_600)
        first = await pipeline.execute()
        return [body for body, mine in zip(bodies, first, strict=True) if mine]

    async def _counts(self, bodies: list[dict[str, Any]]) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """
        Count payments and sum amounts per entity and window, shape (bodies, 16).
        """
        pipeline = self._redis.pipeline(transaction=False)
        for body in bodies:
            at, cents = int(datetime.fromisoformat(body["timestamp"]).timestamp()), round(float(body["amount"]) * 100)
            for entity in ENTITIES:
                for window in WINDOWS_S:
                    key = f"{entity}:{body.get(entity)}:{window}:{at // window}"
                    pipeline.hincrby(key, "count", 1)
                    pipeline.hincrby(key, "sum", cents)
                    pipeline.expire(key, 2 * window)
        replies = await pipeline.execute()
        width = 3 * len(ENTITIES) * len(WINDOWS_S)
        table = np.array(replies, np.float32).reshape(len(bodies), width // 3, 3)
        return table[:, :, :2].reshape(len(bodies), -1)


async def serve(given: argparse.Namespace) -> None:
    """
    Run one worker until it is ended.
    """
    broker = RedisBroker(given.redis, logger=None)  # two log lines a batch are not what is compared
    worker = Worker(given.redis, given.postgres, given.model)

    @broker.subscriber(
        stream=StreamSub(STREAM, group=GROUP, consumer=given.name, batch=True, max_records=BATCH, polling_interval=10)
    )
    async def handle(bodies: list[dict[str, Any]]) -> None:
        await worker.handle(bodies)

    await worker.open()
    await FastStream(broker).run()


async def publish(given: argparse.Namespace) -> None:
    """
    Publish one body per line of a file.
    """
    async with RedisBroker(given.redis) as broker:
        with given.file.open("rb") as lines:
            while batch := [line[:-1] for _, line in zip(range(BATCH), lines, strict=False)]:
                pipeline = broker._connection.pipeline(transaction=False)  # noqa: SLF001 what its own documentation shows
                for body in batch:
                    await broker.publish(body, stream=STREAM, pipeline=pipeline)
                await pipeline.execute()


def main() -> None:
    """
    Read the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("serve")
    one.set_defaults(run=serve)
    one.add_argument("--postgres", required=True)
    one.add_argument("--model", type=Path, required=True)
    one.add_argument("--name", default="worker")
    two = commands.add_parser("publish")
    two.set_defaults(run=publish)
    two.add_argument("file", type=Path)
    for each in (one, two):
        each.add_argument("--redis", required=True)
    given = parser.parse_args()
    asyncio.run(given.run(given))


if __name__ == "__main__":
    main()
