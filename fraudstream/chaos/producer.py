"""
The producer of a run: sends at least once, remembers everything, and sends a window again when a history was lost.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable

from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.adapters.redis_intake import AdmissionLimits, RedisIntake
from fraudstream.adapters.redis_keys import LABELS, RAW
from fraudstream.chaos.traffic import Item
from fraudstream.domain.errors import TransientError

#: Most items of one call.
_AT_ONCE = 100
_PAUSE_S = 0.05


class Producer:
    """
    Appends what it is offered, in order. ``quiet`` is held while nothing may be on its way.
    """

    def __init__(self, url: str, rng: random.Random) -> None:
        client = RedisAddress(url=url).commands(2)
        self._client = client
        self._raw = RedisIntake(client, stream=RAW, limits=AdmissionLimits())
        self._labels = RedisIntake(client, stream=LABELS, limits=AdmissionLimits())
        self._queue: asyncio.Queue[Item] = asyncio.Queue()
        self._rng = rng
        self.quiet = asyncio.Lock()
        self.sent: dict[str, Item] = {}
        self.history: set[str] = set()
        self.sent_at: dict[str, float] = {}
        self.attempts: Counter[str] = Counter()
        self.appended = 0
        self.refused = 0

    def offer(self, items: Iterable[Item]) -> None:
        """
        Take items to be sent as soon as may be.
        """
        for item in items:
            self._queue.put_nowait(item)

    @property
    def waiting(self) -> int:
        """
        How many items are not sent yet.
        """
        return self._queue.qsize()

    async def run(self) -> None:
        """
        Send until cancelled.
        """
        while True:
            items = [await self._queue.get()]
            while not self._queue.empty() and len(items) < _AT_ONCE:
                items.append(self._queue.get_nowait())
            async with self.quiet:
                await self._send([item for item in items if item.kind != "label"], self._raw)
                await self._send([item for item in items if item.kind == "label"], self._labels)

    async def _send(self, items: list[Item], intake: RedisIntake) -> None:
        while items:
            self.attempts.update(item.key for item in items)
            try:
                await intake.append([item.body for item in items])
            except TransientError:
                self.refused += 1
                await asyncio.sleep(_PAUSE_S * self._rng.uniform(0.5, 1.5))
                continue
            break
        now = time.monotonic()
        for item in items:
            self.sent.setdefault(item.key, item)
            self.history.add(item.key)
            self.sent_at[item.key] = now
        self.appended += len(items)

    def since(self, at_s: float) -> list[Item]:
        """
        Return what was sent since a time of ``time.monotonic``.
        """
        return [self.sent[key] for key, at in self.sent_at.items() if at >= at_s]

    async def close(self) -> None:
        """
        Close the connections.
        """
        await self._client.aclose()
        await self._client.connection_pool.disconnect()
