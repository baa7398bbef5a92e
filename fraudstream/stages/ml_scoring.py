"""
Group ``ml-scoring``: the model's verdict.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.evidence import Fallback, ModelVerdict
from fraudstream.domain.transaction import Transaction
from fraudstream.scoring.model import Model
from fraudstream.stages.ports import VerdictReport


class ModelJudge:
    """
    Score each batch off the event loop; explain what may be flagged.

    A model that fails at run time costs its opinion, never the decision: the verdict is a fallback and says so.
    """

    step = "model"
    deadline_fallback = Fallback.MODEL_DEADLINE

    def __init__(self, model: Model, executor: Executor, *, explain_from: float, report: VerdictReport) -> None:
        self._model = model
        self._executor = executor
        self._explain_from = explain_from
        self._report = report

    async def judge(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[ModelVerdict]:
        """
        Return one probability per row, with reasons from ``explain_from`` on.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._score, matrix)
        except Exception as exc:  # noqa: BLE001 whatever the runtime raises, decisions go on without the model
            self._report.fell_back(Fallback.MODEL_ERROR, repr(exc), len(transactions))
            return [self.no_opinion(Fallback.MODEL_ERROR)] * len(transactions)

    def _score(self, matrix: NDArray[np.float32]) -> list[ModelVerdict]:
        scores = self._model.score(matrix)
        explained = np.flatnonzero(scores >= self._explain_from)
        reasons = dict(zip(explained.tolist(), self._model.reasons(matrix[explained]), strict=True)) if len(explained) else {}
        return [
            ModelVerdict(model=self._model.id, score=score, reasons=reasons.get(i, ()))
            for i, score in enumerate(scores.tolist())
        ]

    def no_opinion(self, reason: Fallback) -> ModelVerdict:
        """
        Return a verdict that names only why there is none.
        """
        return ModelVerdict(model=self._model.id, fallback=reason)
