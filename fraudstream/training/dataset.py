"""
Labelled history to a matrix: replayed through the very kernel that serves, in the order of its own time.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.errors import InvalidFeatures
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.features.catalogue import AGGREGATES
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import records
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.replay import replay
from fraudstream.features.syntax import Aggregate, Field, walk
from fraudstream.producers.labelled import Labelled
from fraudstream.training.metrics import codes

#: Transactions replayed at once; values do not depend on it.
BATCH = 512
DAY_MS = 86_400_000
#: Shares of a history's usable days that teach (the rest measures), and of those that calibrate instead.
_TEACHING, _CALIBRATING = 0.75, 0.2
#: Most windows are filled by then; what teaches is worth more than what fills longer ones.
_LONGEST_WARM_UP_DAYS = 30.0

#: Told as (step, done, total); total is 0 where nobody knows it.
Progress = Callable[[str, int, int], None]


def silent(_step: str, _done: int, _total: int) -> None:
    """
    Tell nobody.
    """


@dataclass(frozen=True)
class Dataset:
    """
    Rows whose truth is known, in the order of event time within each source.

    ``matrix`` has shape (rows, features), the others (rows,). ``holders`` numbers the card of each row (the user where there is
    no card); rows of two sources never share a number. ``occurred_ms`` is milliseconds since 1970 UTC. ``scenario`` is the
    producer's word for what a row is part of.
    """

    matrix: NDArray[np.float32]
    fraud: NDArray[np.bool_]
    occurred_ms: NDArray[np.int64]
    holders: NDArray[np.int64]
    scenario: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.fraud)

    def between(self, first_ms: float, end_ms: float) -> "Dataset":
        """
        Return the rows of a span of event time, its end exclusive.
        """
        return self.where((self.occurred_ms >= first_ms) & (self.occurred_ms < end_ms))

    def where(self, kept: NDArray[np.bool_]) -> "Dataset":
        """
        Return the rows that a mask of shape (rows,) keeps.
        """
        return Dataset(self.matrix[kept], self.fraud[kept], self.occurred_ms[kept], self.holders[kept], self.scenario[kept])


def build(
    features: FeatureSet,
    source: Iterable[Labelled],
    *,
    span_ms: tuple[float, float] = (-math.inf, math.inf),
    progress: Progress = silent,
    total: int = 0,
) -> Dataset:
    """
    Replay one source into rows.

    Every transaction moves its entities; only those with a label become rows. A second delivery of an id changes nothing.

    Labels are told to the entity states at once. What keeps a row from reading the future is the delay in the definitions:
    ``require_delay`` refuses those that would.

    Args:
        features: What to compute.
        source: In the order of event time, as producers yield it.
        span_ms: Rows are wanted of this span of event time, its end exclusive; what lies outside only moves its entities.
        progress: Called after each batch with step ``replay``.
        total: Transactions to come, for the progress.

    Raises:
        InvalidTransaction: A body is not a transaction; a training file must be whole.
    """
    kept: list[_Seen] = []
    parts: list[NDArray[np.float32]] = []
    store, done = MemoryEntityStore(features), 0
    for batch, seen in _batches(source, _youngest_label_ms(features)):
        wanted = np.array([span_ms[0] <= one.occurred_ms < span_ms[1] for one in seen])
        if wanted.any():
            parts.extend(matrix[wanted] for matrix in replay(features, [batch], store=store))
            kept.extend(one for one, asked in zip(seen, wanted.tolist(), strict=True) if asked)
        else:
            store.touch(records(features, batch))
        if features.reads_labels:
            _tell(features, store, batch, seen)
        done += len(batch)
        progress("replay", done, total)
    matrix = np.concatenate(parts) if parts else np.zeros((0, len(features.names)), dtype=np.float32)
    return _rows(matrix, kept)


class _Seen(NamedTuple):
    fraud: bool | None
    occurred_ms: int
    holder: str | None
    scenario: str


def _batches(source: Iterable[Labelled], span_ms: float) -> Iterator[tuple[Sequence[Transaction], Sequence[_Seen]]]:
    """
    Yield decoded transactions, each id once, with what the rows need beside the features.

    Labels are told after a batch: one that lasts as long as the youngest label that a feature reads would hide some of them.
    """
    ids: set[str] = set()
    for batch in _cut(source, span_ms):
        fresh, seen = [], []
        for row in batch:
            if row.transaction_id not in ids:
                ids.add(row.transaction_id)
                one = parse_transaction(row.body, now_ms=row.occurred_at_ms, default_currency="USD")
                seen.append(_Seen(row.fraud, one.occurred_at_ms, one.card_id or one.user_id, row.scenario))
                fresh.append(one)
        if fresh:
            yield fresh, seen


def _cut(source: Iterable[Labelled], span_ms: float) -> Iterator[list[Labelled]]:
    """
    Yield rows in batches that are no larger than ``BATCH`` and last less than so long.
    """
    batch: list[Labelled] = []
    for row in source:
        if batch and (len(batch) == BATCH or row.occurred_at_ms - batch[0].occurred_at_ms >= span_ms):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _youngest_label_ms(features: FeatureSet) -> float:
    """
    Return the age of the youngest label that a feature reads; infinite where none reads any.
    """
    bodies = [one.body for one in features.features if isinstance(one.body, Aggregate) and _reads_labels(one.body)]
    return min((body.delayed_s * 1000.0 for body in bodies), default=math.inf)


def _tell(features: FeatureSet, store: MemoryEntityStore, batch: Sequence[Transaction], seen: Sequence[_Seen]) -> None:
    known = [(one, row.fraud) for one, row in zip(batch, seen, strict=True) if row.fraud is not None]
    if known:
        store.set_labels(records(features, [one for one, _ in known]), [fraud for _, fraud in known])


def require_delay(features: FeatureSet, delay_s: float) -> None:
    """
    Refuse definitions that read a label before anybody could know it.

    Raises:
        InvalidFeatures: Naming every feature whose labels are younger than ``delay_s`` seconds.
    """
    early = [
        f"{feature.name} (delayed {feature.body.delayed_s} s)"
        for feature in features.features
        if isinstance(feature.body, Aggregate) and _reads_labels(feature.body) and feature.body.delayed_s < delay_s
    ]
    if early:
        raise InvalidFeatures(
            f"labels are known after {delay_s:.0f} s, but these features read them earlier: {', '.join(early)}; write `delayed`"
            " of at least that into their definitions"
        )


def _reads_labels(body: Aggregate) -> bool:
    """
    Say whether an aggregate looks at labels: by itself, or in its condition.
    """
    asked = () if body.where is None else walk(body.where)
    return AGGREGATES[body.function].labels or any(isinstance(node, Field) and node.name == "label" for node in asked)


def _rows(matrix: NDArray[np.float32], seen: Sequence[_Seen]) -> Dataset:
    whole = Dataset(
        matrix=matrix,
        fraud=np.array([one.fraud is True for one in seen], dtype=np.bool_),
        occurred_ms=np.array([one.occurred_ms for one in seen], dtype=np.int64),
        holders=codes([one.holder for one in seen]),
        scenario=np.array([one.scenario for one in seen], dtype=np.str_),
    )
    return whole.where(np.array([one.fraud is not None for one in seen], dtype=np.bool_))


def join(parts: Sequence[Dataset]) -> Dataset:
    """
    Put sources beside each other; their holders stay apart.
    """
    names = [f"{at}:{holder}" for at, part in enumerate(parts) for holder in part.holders.tolist()]
    return Dataset(
        matrix=np.concatenate([part.matrix for part in parts]),
        fraud=np.concatenate([part.fraud for part in parts]),
        occurred_ms=np.concatenate([part.occurred_ms for part in parts]),
        holders=codes(names),
        scenario=np.concatenate([part.scenario for part in parts]),
    )


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a span of history is cut by time, in days from its beginning.

    Rows of the first ``warm_up_days`` only fill windows. The next ``train_days`` teach; their last ``calibrate_share``
    calibrates instead. Nothing of the following ``delay_days`` is used: their labels would not be known yet. The rest measures.
    """

    warm_up_days: float = 4.0
    train_days: float = 10.0
    calibrate_share: float = 0.25
    delay_days: float = 7.0

    def over(self, rows: Dataset) -> "Split":  # noqa: ARG002 (see Proportions)
        """
        Return itself: days that somebody chose fit every history or are refused later.
        """
        return self

    def cut(self, rows: Dataset) -> tuple[Dataset, Dataset, Dataset]:
        """
        Return the rows to learn from, to calibrate on and to measure on.
        """
        start = float(rows.occurred_ms.min()) + self.warm_up_days * DAY_MS
        end = start + self.train_days * DAY_MS
        turn = end - self.calibrate_share * self.train_days * DAY_MS
        return rows.between(start, turn), rows.between(turn, end), rows.between(end + self.delay_days * DAY_MS, np.inf)


class Proportions(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a history of any length is cut: of the days beside warm-up and delay, three quarters teach and a quarter measures.

    Without ``warm_up_days`` a sixth of the history, at most thirty days, only fills windows.
    """

    warm_up_days: float | None = None
    delay_days: float = 7.0

    def over(self, rows: Dataset) -> Split:
        """
        Return the split that fits the span of these rows.
        """
        span_days = float(rows.occurred_ms.max() - rows.occurred_ms.min() + 1) / DAY_MS if len(rows) else 0.0
        warm_up_days = min(span_days / 6, _LONGEST_WARM_UP_DAYS) if self.warm_up_days is None else self.warm_up_days
        left = max(span_days - warm_up_days - self.delay_days, 0.0)
        return Split(
            warm_up_days=round(warm_up_days, 3),
            train_days=round(_TEACHING * left, 3),
            calibrate_share=_CALIBRATING,
            delay_days=self.delay_days,
        )
