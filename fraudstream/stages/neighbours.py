"""
Both deciding groups in one process: what one has in its hands already, the other need not fetch again.

It is a shortcut and nothing rests on it: every verdict is noted in Redis before it is passed on here, the second one is joined
against that record by the same script, and what is not here is read, decoded and looked for as by a process of its own.
"""

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from fraudstream.domain.decision_codec import VerdictRecord
from fraudstream.fleet.ports import Delivery
from fraudstream.stages.case import Case
from fraudstream.stages.waiters import Waiters

#: How many transactions, and how many verdicts, are kept for the other group; what it has read elsewhere is never taken.
_KEPT = 8_192
#: How long a reader waits for verdicts before it reads without them, in seconds.
_MOMENT_S = 0.01
_T = TypeVar("_T")


class Neighbours:
    """
    What two groups of one process and partition pass on to each other. Used on one event loop.

    Args:
        kept: Bound on what waits to be taken, of each kind; beyond it the oldest quarter is forgotten.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._cases: dict[bytes, Case] = {}
        self._verdicts: dict[str, VerdictRecord | None] = {}
        self._waiting = Waiters()
        self._unread = 0

    def case(self, delivery: Delivery) -> Case | None:
        """
        Take what the other group has decoded from the same bytes, as a case of this delivery.
        """
        found = self._cases.pop(delivery.entry_id, None)
        if found is None or found.delivery.fields != delivery.fields:
            return None
        return Case(delivery, found.transaction, found.order)

    def decoded(self, case: Case) -> None:
        """
        Keep a case for the other group.
        """
        self._cases[case.delivery.entry_id] = case
        _bound(self._cases, self._kept)

    def noted(self, verdicts: Mapping[str, VerdictRecord]) -> None:
        """
        Pass on first verdicts, by transaction id.
        """
        self._verdicts.update(verdicts)
        self._unread += len(verdicts)
        self._tell()

    def over(self, transaction_ids: Iterable[str]) -> None:
        """
        Say that no more verdicts come of these: those that have none are to be looked for in Redis, at once.
        """
        for identity in transaction_ids:
            self._verdicts.setdefault(identity)
        self._tell()

    def _tell(self) -> None:
        _bound(self._verdicts, self._kept)
        self._waiting.wake()

    async def judged(self) -> int:
        """
        Return how many verdicts were noted since the last call, as soon as there are any; 0 if there are none for a moment.

        Whoever reads so many entries next has, where this process is the only one, those that the verdicts are of: reading
        more would only hold them until the others are judged.
        """
        until_s = asyncio.get_running_loop().time() + _MOMENT_S
        while not self._unread and asyncio.get_running_loop().time() < until_s:
            await self._waiting.until(until_s)
        unread, self._unread = self._unread, 0
        return unread

    async def verdicts(self, transaction_ids: Sequence[str], within_s: float) -> list[VerdictRecord | None] | None:
        """
        Take the verdicts of all these transactions as soon as the last is noted, None for those of which none comes.

        Returns:
            None if it is not yet known of some of them when so many seconds are over.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + within_s
        while not all(map(self._verdicts.__contains__, transaction_ids)):
            if loop.time() >= until_s:
                return None
            await self._waiting.until(until_s)
        found = [self._verdicts[identity] for identity in transaction_ids]
        for identity in transaction_ids:
            self._verdicts.pop(identity, None)
        return found


def _bound(kept: dict[_T, Any], most: int) -> None:
    if len(kept) > most:
        for key in list(itertools.islice(kept, len(kept) - most + most // 4)):
            del kept[key]
