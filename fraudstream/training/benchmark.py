"""
The protocol of the Fraud Detection Handbook: weeks of training, a week of delay, a week of test, customers known to be
compromised left out. Every score comes from an exported ONNX model.

References:
    Le Borgne, Siblini, Lebichot and Bontempi 2022, Reproducible machine learning for credit card fraud detection: practical
    handbook, chapters 3 and 5 (ULB and Worldline).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.errors import InvalidSettings
from fraudstream.features.definitions import FeatureSet
from fraudstream.scoring.load import open_model
from fraudstream.scoring.manifest import Calibration, Column, Manifest, Thresholds, Training, sha256_hex
from fraudstream.training.dataset import DAY_MS, Dataset, Progress, require_delay, silent
from fraudstream.training.ensemble import Ensemble, fit, suited
from fraudstream.training.export import export
from fraudstream.training.metrics import average_precision, card_precision, roc_auc

#: Cards that are looked into per day.
TOP = 100
#: The handbook's folds by the first day of training: choose on the first, report the mean of the second.
VALIDATION_STARTS = (date(2018, 6, 20), date(2018, 6, 27), date(2018, 7, 4), date(2018, 7, 11))
TEST_STARTS = (date(2018, 7, 25), date(2018, 8, 1), date(2018, 8, 8), date(2018, 8, 15))
#: The handbook trains on one week and leaves out the customers that it knows from it; a longer training leaves out no more, so
#: that its test is the same.
_KNOWN_DAYS = 7
_UNCALIBRATED = Calibration(slope=1.0, intercept=0.0)


class BenchmarkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which days train and which test, and how the trees grow.

    Each fold trains on ``train_days`` from its start (UTC), leaves out ``delay_days`` and tests on ``test_days``. Without an
    ``ensemble`` the trees grow by how much there is to learn from.
    """

    train_starts: Sequence[date] = TEST_STARTS
    train_days: int = 7
    delay_days: int = 7
    test_days: int = 7
    ensemble: Ensemble | None = None


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one fold came to; ``rows`` and ``frauds`` are those tested, after the known customers left.
    """

    train_start: date
    rows: int
    frauds: int
    auc: float
    ap: float
    cp100: float


@dataclass(frozen=True)
class ScoredFold:
    """
    A fold with what it was tested on, and the scores of these rows.
    """

    fold: Fold
    tested: Dataset
    scores: NDArray[np.float32]


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """
    The mean over the folds: what is compared, since single weeks vary by 0.010 to 0.015 in average precision.
    """

    auc: float
    ap: float
    cp100: float


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """
    All folds and their mean.
    """

    folds: tuple[Fold, ...]
    mean: Mean


def span_ms(plan: BenchmarkPlan) -> tuple[int, int]:
    """
    Return the event time that the folds look at, milliseconds, its end exclusive; everything else only fills windows.
    """
    days = plan.train_days + plan.delay_days + plan.test_days
    return _midnight_ms(min(plan.train_starts)), _midnight_ms(max(plan.train_starts)) + days * DAY_MS


def benchmark(features: FeatureSet, rows: Dataset, plan: BenchmarkPlan, *, progress: Progress = silent) -> Benchmark:
    """
    Run the protocol.

    Args:
        features: What the rows were computed by.
        rows: The whole history; a holder is a customer.
        plan: Which days, and how.
        progress: Called as (``fold``, done, total).

    Raises:
        InvalidFeatures: A feature reads labels that are younger than the delay.
        InvalidSettings: A fold has no fraud to learn from, or none to test on.
    """
    return summary([one.fold for one in scored_folds(features, rows, plan, progress=progress)])


def scored_folds(
    features: FeatureSet, rows: Dataset, plan: BenchmarkPlan, *, progress: Progress = silent
) -> Iterator["ScoredFold"]:
    """
    Run the protocol and yield each fold with the rows that it was tested on; see ``benchmark``.
    """
    require_delay(features, plan.delay_days * 86_400)
    for at, start in enumerate(plan.train_starts, start=1):
        yield _fold(features, rows, plan, start)
        progress("fold", at, len(plan.train_starts))


def summary(folds: Sequence[Fold]) -> Benchmark:
    """
    Return folds with their mean.
    """
    mean = {name: round(float(np.mean([getattr(fold, name) for fold in folds])), 4) for name in ("auc", "ap", "cp100")}
    return Benchmark(folds=tuple(folds), mean=Mean(**mean))


def split(rows: Dataset, plan: BenchmarkPlan, start: date) -> tuple[Dataset, Dataset]:
    """
    Return the rows of one fold to train and to test on.

    A customer with a fraud in the last week of training is known, and leaves the test. So does, for each test day, every
    customer with a fraud on or before the day that lies ``delay_days`` and one more before it: by then somebody has told.
    """
    first = _midnight_ms(start)
    end = first + plan.train_days * DAY_MS
    train = rows.between(first, end)
    week = rows.between(max(first, end - _KNOWN_DAYS * DAY_MS), end)
    known = week.holders[week.fraud]
    parts = []
    for day in range(plan.test_days):
        told = rows.between(end + (day - 1) * DAY_MS, end + day * DAY_MS)
        known = np.union1d(known, told.holders[told.fraud])
        begin = end + (plan.delay_days + day) * DAY_MS
        test = rows.between(begin, begin + DAY_MS)
        parts.append(test.where(~np.isin(test.holders, known)))
    return train, stack(parts)


def stack(parts: Sequence[Dataset]) -> Dataset:
    """
    Put parts of one source in a row; a holder stays the same in all of them.
    """
    columns = ("matrix", "fraud", "occurred_ms", "holders", "scenario")
    return Dataset(*(np.concatenate([getattr(part, column) for part in parts]) for column in columns))


def _fold(features: FeatureSet, rows: Dataset, plan: BenchmarkPlan, start: date) -> ScoredFold:
    train, test = split(rows, plan, start)
    if not train.fraud.any() or not test.fraud.any():
        raise InvalidSettings(f"the fold of {start} has no fraud to train or to test on; the history must cover its days")
    scores = open_model(*fold_model(features, plan, train)).score(test.matrix)
    days: NDArray[np.int64] = test.occurred_ms // DAY_MS
    fold = Fold(
        train_start=start,
        rows=len(test),
        frauds=int(test.fraud.sum()),
        auc=round(roc_auc(test.fraud, scores), 4),
        ap=round(average_precision(test.fraud, scores), 4),
        cp100=round(card_precision(days, test.holders, test.fraud, scores, top=TOP), 4),
    )
    return ScoredFold(fold, test, scores)


def fold_model(features: FeatureSet, plan: BenchmarkPlan, train: Dataset) -> tuple[bytes, Manifest]:
    """
    Train and export; the order of the scores is all that counts here, so nothing is calibrated.
    """
    ensemble = plan.ensemble or suited(int(train.fraud.sum()))
    onnx = export(fit(ensemble, train), _UNCALIBRATED)
    manifest = Manifest(
        version="benchmark",
        sha256=sha256_hex(onnx),
        feature_set=features.id,
        features=tuple(Column(name=one.name, unit=one.unit, description=one.description) for one in features.features),
        training=Training(
            source="benchmark",
            first="",
            last="",
            rows=len(train),
            frauds=int(train.fraud.sum()),
            label_delay_s=plan.delay_days * 86_400,
            seed=ensemble.seed,
            command="fraudstream model benchmark",
            packages={},
        ),
        calibration=_UNCALIBRATED,
        metrics={},
        thresholds=Thresholds(challenge=0.5, review=0.75, block=0.93),
        parity=0.0,
    )
    return onnx, manifest


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
