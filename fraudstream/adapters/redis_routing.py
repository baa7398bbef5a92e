"""
Which partition a body goes to, and the producer's end of all of them.

A body that is sent to another partition than this one is decided all the same, and its states are moved where they belong;
only a second one of the same id is not known there.
"""

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from fraudstream.adapters.redis_intake import RedisIntake
from fraudstream.adapters.redis_keys import Partitions


class _Routed(msgspec.Struct):
    user_id: Any = None
    card_id: Any = None
    transaction_id: Any = None


_decode = msgspec.json.Decoder(_Routed).decode


def partition_of(body: bytes, partitions: Partitions) -> int:
    """
    Return where a body belongs: by its user, else its card, else its transaction id; any other body by its bytes.

    Numbers count as their digits. A label has neither user nor card and goes by its transaction.
    """
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return zlib.crc32(body) % partitions.count
    for word in (found.user_id, found.card_id, found.transaction_id):
        if isinstance(word, str | int) and not isinstance(word, bool) and word != "":
            return partitions.of(str(word))
    return zlib.crc32(body) % partitions.count


class RedisPartitionedIntake:
    """
    ``TransactionIntake`` over every partition: bodies of one user stay in their order.

    Args:
        intakes: Those of the partitions, in order.
    """

    def __init__(self, intakes: Sequence[RedisIntake]) -> None:
        self._intakes = intakes
        self._partitions = Partitions(len(intakes))

    async def append(self, bodies: Sequence[bytes]) -> list[bytes]:
        """
        Append bodies, each to its partition, and return their entry ids; see the port.

        Raises:
            AdmissionRefused: One of the partitions that are meant is full; nothing was appended to any.
            StreamUnavailable: Some may have been appended.
        """
        rows: dict[int, list[int]] = {}
        for row, body in enumerate(bodies):
            rows.setdefault(partition_of(body, self._partitions), []).append(row)
        await asyncio.gather(*(self._intakes[partition].admit() for partition in rows))
        appended = await asyncio.gather(
            *(self._intakes[partition].append([bodies[row] for row in some]) for partition, some in rows.items()),
            return_exceptions=True,
        )
        entry_ids = [b""] * len(bodies)
        for some, answer in zip(rows.values(), appended, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            for row, entry_id in zip(some, answer, strict=True):
                entry_ids[row] = entry_id
        return entry_ids
