"""
Which alert channels are settled, kept beside the stream whose pending entries are the outbox.
"""

from collections.abc import Mapping, Sequence

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import UNDELIVERABLE, Keys
from fraudstream.adapters.redis_scripts import SETTLE, Argument, Call, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.fleet.ports import Delivery


class RedisAlertOutbox:
    """
    ``AlertOutbox`` of one consumer of the alerter group.
    """

    def __init__(self, client: Redis, *, stream: str, group: str, consumer: str, keys: Keys, ttl_s: int) -> None:
        self._client = plain(client)
        self._stream = stream
        self._head = (group, consumer)
        self._keys = keys
        self._ttl_ms = ttl_s * 1000

    async def settled(self, transaction_ids: Sequence[str]) -> list[Mapping[str, str]]:
        """
        Read what is settled; see the port.
        """
        if not transaction_ids:
            return []
        with translated("alert"):
            replies = await run(self._client, [("HGETALL", self._keys.alert(one)) for one in transaction_ids])
        return [{name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)} for flat in replies]

    async def settle(
        self, delivery: Delivery, transaction_id: str, channel: str, outcome: str, *, channels: int, letter: Mapping[str, str]
    ) -> bool:
        """
        Note one outcome and acknowledge with the last; see the port.
        """
        words: list[Argument] = [*self._head, delivery.entry_id, self._ttl_ms, channels, channel, outcome]
        for name, value in letter.items():
            words += [name, value]
        keys = (self._stream, self._keys.alert(transaction_id), self._keys.stream(UNDELIVERABLE))
        with translated("settle"):
            (answer,) = await run(self._client, [Call(SETTLE, keys, words)])
        return bool(answer != b"W")
