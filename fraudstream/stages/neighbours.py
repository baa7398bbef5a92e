"""
Both deciding groups in one process: what one has in its hands already, the other need not fetch again.

It is a shortcut and nothing rests on it: what is not here is read, decoded and looked for as by a process of its own. Of a
payment that both have in hand the one that goes first gets the verdict of the other too and decides at once, by a script that
does so only while the entry is theirs in both groups and no verdict is noted; otherwise each goes its own way.
"""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from fraudstream.domain.decision_codec import VerdictRecord
from fraudstream.fleet.ports import Delivery
from fraudstream.stages.case import Case
from fraudstream.stages.ports import FirstVerdicts, Judge
from fraudstream.stages.waiters import Waiters

#: How many transactions, and how many verdicts, are kept for the other group; what it has read elsewhere is never taken.
_KEPT = 8_192
#: How long is waited at a time for what is in hand, in seconds.
_MOMENT_S = 0.02
#: How long the group that goes first waits for the other to come as far, in seconds, where that is at work and where it is not;
#: how often in vain, and how long not then.
_BEHIND_S, _SOON_S, _MISSES, _REST_S = 0.25, 0.01, 3, 1.0
_T = TypeVar("_T")


class Follower(NamedTuple):
    """
    The group that goes second: how it judges, and the name of its consumer.
    """

    judge: Judge
    consumer: str


class Neighbours:
    """
    What two groups of one process and partition pass on to each other. Used on one event loop.

    ``follower`` is the group that goes second, once it is there.

    Args:
        kept: Bound on what waits to be taken, of each kind; beyond it the oldest quarter is forgotten.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self.follower: Follower | None = None
        self._kept = kept
        self._cases: dict[bytes, Case] = {}
        self._verdicts: dict[str, VerdictRecord | None] = {}
        self._decided: dict[bytes, None] = {}
        self._awaited: dict[bytes, _Wait] = {}
        self._busy = 0
        self._reached = (0, 0)
        self._missed = 0
        self._rests_until_s = 0.0
        self._waiting = Waiters()
        self._closing = Waiters()
        self._begun: set[bytes] = set()

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

    def began(self, entry_ids: Iterable[bytes]) -> None:
        """
        Say that the group that goes first has these in hand: until they are ``over`` it is worth waiting for them.
        """
        self._begun.update(entry_ids)

    @contextmanager
    def follows(self, cases: Sequence[Case]) -> Iterator[None]:
        """
        Say that the group that goes second has these in hand, for as long as the context lasts.
        """
        self._busy += 1
        self._reached = max(self._reached, cases[-1].order if cases else self._reached)
        self._closing.wake()
        try:
            yield
        finally:
            self._busy -= 1
            self._closing.wake()

    async def come_close(self, last: Case) -> None:
        """
        Return when the group that goes second has come to this entry, or waiting for it is of no use.

        One that has older entries in hand would stay behind by as much for ever, and no payment be decided at once.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if began_s < self._rests_until_s or self._reached >= last.order:
            return
        while self._reached < last.order:
            until_s = began_s + (_BEHIND_S if self._busy else _SOON_S)
            if loop.time() >= until_s:
                return
            await self._closing.until(until_s)
        await asyncio.sleep(0)  # it waits for its verdicts from its next step on

    def met(self, shared: int) -> None:
        """
        Say how many entries of a batch both groups had in hand. Where it is none time after time, other processes read what
        this one does not, and nobody is waited for for a while.
        """
        now_s = asyncio.get_running_loop().time()
        if shared:
            self._missed = 0
        elif now_s >= self._rests_until_s:
            self._missed += 1
            if self._missed >= _MISSES:
                self._missed, self._rests_until_s = 0, now_s + _REST_S

    def awaited(self, entry_id: bytes) -> bool:
        """
        Say whether the group that goes second has this entry in hand and waits for its verdict.
        """
        return entry_id in self._awaited

    def decided(self, entry_ids: Iterable[bytes]) -> None:
        """
        Say that these were decided for both groups.
        """
        for entry_id in entry_ids:
            self._begun.discard(entry_id)
            wait = self._awaited.pop(entry_id, None)
            if wait is None:
                self._decided[entry_id] = None  # who waited for it has just stopped, and may ask again
            elif wait.is_last(entry_id):
                self._waiting.wake()
        _bound(self._decided, self._kept)

    def noted(self, verdicts: Mapping[str, VerdictRecord]) -> None:
        """
        Pass on first verdicts, by transaction id.
        """
        self._verdicts.update(verdicts)
        _bound(self._verdicts, self._kept)
        self._waiting.wake()

    def over(self, entry_ids: Iterable[bytes], cases: Iterable[Case]) -> None:
        """
        Say that nothing more comes of these: those that have no verdict are to be looked for in Redis, at once.
        """
        for case in cases:
            if case.delivery.entry_id in self._begun:
                self._verdicts.setdefault(case.transaction.transaction_id)
        self._begun.difference_update(entry_ids)
        _bound(self._verdicts, self._kept)
        self._waiting.wake()

    async def verdicts(self, cases: Sequence[Case], within_s: float) -> FirstVerdicts | None:
        """
        Take the verdicts of all these as soon as it is known of the last what became of it: noted, decided for both groups, or
        that none comes. What the group that goes first has in hand is waited for longer, unless others are to be joined.

        Returns:
            None if it is not yet known of some of them when so many seconds are over.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + within_s
        wait = _Wait(case.delivery.entry_id for case in cases if case.delivery.entry_id not in self._decided)
        self._awaited.update(dict.fromkeys(wait.left, wait))
        try:
            while self._still(wait, cases):
                if loop.time() >= until_s:
                    if wait.joined or self._begun.isdisjoint(wait.left):
                        return None
                    until_s = loop.time() + _MOMENT_S
                await self._waiting.until(until_s)
        finally:
            for entry_id in wait.left:
                self._awaited.pop(entry_id, None)
            self._decided.update(dict.fromkeys(wait.decided))
        return self._taken(cases)

    def _still(self, wait: "_Wait", cases: Sequence[Case]) -> bool:
        """
        Say whether something is waited for, apart from what is known by now.
        """
        if wait.left and self._verdicts:
            known = [case.delivery.entry_id for case in cases if case.transaction.transaction_id in self._verdicts]
            for entry_id in wait.left.intersection(known):
                wait.left.discard(entry_id)
                wait.joined = True
                self._awaited.pop(entry_id, None)
        return bool(wait.left)

    def _taken(self, cases: Sequence[Case]) -> FirstVerdicts:
        decided: list[int] = []
        others: dict[int, VerdictRecord] = {}
        for i, case in enumerate(cases):
            if self._decided.pop(case.delivery.entry_id, case) is None:
                decided.append(i)
            elif (record := self._verdicts.get(case.transaction.transaction_id)) is not None:
                others[i] = record
        for case in cases if len(decided) < len(cases) else ():
            self._verdicts.pop(case.transaction.transaction_id, None)
        return FirstVerdicts(others=others, coming=[], decided=decided)


class _Wait:
    """
    What a batch waits for: what is ``left``, what was ``decided`` meanwhile, and whether some are to be ``joined``.
    """

    __slots__ = ("decided", "joined", "left")

    def __init__(self, entry_ids: Iterable[bytes]) -> None:
        self.left = set(entry_ids)
        self.decided: list[bytes] = []
        self.joined = False

    def is_last(self, entry_id: bytes) -> bool:
        """
        Note that one was decided; say whether it was the last.
        """
        self.left.discard(entry_id)
        self.decided.append(entry_id)
        return not self.left


def _bound(kept: dict[_T, Any], most: int) -> None:
    if len(kept) > most:
        for key in list(itertools.islice(kept, len(kept) - most + most // 4)):
            del kept[key]
