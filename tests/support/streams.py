"""
One stream with several consumers, in memory and on a real server, seen through the same eyes.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import redis

from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.adapters.redis_keys import DLQ, RAW, Keys
from fraudstream.adapters.redis_stream import RedisHeart, RedisTransactionStream, StreamOptions
from fraudstream.fleet.ports import TransactionStream
from tests.support.fake_stream import FakeStream, MemoryStreams

GROUP = "fraud-check"


class Streams(Protocol):
    """
    What a contract of streams needs from beside them.
    """

    def consumer(self, name: str, *, claim_idle_s: float = 0.0, hard_idle_s: float = 300.0) -> TransactionStream: ...

    def beat(self, consumer: str, in_hand: Sequence[bytes], *, life_s: float = 30.0) -> list[bytes]: ...

    def add(self, count: int) -> list[bytes]: ...

    def trim(self, entry_id: bytes) -> None: ...

    def flush(self) -> None: ...

    def pending(self) -> dict[bytes, tuple[str, int]]: ...

    def consumers(self) -> set[str]: ...

    def letters(self) -> list[dict[str, bytes]]: ...

    async def close(self) -> None: ...


class FakeStreams:
    """
    ``Streams`` in memory.
    """

    def __init__(self) -> None:
        self._streams = MemoryStreams()

    def consumer(self, name: str, *, claim_idle_s: float = 0.0, hard_idle_s: float = 300.0) -> TransactionStream:
        return FakeStream(self._streams, group=GROUP, consumer=name, claim_idle_s=claim_idle_s, hard_idle_s=hard_idle_s)

    def beat(self, consumer: str, in_hand: Sequence[bytes], *, life_s: float = 30.0) -> list[bytes]:
        return FakeStream(self._streams, group=GROUP, consumer=consumer).beat(in_hand, life_s)

    def add(self, count: int) -> list[bytes]:
        return [self._streams.add({b"data": b"%d" % number}) for number in range(count)]

    def trim(self, entry_id: bytes) -> None:
        self._streams.trim(entry_id)

    def flush(self) -> None:
        self._streams.flush()

    def pending(self) -> dict[bytes, tuple[str, int]]:
        return {entry_id: (entry.owner, entry.deliveries) for entry_id, entry in self._streams.pending(GROUP).items()}

    def consumers(self) -> set[str]:
        return set(self._streams.groups[GROUP].consumers)

    def letters(self) -> list[dict[str, bytes]]:
        return [
            {
                **{name.decode(): value for name, value in letter.fields.items()},
                "entry_id": letter.entry_id,
                "reason": letter.reason.encode(),
                "deliveries": b"%d" % letter.deliveries,
            }
            for letter in self._streams.letters
        ]

    async def close(self) -> None:
        return


class PatientAddress(RedisAddress, frozen=True):
    """
    An address whose client waits: a busy machine is no server that is away.
    """

    def options(self) -> dict[str, Any]:
        return {**super().options(), "socket_timeout": 60.0, "socket_connect_timeout": 60.0}


class RedisStreams:
    """
    ``Streams`` on a server; ``client`` looks at it from the side.
    """

    def __init__(self, url: str, *, tag: str = "") -> None:
        self.address = PatientAddress(url=url)
        self.keys = Keys(tag)
        self.stream = self.keys.stream(RAW)
        #: Untyped: what it answers depends on how it was made, which its types do not tell.
        self.client: Any = redis.Redis.from_url(url, protocol=2)
        self._reader = self.address.reader()
        self._commands = self.address.commands(4)
        self._hearts: list[RedisHeart] = []

    def consumer(
        self, name: str, *, claim_idle_s: float = 0.0, hard_idle_s: float = 300.0, group: str = GROUP
    ) -> RedisTransactionStream:
        options = StreamOptions(claim_idle_s=claim_idle_s, hard_idle_s=hard_idle_s)
        return RedisTransactionStream(
            self._reader, self._commands, stream=self.stream, group=group, consumer=name, keys=self.keys, options=options
        )

    def beat(self, consumer: str, in_hand: Sequence[bytes], *, life_s: float = 30.0) -> list[bytes]:
        options = StreamOptions(heartbeat_life_s=life_s)
        heart = RedisHeart(self.address, self.consumer(consumer), self.keys, options)
        try:
            return heart.beat(in_hand)
        finally:
            heart.close()

    def add(self, count: int) -> list[bytes]:
        pipeline = self.client.pipeline(transaction=False)
        for number in range(count):
            pipeline.xadd(self.stream, {"data": b"%d" % number})
        entry_ids: list[bytes] = pipeline.execute()
        return entry_ids

    def trim(self, entry_id: bytes) -> None:
        self.client.xdel(self.stream, entry_id)

    def flush(self) -> None:
        self.client.flushall()

    def pending(self, group: str = GROUP) -> dict[bytes, tuple[str, int]]:
        found = self.client.xpending_range(self.stream, group, "-", "+", 100_000)
        return {one["message_id"]: (one["consumer"].decode(), one["times_delivered"]) for one in found}

    def consumers(self) -> set[str]:
        return {one["name"].decode() for one in self.client.xinfo_consumers(self.stream, GROUP)}

    def letters(self) -> list[dict[str, bytes]]:
        return [
            {name.decode(): value for name, value in fields.items()} for _, fields in self.client.xrange(self.keys.stream(DLQ))
        ]

    async def close(self) -> None:
        await self._reader.aclose()
        await self._commands.aclose()
        await self._commands.connection_pool.disconnect()
        self.client.close()
