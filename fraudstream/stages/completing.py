"""
The last part of the road: rows with vectors are judged, and their verdicts noted, joined or decided at once.
"""

import asyncio
import time
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.decision.policy import DecisionPolicy
from fraudstream.domain.decision import Decision
from fraudstream.domain.decision_codec import VerdictRecord
from fraudstream.domain.evidence import Fallback, Verdict
from fraudstream.fleet import crash
from fraudstream.fleet.ports import Clock
from fraudstream.stages.abreast import Abreast
from fraudstream.stages.case import Case
from fraudstream.stages.join import join
from fraudstream.stages.neighbours import Neighbours
from fraudstream.stages.ports import Answer, Completed, Completion, Judge, VerdictLedger, VerdictReport

_EMITTED = frozenset((Answer.EMITTED, Answer.TOGETHER))
#: How long the other group's verdict is waited for where both decide at once, in seconds: ours is not noted meanwhile.
_SECOND_S = 0.1


class Row(msgspec.Struct, kw_only=True, gc=False):
    """
    One case on its way: its place in ``Records``, our verdict with the vector behind it, and the other group's, if known.

    ``verdict`` is filled in where it stands, once; nothing else of a row changes.
    """

    case: Case
    index: int
    verdict: Verdict | None
    feature_set: str
    vector: bytes
    other: VerdictRecord | None


class Completing:
    """
    Judges rows and brings their entries to an end.

    Args:
        judge: What the group knows about fraud.
        ledger: Joins the verdicts of both groups.
        policy: What a decision is made by.
        clock: That of Redis.
        report: Told of everything.
        feature_set: Id of the definitions that the judge can read.
        leads: What is passed on to the group that follows in this process, if it does and this one goes first.
        abreast: Holds first verdicts back where the other group does not keep up.
    """

    def __init__(
        self,
        judge: Judge,
        ledger: VerdictLedger,
        *,
        policy: DecisionPolicy,
        clock: Clock,
        report: VerdictReport,
        feature_set: str,
        leads: Neighbours | None,
        abreast: Abreast | None,
    ) -> None:
        self._judge = judge
        self._ledger = ledger
        self._policy = policy
        self._clock = clock
        self._report = report
        self._feature_set = feature_set
        self._leads = leads
        self._abreast = abreast

    def from_other(self, case: Case, index: int, other: VerdictRecord) -> Row:
        """
        Take over the vector that the first verdict was computed from: it is the transaction's, for good.
        """
        known = other.feature_set == self._feature_set
        verdict = None if known else self._judge.no_opinion(Fallback.FEATURE_SET)
        return Row(case=case, index=index, verdict=verdict, feature_set=other.feature_set, vector=other.vector, other=other)

    async def judged(self, rows: Sequence[Row]) -> list[Row]:
        """
        Give every row that has none the verdict of this group.
        """
        open_rows = [row for row in rows if row.verdict is None]
        if not open_rows:
            return list(rows)
        started = time.perf_counter()
        verdicts = await self._judge.judge([row.case.transaction for row in open_rows], _matrix(open_rows))
        self._report.timed(self._judge.step, time.perf_counter() - started)
        for row, verdict in zip(open_rows, verdicts, strict=True):
            row.verdict = verdict
        return list(rows)

    async def complete(self, rows: Sequence[Row]) -> list[Case]:
        """
        Note the verdicts, joining those whose other half is there, until none is left open; return the lost ones.
        """
        lost: list[Row] = []
        while rows:
            await asyncio.sleep(0)
            if self._abreast is not None:
                await self._abreast.come_close()
            now_ms = self._clock.now_ms()
            completions = [self._completion(row, now_ms) for row in rows]
            started = time.perf_counter()
            crash.here("judged")
            completed = await self._ledger.complete(completions)
            crash.here("completed")
            self._report.timed("complete", time.perf_counter() - started)
            self._tell(rows, completions, completed)
            if completed.noted and self._abreast is not None:
                self._abreast.noted((completions[min(completed.noted)].entry_id, completions[max(completed.noted)].entry_id))
            if self._leads is not None:
                self._leads.noted({completions[i].transaction_id: record for i, record in completed.noted.items()})
            lost += [row for row, answer in zip(rows, completed.answers, strict=True) if answer is Answer.ABSENT]
            if completed.others:
                crash.here("joining")
            rows = await self.judged([self._against(rows[i], other) for i, other in completed.others.items()])
        return [row.case for row in sorted(lost, key=lambda row: row.index)]

    async def together(self, rows: list[Row]) -> list[Row]:
        """
        Decide what the group that follows has in its hands here too, from both verdicts at once; return the other rows.
        """
        neighbours = self._leads
        if not rows or neighbours is None or neighbours.follower is None:
            return rows
        await neighbours.come_close(rows[-1].case)
        shared = [row for row in rows if row.other is None and neighbours.awaited(row.case.delivery.entry_id)]
        neighbours.met(len(shared))
        if not shared:
            return rows
        seconds = await self._second_verdicts(neighbours.follower.judge, shared)
        if seconds is None:
            return rows
        now_ms = self._clock.now_ms()
        completions = [self._completion(row, now_ms, second) for row, second in zip(shared, seconds, strict=True)]
        started = time.perf_counter()
        crash.here("judged")
        completed = await self._ledger.decide(completions, neighbours.follower.consumer)
        crash.here("completed")
        self._report.timed("complete", time.perf_counter() - started)
        decided = {row.index for row, one in zip(shared, completed.answers, strict=True) if one is Answer.TOGETHER}
        neighbours.decided(row.case.delivery.entry_id for row in shared if row.index in decided)
        self._tell(shared, completions, completed)
        return rows if not decided else [row for row in rows if row.index not in decided]

    async def _second_verdicts(self, judge: Judge, rows: Sequence[Row]) -> Sequence[Verdict] | None:
        """
        Return what the other group says of these rows; None if it fails, or takes so long that it had better not be waited for.
        """
        started = time.perf_counter()
        try:
            async with asyncio.timeout(_SECOND_S):
                verdicts = await judge.judge([row.case.transaction for row in rows], _matrix(rows))
        except Exception:  # noqa: BLE001 the other group meets it again, and there it has its consequences
            return None
        self._report.timed(judge.step, time.perf_counter() - started)
        return verdicts

    def _against(self, row: Row, other: VerdictRecord) -> Row:
        """
        Put a row beside the verdict that came first, and on its vector; no opinion is none on any vector.
        """
        if not other.vector or (other.vector, other.feature_set) == (row.vector, row.feature_set):
            return msgspec.structs.replace(row, other=other)
        if row.verdict is not None and row.verdict.fallback is not None:
            return msgspec.structs.replace(row, other=other, vector=other.vector, feature_set=other.feature_set)
        return self.from_other(row.case, row.index, other)

    def _completion(self, row: Row, now_ms: int, second: Verdict | None = None) -> Completion:
        """
        Put a row into the words of the ledger: with a decision where the other group's verdict is known, noted or ``second``.
        """
        verdict, other, case = row.verdict, row.other, row.case
        assert verdict is not None, "a row is judged before it is completed"
        second = other.verdict if other is not None else second
        decision = None
        if second is not None:
            decision = join(
                self._policy,
                case.transaction,
                verdict,
                second,
                feature_set=row.feature_set,
                vector=row.vector,
                received_at_ms=case.order[0],
                now_ms=now_ms,
            )
        return Completion(
            entry_id=case.delivery.entry_id,
            transaction_id=case.transaction.transaction_id,
            verdict=verdict,
            feature_set=row.feature_set,
            vector=row.vector,
            basis=b"" if other is None else other.write_id,
            decision=decision,
        )

    def _tell(self, rows: Sequence[Row], completions: Sequence[Completion], completed: Completed) -> None:
        self._report.completed(completed.answers)
        if _EMITTED.isdisjoint(completed.answers):
            return
        decisions: list[Decision] = []
        latencies_s: list[float] = []
        for row, completion, answer in zip(rows, completions, completed.answers, strict=True):
            if answer in _EMITTED and completion.decision is not None:
                decisions.append(completion.decision)
                latencies_s.append((completed.now_ms - row.case.order[0]) / 1000)
        self._report.decided(decisions, latencies_s)


def _matrix(rows: Sequence[Row]) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(row.vector for row in rows), dtype="<f4").reshape(len(rows), -1)
