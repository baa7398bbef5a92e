"""
The road that both verdict groups share: decode, touch, features, judge, complete. What differs is the judge.
"""

import asyncio
import time
from collections.abc import Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from fraudstream.decision.policy import DecisionPolicy
from fraudstream.domain.evidence import Fallback
from fraudstream.domain.tokens import Tokens
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import compute
from fraudstream.features.records import Records, records
from fraudstream.features.states import Standing
from fraudstream.fleet import crash
from fraudstream.fleet.ports import Clock, Delivery, Handled, Letter, TransactionStream
from fraudstream.stages.abreast import Abreast
from fraudstream.stages.case import Case
from fraudstream.stages.completing import Completing, Row
from fraudstream.stages.following import Begun, Following, Look
from fraudstream.stages.intake import decode_batch, letter_for
from fraudstream.stages.neighbours import Neighbours
from fraudstream.stages.news import News
from fraudstream.stages.ports import (
    Answer,
    EntityStore,
    FirstVerdicts,
    Judge,
    Place,
    Touched,
    VerdictLedger,
    VerdictReport,
)
from fraudstream.stages.selection import part_of_records, part_of_states

_STANDING = {Place.FIRST: Standing.TOUCHED, Place.LATE: Standing.LATE}
_ENDED = (Place.DUPLICATE, Place.GONE)
#: So many verdicts are looked for at once; of more the first and the last are, before the others.
_FEW = 16
#: How long verdicts are waited for before they are looked for, in seconds, where somebody would tell of them.
_UNTOLD_S = 0.02


class VerdictRoad:
    """
    Everything that a verdict stage does, but for the judging.
    """

    def __init__(
        self,
        judge: Judge,
        entities: EntityStore,
        ledger: VerdictLedger,
        stream: TransactionStream,
        *,
        features: FeatureSet,
        policy: DecisionPolicy,
        clock: Clock,
        default_currency: str,
        report: VerdictReport,
        following: Following | None = None,
        tokens: Tokens | None = None,
        neighbours: Neighbours | None = None,
        news: News | None = None,
        abreast: Abreast | None = None,
    ) -> None:
        self._judge = judge
        self._news = news
        self._neighbours = neighbours
        self._tokens = tokens
        self._entities = entities
        self._ledger = ledger
        self._stream = stream
        self._features = features
        self._clock = clock
        self._currency = default_currency
        self._report = report
        self._following = following
        self._leads = neighbours if following is None else None
        self._completing = Completing(
            judge,
            ledger,
            policy=policy,
            clock=clock,
            report=report,
            feature_set=features.id,
            leads=self._leads,
            abreast=abreast,
        )

    async def work(self, batch: Sequence[Delivery]) -> Handled:
        """
        Decide a batch, or note its verdicts for the other group to join.
        """
        leads = self._leads
        if leads is not None:
            leads.began(delivery.entry_id for delivery in batch)
        cases: list[Case] = []
        try:
            cases, letters = self._decode(batch)
            open_cases = cases if self._following is None else await self._followed(cases, self._following)
            while open_cases:
                open_cases = await self._pass(open_cases)
        finally:
            if leads is not None:
                leads.over([delivery.entry_id for delivery in batch], cases)
        return Handled(
            settled=[case.delivery.entry_id for case in cases],
            done=[letter.entry_id for letter in letters],
            letters=letters,
        )

    async def step_in(self, batch: Sequence[Delivery]) -> Handled:
        """
        Complete overdue entries of this group with no opinion; give back those that nobody has judged yet.
        """
        cases, letters = self._decode(batch)
        early: dict[bytes, float] = {}
        if cases:
            prepared = self._records(cases)
            touched = await self._touch(cases, prepared)
            early = {
                case.delivery.entry_id: 0.0
                for case, place in zip(cases, touched.places, strict=True)
                if place not in (*_ENDED, Place.OTHER)
            }
            verdict = self._judge.no_opinion(self._judge.deadline_fallback)
            rows = [
                Row(case=cases[i], index=i, verdict=verdict, feature_set=other.feature_set, vector=other.vector, other=other)
                for i, other in touched.others.items()
            ]
            again = await self._completing.complete(rows)
            crash.here("stepped_in")
            early |= {case.delivery.entry_id: 0.0 for case in again}
        return Handled(
            settled=[case.delivery.entry_id for case in cases if case.delivery.entry_id not in early],
            done=[letter.entry_id for letter in letters],
            letters=letters,
            retry=early,
        )

    async def give_up(self, delivery: Delivery, error: str) -> Handled:
        """
        Leave a letter and a verdict of no opinion, so that the other group's does not wait for ever. The letter is the
        transaction's: sent twice, both of its entries may come to their end before either has told the verdict.
        """
        cases, letters = self._decode([delivery])
        if not cases:
            return Handled(done=[delivery.entry_id], letters=letters)
        prepared = self._records(cases)
        touched = await self._touch(cases, prepared)
        if touched.places[0] in _ENDED:
            return Handled(settled=[delivery.entry_id])
        await self._stream.bury(letter_for(delivery, "max_retries", error, part=cases[0].transaction.transaction_id))
        crash.here("given_up")
        verdict = self._judge.no_opinion(Fallback.DEAD_LETTER)
        other = touched.others.get(0)
        if other is not None and other.vector:
            row = Row(case=cases[0], index=0, verdict=verdict, feature_set=other.feature_set, vector=other.vector, other=other)
        else:
            vector = self._vector_if_any(cases, prepared, touched)
            row = Row(case=cases[0], index=0, verdict=verdict, feature_set=self._features.id, vector=vector, other=other)
        await self._completing.complete([row])
        return Handled(settled=[delivery.entry_id])

    async def _followed(self, cases: Sequence[Case], following: Following) -> list[Case]:
        """
        Judge what the other group has judged, on its vectors; return the cases that it leaves to us.
        """
        if self._neighbours is not None:
            with self._neighbours.follows(cases):
                return await self._behind(cases, following)
        return await self._behind(cases, following)

    async def _behind(self, cases: Sequence[Case], following: Following) -> list[Case]:
        open_cases, left, followed, begun = list(cases), list[Case](), 0, Begun()
        for look in following.looks() if open_cases else ():
            found = await self._look(open_cases, look, begun)
            if found is None:
                continue
            rows = [self._completing.from_other(open_cases[i], i, other) for i, other in found.others.items() if other.vector]
            followed += len(rows) + len(found.decided)
            if found.decided:
                self._report.completed([Answer.TOGETHER] * len(found.decided))
            if rows:
                left += await self._completing.complete(await self._completing.judged(rows))
            taken = {row.index for row in rows}.union(found.coming, found.decided)
            left += [case for i, case in enumerate(open_cases) if i not in taken]
            open_cases = [open_cases[i] for i in found.coming]
            if not open_cases:
                break
        following.found(followed)
        return sorted(left + open_cases, key=attrgetter("order"))

    async def _look(self, cases: Sequence[Case], look: Look, begun: Begun) -> FirstVerdicts | None:
        """
        Wait for the other group's verdicts, here or in Redis; None where there is nothing to look for yet.
        """
        if self._neighbours is not None:
            known = await self._neighbours.verdicts(cases, look.pause_s)
            if known is not None:
                return known
        told = self._neighbours is None and await self._told(cases, look, begun)
        if not told and not look.last and len(cases) > _FEW and not await self._worth_a_look(cases, begun):
            return None
        found = await self._ledger.verdicts([case.transaction.transaction_id for case in cases])
        if self._news is not None and not told and found.others:
            self._news.untold(cases[min(found.others)].order)
        return found

    async def _told(self, cases: Sequence[Case], look: Look, begun: Begun) -> bool:
        """
        Let the time to the next look pass, and say whether it was heard meanwhile that the last of the cases is judged.
        """
        news = self._news
        if news is None or not news.listening:
            await asyncio.sleep(look.pause_s)
            return False
        told = await news.beyond(cases[-1].order, begun.told, max(look.pause_s, _UNTOLD_S))
        if told:
            begun.told = news.told
        return told

    async def _worth_a_look(self, cases: Sequence[Case], begun: Begun) -> bool:
        """
        Say whether the last of the cases is judged, as the other group goes through them in order, or the first has long been.
        """
        ends = await self._ledger.verdicts([case.transaction.transaction_id for case in (cases[0], cases[-1])])
        return 1 not in ends.coming or begun.long_ago(cases[0], judged=0 not in ends.coming)

    def _decode(self, batch: Sequence[Delivery]) -> tuple[list[Case], list[Letter]]:
        started = time.perf_counter()
        cases, letters = decode_batch(
            batch,
            now_ms=self._clock.now_ms(),
            default_currency=self._currency,
            tokens=self._tokens,
            neighbours=self._neighbours,
        )
        for letter in letters:
            self._report.invalid(letter.reason)
        self._report.timed("decode", time.perf_counter() - started)
        return cases, letters

    def _records(self, cases: Sequence[Case]) -> Records:
        return records(self._features, [case.transaction for case in cases])

    async def _touch(self, cases: Sequence[Case], prepared: Records) -> Touched:
        started = time.perf_counter()
        touched = await self._entities.touch(
            [case.delivery.entry_id for case in cases], [case.transaction for case in cases], prepared
        )
        self._report.timed("touch", time.perf_counter() - started)
        crash.here("touched")
        self._report.touched(touched.places)
        return touched

    async def _pass(self, cases: Sequence[Case]) -> list[Case]:
        """
        Take cases through to completion; return those whose history was lost meanwhile, to be taken through again.
        """
        prepared = self._records(cases)
        touched = await self._touch(cases, prepared)
        rows = self._own_vectors(cases, prepared, touched)
        rows += [self._completing.from_other(cases[i], i, other) for i, other in touched.others.items() if other.vector]
        rows.sort(key=lambda row: row.index)
        await asyncio.sleep(0)  # what else is ready may go on: a batch is computed in pieces of a few milliseconds
        judged = await self._completing.judged(rows)
        return await self._completing.complete(await self._completing.together(judged))

    def _own_vectors(self, cases: Sequence[Case], prepared: Records, touched: Touched) -> list[Row]:
        """
        Compute the features of every transaction that no verdict has fixed yet.
        """
        indices = [
            i
            for i, place in enumerate(touched.places)
            if place not in _ENDED and not (i in touched.others and touched.others[i].vector)
        ]
        if not indices:
            return []
        started = time.perf_counter()
        matrix = self._compute(cases, prepared, touched, indices)
        self._report.timed("features", time.perf_counter() - started)
        crash.here("computed")
        return [
            Row(
                case=cases[i],
                index=i,
                verdict=None,
                feature_set=self._features.id,
                vector=vector.tobytes(),
                other=touched.others.get(i),
            )
            for i, vector in zip(indices, matrix, strict=True)
        ]

    def _compute(
        self, cases: Sequence[Case], prepared: Records, touched: Touched, indices: Sequence[int]
    ) -> NDArray[np.float32]:
        return compute(
            self._features,
            [cases[i].transaction for i in indices],
            part_of_records(prepared, indices),
            [_STANDING.get(touched.places[i], Standing.SEEN) for i in indices],
            part_of_states(touched.states, indices, of=len(cases)),
        )

    def _vector_if_any(self, cases: Sequence[Case], prepared: Records, touched: Touched) -> bytes:
        """
        Return the vector of a delivery that is given up, empty where the features themselves are what fails.
        """
        try:
            return bytes(self._compute(cases, prepared, touched, [0])[0].tobytes())
        except Exception as exc:  # noqa: BLE001 the delivery is being given up because something about it raises
            self._report.fell_back("dead_letter", repr(exc), 1)
            return b""
