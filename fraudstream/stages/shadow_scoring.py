"""
Shadow models: they score the rows that are decided, after the decision's own score is out, and decide nothing.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.decision.policy import SEVERITY, DecisionPolicy
from fraudstream.domain.errors import TransientError
from fraudstream.domain.transaction import Transaction
from fraudstream.scoring.model import Model
from fraudstream.stages.lineup import Lineup

#: Batches that wait for their shadows at most: whoever falls behind loses rows, never memory.
_MOST_WAITING = 8


class ShadowBatch(msgspec.Struct, frozen=True, kw_only=True):
    """
    One batch as a shadow saw it: ids, what was decided with and what the shadow gave, both as little-endian float32.
    """

    shadow: str
    transaction_ids: Sequence[str]
    scores: bytes
    shadow_scores: bytes


class ShadowLog(Protocol):
    """
    Where shadow scores are kept for a while.
    """

    async def record_shadow(self, batch: ShadowBatch) -> None:
        """
        Keep one batch; a second call keeps it twice.

        Raises:
            StreamUnavailable: It may be kept or not.
        """
        ...


class ShadowReport(Protocol):
    """
    What shadow scoring tells about itself; every method returns at once.
    """

    def shadow_scored(self, model: str, scores: Sequence[float], *, same: int, milder: int, harsher: int) -> None:
        """
        A shadow scored rows: by its bands so many would have ended as they did, milder, or harsher.
        """
        ...

    def shadow_missed(self, model: str, rows: int, error: str) -> None:
        """
        Rows that a shadow did not score: it failed, or it was too slow (``error`` is empty then).
        """
        ...


class Shadows:
    """
    ``ScoreWatch`` that lets every shadow of the line-up score every batch, in a thread of its own.

    Args:
        executor: One thread that nothing else waits for.
        policy: Bands that two scores are compared by.
        log: Keeps the scores.
        report: Told of every batch.
    """

    def __init__(self, executor: Executor, policy: DecisionPolicy, log: ShadowLog, report: ShadowReport) -> None:
        self._executor = executor
        self._bands = np.array([policy.challenge_from, policy.review_from, policy.block_from])
        self._log = log
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()

    def scored(
        self,
        lineup: Lineup,
        transactions: Sequence[Transaction],
        matrix: NDArray[np.float32],
        scores: NDArray[np.float32],
        of_canary: NDArray[np.bool_],  # noqa: ARG002 whoever decided, a shadow is held against it
    ) -> None:
        """
        Take a batch to the shadows; see ``ScoreWatch``.
        """
        for shadow in lineup.shadows:
            if len(self._tasks) >= _MOST_WAITING * len(lineup.shadows):
                self._report.shadow_missed(shadow.id, len(scores), "")
                continue
            task = asyncio.create_task(self._look(shadow, [one.transaction_id for one in transactions], matrix, scores))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """
        Wait for what is under way.
        """
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(
        self, shadow: Model, transaction_ids: Sequence[str], matrix: NDArray[np.float32], scores: NDArray[np.float32]
    ) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._executor, shadow.score, matrix)
        except Exception as exc:  # noqa: BLE001 a shadow may do what it likes, nobody depends on it
            self._report.shadow_missed(shadow.id, len(scores), repr(exc))
            return
        ours, theirs = self._outcomes(scores), self._outcomes(found)
        self._report.shadow_scored(
            shadow.id,
            found.tolist(),
            same=int((ours == theirs).sum()),
            milder=int((theirs < ours).sum()),
            harsher=int((theirs > ours).sum()),
        )
        batch = ShadowBatch(
            shadow=shadow.id,
            transaction_ids=transaction_ids,
            scores=scores.astype("<f4").tobytes(),
            shadow_scores=found.astype("<f4").tobytes(),
        )
        try:
            await self._log.record_shadow(batch)
        except TransientError as exc:
            self._report.shadow_missed(shadow.id, len(scores), repr(exc))

    def _outcomes(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """
        Return the place of each score's outcome among ``SEVERITY``, by the bands alone.
        """
        assert len(self._bands) == len(SEVERITY) - 1
        return np.searchsorted(self._bands, scores, side="right")
