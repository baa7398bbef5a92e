"""
What workers complain of, left in Redis for a while: a hash for each group, one field for each consumer, gone by itself.
"""

from collections.abc import Mapping, Sequence

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import Keys
from fraudstream.fleet.overview import Complaint
from fraudstream.telemetry.troubles import LATELY_S, Trouble

_decode = msgspec.json.Decoder(tuple[int, list[Trouble]]).decode


class RedisTroubles:
    """
    Leaves the complaints of one consumer; where it has none, nothing is written.
    """

    def __init__(self, client: Redis, keys: Keys, *, stream: str, group: str, consumer: str) -> None:
        self._client = client
        self._key = keys.trouble(group, stream)
        self._consumer = consumer

    async def tell(self, troubles: Sequence[Trouble]) -> int:
        """
        Say what there is to complain of; return how many kinds.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        if not troubles:
            return 0
        with translated("troubles"):
            seconds, micros = await self._client.time()
            note = msgspec.json.encode((int(seconds) * 1000 + int(micros) // 1000, list(troubles)))
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hset(self._key, self._consumer, note)
            pipeline.pexpire(self._key, int(LATELY_S * 1000))
            await pipeline.execute()
        return len(troubles)


def complaints_in(reply: Mapping[bytes, bytes] | Sequence[bytes] | None, now_ms: int) -> tuple[Complaint, ...]:
    """
    Read the hash of one group; what is older than a worker repeats is over.
    """
    pairs = reply.items() if isinstance(reply, Mapping) else zip(*[iter(reply or ())] * 2, strict=True)
    found = []
    for consumer, note in pairs:
        at_ms, troubles = _decode(note)
        if now_ms - at_ms < LATELY_S * 500:  # half: it is told again every few seconds while it lasts
            found += [
                Complaint(consumer=consumer.decode(), about=one.about, says=one.says, times=one.times) for one in troubles
            ]
    return tuple(found)
