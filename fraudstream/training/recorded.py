"""
What the fleet has recorded, as rows to learn from: each decision with the very vector that it was made from, and what is
known of it since. Where the decisions are read from is the caller's affair.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.decision import LabelValue
from fraudstream.domain.errors import IncompatibleModel
from fraudstream.features.definitions import FeatureSet
from fraudstream.training.dataset import DAY_MS, Dataset, Progress
from fraudstream.training.metrics import codes

#: Why a decision is no row to learn from.
NO_VECTOR, TOO_YOUNG, UNSURE, BLOCKED = "no vector", "label not known yet", "label unsure", "blocked, no label"


class RecordedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """
    What training needs of a decision: ``vector`` as ``Decision`` has it, ``holder`` the card or else the customer, ``label``
    the youngest one (None while nobody has said), ``blocked`` whether it was stopped for good.
    """

    occurred_ms: int
    holder: str | None
    vector: bytes
    blocked: bool
    label: LabelValue | None


@dataclass(frozen=True)
class RecordedHistory:
    """
    Rows of recorded decisions, and how many decisions are none, by reason.
    """

    name: str
    kept: Dataset
    left_out: dict[str, int]

    def rows(self, features: FeatureSet, progress: Progress) -> Dataset:  # noqa: ARG002 (the vectors are there already)
        """
        Return the rows.

        Raises:
            IncompatibleModel: They are of other features.
        """
        if self.kept.matrix.shape[1] != len(features.names):
            raise IncompatibleModel(
                f"the recorded vectors have {self.kept.matrix.shape[1]} values, the definitions name {len(features.names)}"
            )
        return self.kept


def recorded_history(
    name: str, decisions: Iterable[RecordedDecision], *, columns: int, known_at_ms: int, delay_days: float
) -> RecordedHistory:
    """
    Sort out which decisions teach, and what.

    Frauds are reported, honest payments are not: a payment that nobody has reported after the delay of labels counts as honest.
    Three kinds are left out, because counting them as either would teach what is not known: payments younger than the delay
    (all of them, or the frauds reported early would look more frequent than they are), those whose label is unsure, and
    blocked ones without a label, since what did not happen is never reported.

    Args:
        name: What people call the history.
        decisions: In the order of event time, made by the definitions that are trained on.
        columns: Values of a vector.
        known_at_ms: The moment up to which labels have come in, milliseconds since 1970.
        delay_days: How long labels take.
    """
    youngest_ms = known_at_ms - delay_days * DAY_MS
    left_out: Counter[str] = Counter()
    kept: list[RecordedDecision] = []
    for one in decisions:
        reason = _why_not(one, youngest_ms, columns)
        if reason is None:
            kept.append(one)
        else:
            left_out[reason] += 1
    return RecordedHistory(name, _dataset(kept, columns), dict(left_out))


def _why_not(one: RecordedDecision, youngest_ms: float, columns: int) -> str | None:
    if len(one.vector) != 4 * columns:
        return NO_VECTOR
    if one.occurred_ms > youngest_ms:
        return TOO_YOUNG
    if one.label is LabelValue.UNSURE:
        return UNSURE
    return BLOCKED if one.blocked and one.label is None else None


def _dataset(kept: list[RecordedDecision], columns: int) -> Dataset:
    vectors: NDArray[np.float32] = np.frombuffer(b"".join(one.vector for one in kept), dtype="<f4").astype(np.float32)
    return Dataset(
        matrix=vectors.reshape(len(kept), columns),
        fraud=np.array([one.label is LabelValue.FRAUD for one in kept], dtype=np.bool_),
        occurred_ms=np.array([one.occurred_ms for one in kept], dtype=np.int64),
        holders=codes([one.holder for one in kept]),
        scenario=np.full(len(kept), "", dtype=np.str_),
    )
