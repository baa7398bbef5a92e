"""
Group ``ml-scoring``: the model's verdict.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.evidence import Fallback, ModelVerdict, Reason
from fraudstream.domain.transaction import Transaction
from fraudstream.scoring.model import Model
from fraudstream.stages.lineup import Lineup
from fraudstream.stages.ports import VerdictReport

#: So many rows are scored in a tenth of a millisecond, and the way to a thread and back takes as long; reasons, which few are
#: owed, take 3.6 ms for all of them.
_FEW = 64


class ScoreWatch(Protocol):
    """
    Looks on while batches are scored; changes nothing and raises nothing.
    """

    def scored(
        self,
        lineup: Lineup,
        transactions: Sequence[Transaction],
        matrix: NDArray[np.float32],
        scores: NDArray[np.float32],
        of_canary: NDArray[np.bool_],
    ) -> None:
        """
        A batch was scored. Called on the event loop, between two batches; must return at once.

        Args:
            lineup: The models that looked at it.
            transactions: The batch.
            matrix: Shape (batch, features).
            scores: Shape (batch,), what is decided with.
            of_canary: Shape (batch,), whose scores are the canary's.
        """
        ...


class ModelJudge:
    """
    Score each batch off the event loop, unless it is over sooner than a thread wakes up; explain what may be flagged. Other
    models may take their places between two batches.

    A model that fails at run time costs its opinion, never the decision: the verdict is a fallback and says so. A canary that
    fails leaves its rows to the champion.
    """

    step = "model"
    deadline_fallback = Fallback.MODEL_DEADLINE

    def __init__(
        self,
        model: Model,
        executor: Executor,
        *,
        explain_from: float,
        report: VerdictReport,
        watches: Sequence[ScoreWatch] = (),
    ) -> None:
        self._lineup = Lineup(champion=model)
        self._executor = executor
        self._explain_from = explain_from
        self._report = report
        self._watches = watches

    @property
    def lineup(self) -> Lineup:
        """
        The models that the next batch will see.
        """
        return self._lineup

    def use(self, lineup: Lineup) -> None:
        """
        Score with other models from the next batch on; batches under way end with those that they began with.
        """
        self._lineup = lineup

    async def judge(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[ModelVerdict]:
        """
        Return one probability per row, with reasons from ``explain_from`` on.
        """
        lineup = self._lineup
        try:
            scored = (
                self._score(lineup, transactions, matrix)
                if len(transactions) <= _FEW
                else await asyncio.get_running_loop().run_in_executor(self._executor, self._score, lineup, transactions, matrix)
            )
        except Exception as exc:  # noqa: BLE001 whatever the runtime raises, decisions go on without the model
            self._report.fell_back(Fallback.MODEL_ERROR, repr(exc), len(transactions))
            return [self.no_opinion(Fallback.MODEL_ERROR)] * len(transactions)
        verdicts, scores, of_canary = scored
        for watch in self._watches:
            watch.scored(lineup, transactions, matrix, scores, of_canary)
        return verdicts

    def _score(
        self, lineup: Lineup, transactions: Sequence[Transaction], matrix: NDArray[np.float32]
    ) -> tuple[list[ModelVerdict], NDArray[np.float32], NDArray[np.bool_]]:
        if lineup.canary is not None:
            of_canary = lineup.of_canary(transactions)
            if of_canary.any():
                try:
                    return self._split(lineup.champion, lineup.canary, matrix, of_canary)
                except Exception as exc:  # noqa: BLE001 one that is on trial costs nobody an opinion
                    self._report.fell_back("canary_error", repr(exc), int(of_canary.sum()))
        scores, reasons = self._opinions(lineup.champion, matrix)
        return _verdicts([lineup.champion.id] * len(scores), scores, reasons), scores, np.zeros(len(scores), dtype=np.bool_)

    def _split(
        self, champion: Model, canary: Model, matrix: NDArray[np.float32], of_canary: NDArray[np.bool_]
    ) -> tuple[list[ModelVerdict], NDArray[np.float32], NDArray[np.bool_]]:
        """
        Give each row to one of two models.
        """
        scores = np.empty(len(matrix), dtype=np.float32)
        reasons: dict[int, tuple[Reason, ...]] = {}
        for model, rows in ((champion, np.flatnonzero(~of_canary)), (canary, np.flatnonzero(of_canary))):
            scores[rows], of_rows = self._opinions(model, matrix[rows])
            reasons |= {int(rows[at]): told for at, told in of_rows.items()}
        models = [canary.id if one else champion.id for one in of_canary.tolist()]
        return _verdicts(models, scores, reasons), scores, of_canary

    def _opinions(self, model: Model, matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], dict[int, tuple[Reason, ...]]]:
        scores = model.score(matrix)
        explained = np.flatnonzero(scores >= self._explain_from)
        reasons = dict(zip(explained.tolist(), model.reasons(matrix[explained]), strict=True)) if len(explained) else {}
        return scores, reasons

    def no_opinion(self, reason: Fallback) -> ModelVerdict:
        """
        Return a verdict that names only why there is none.
        """
        return ModelVerdict(model=self._lineup.champion.id, fallback=reason)


def _verdicts(models: Sequence[str], scores: NDArray[np.float32], reasons: dict[int, tuple[Reason, ...]]) -> list[ModelVerdict]:
    return [
        ModelVerdict(model=model, score=score, reasons=reasons.get(at, ()))
        for at, (model, score) in enumerate(zip(models, scores.tolist(), strict=True))
    ]
