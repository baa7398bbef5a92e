"""
A model in use: matrix to probabilities, and the reasons behind them.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fraudstream.domain.errors import IncompatibleModel
from fraudstream.domain.evidence import Reason
from fraudstream.scoring.manifest import Manifest
from fraudstream.scoring.shapley import answers, contributions, expected_log_odds
from fraudstream.scoring.trees import TreePaths
from fraudstream.scoring.wording import teller

#: The one output that is asked for; the label beside it costs time and says less.
_OUTPUT = "probabilities"


class Model(Protocol):
    """
    What scores a batch: the ONNX model, a shadow of it, or a stand-in of a test.
    """

    @property
    def id(self) -> str:
        """
        SHA-256 of the model's bytes in hex: what a decision names.
        """
        ...

    @property
    def version(self) -> str:
        """
        The name that people use for it.
        """
        ...

    @property
    def feature_names(self) -> tuple[str, ...]:
        """
        The columns that it expects, in order.
        """
        ...

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Return the fraud probability of each row.

        Args:
            matrix: Shape (batch, features), columns in the order of ``feature_names``; NaN means unknown.

        Returns:
            Shape (batch,), each in [0, 1], never NaN; a row's answer does not depend on the rows beside it.

        Raises:
            IncompatibleModel: The column count differs.
        """
        ...

    def reasons(self, matrix: NDArray[np.float32], top: int = 3) -> list[tuple[Reason, ...]]:
        """
        Return for each row the features that moved its score most, the strongest first.

        Args:
            matrix: As in ``score``; meant for the flagged rows of a batch only.
            top: At most so many per row; a feature that moved nothing is no reason.
        """
        ...


class OnnxModel:
    """
    A verified model folder in ONNX Runtime, on one thread.

    Args:
        manifest: What the folder says of itself.
        session: Holds the very bytes whose hash is in the manifest.
        paths: The trees of the same bytes.
    """

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession, paths: TreePaths) -> None:
        self.manifest = manifest
        self.id = manifest.sha256
        self.version = manifest.version
        self.feature_names = manifest.feature_names
        self._session = session
        self._input = session.get_inputs()[0].name
        self._paths = paths
        self._answers = answers(paths)
        self._tellers = [teller(column.name, column.unit, column.description) for column in manifest.features]
        self.expected_log_odds = expected_log_odds(paths)

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Return the fraud probability of each row; see ``Model.score``.
        """
        self._require_columns(matrix)
        if not len(matrix):
            return np.zeros(0, dtype=np.float32)
        rows = np.ascontiguousarray(matrix, dtype=np.float32)
        probabilities = np.asarray(self._session.run([_OUTPUT], {self._input: rows})[0], dtype=np.float32)
        return np.clip(probabilities.reshape(len(rows), -1)[:, -1], 0.0, 1.0)

    def contributions(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """
        Return shape (batch, features): how far each feature moved each row from ``expected_log_odds``, in log-odds.
        """
        self._require_columns(matrix)
        return contributions(self._paths, matrix) if self._answers is None else self._answers.contributions(matrix)

    def reasons(self, matrix: NDArray[np.float32], top: int = 3) -> list[tuple[Reason, ...]]:
        """
        Return the features that moved each row most; see ``Model.reasons``.
        """
        moved = self.contributions(matrix)
        # Stable, so that equal contributions come in the order of the columns.
        strongest = np.argsort(-np.abs(moved), axis=1, kind="stable")[:, :top]
        return [self._row_reasons(*row) for row in zip(matrix.tolist(), moved.tolist(), strongest.tolist(), strict=True)]

    def _row_reasons(self, values: Sequence[float], moved: Sequence[float], columns: Sequence[int]) -> tuple[Reason, ...]:
        return tuple(self._reason(at, values[at], moved[at]) for at in columns if moved[at])

    def _reason(self, at: int, value: float, moved: float) -> Reason:
        return Reason(
            code=self.feature_names[at],
            text=self._tellers[at](value) + ("" if moved > 0 else " (lowers the score)"),
            value=value if math.isfinite(value) else None,
            contribution=round(moved, 4),
        )

    def _require_columns(self, matrix: NDArray[np.float32]) -> None:
        if matrix.ndim != 2 or matrix.shape[1] != len(self.feature_names):
            raise IncompatibleModel(
                f"model {self.version} takes {len(self.feature_names)} features a row; the matrix has shape {matrix.shape}"
            )
