"""
Served exactly as measured: a history through Redis and a running fleet, its recorded scores against the offline replay's.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.adapters.postgres_account import recorded_scores
from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.adapters.redis_account import waiting
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_intake import AdmissionLimits, RedisIntake
from fraudstream.adapters.redis_keys import LABELS
from fraudstream.app.connections import address, intake
from fraudstream.app.demo import Progress
from fraudstream.app.local_system import LocalSystem
from fraudstream.app.settling import until_done
from fraudstream.domain.decision import Label, LabelValue
from fraudstream.domain.errors import InvalidSettings
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.inspected import entity_kinds
from fraudstream.features.load import load_features
from fraudstream.producers.files import read_file
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.produce import produce
from fraudstream.scoring.load import load_model
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE, encode_manifest
from fraudstream.training.benchmark import BenchmarkPlan, fold_model, split
from fraudstream.training.dataset import DAY_MS, Dataset, build

#: One worker for each group, one batch in hand: what is first on the stream is first in every log, as in the replay.
_ORDER = {"FRAUDSTREAM_BATCHES_IN_HAND": "1"}
#: A rule set that says nothing; the shipped one reads features that others need not define.
_RULES = "rule nothing score +1 if :amount: < 0\n"


class ParityPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    What to send, and what to compare.

    ``limit`` is how many transactions are sent, from the beginning of the history. ``model`` is a folder; None trains what the
    benchmark trains on the first of its folds, for which the history is replayed as far as that needs.
    """

    transactions: Path
    features: Path
    mapping: str | None = None
    limit: int = 50_000
    model: Path | None = None
    fold: BenchmarkPlan = BenchmarkPlan()
    inherited: dict[str, str] = {}


class ModelParity(msgspec.Struct, frozen=True, kw_only=True):
    """
    Recorded against computed, in the bits of float32.

    ``mismatches`` are scores that differ, ``vector_mismatches`` rows with a feature that does; ``missing`` have no decision,
    ``other_model`` one of another model. ``distinct_scores`` shows that equal scores are not all the same. ``ring_features``
    are those whose values may depend on what was in flight: with any, equality is not promised.
    """

    model: str
    feature_set: str
    rows: int
    mismatches: int
    vector_mismatches: int
    missing: int
    other_model: int
    degraded: int
    distinct_scores: int
    labels: int
    first: str
    last: str
    topology: tuple[str, ...]
    ring_features: tuple[str, ...]
    transactions_per_second: float


class _Expected(NamedTuple):
    """
    What the replay and the model say of the transactions that are sent.
    """

    model: str
    sent: Sequence[Labelled]
    matrix: NDArray[np.float32]
    scores: NDArray[np.float32]


async def run_model_parity(plan: ParityPlan, progress: Progress) -> ModelParity:
    """
    Replay, score, send the same transactions and labels through a fleet of our own, and compare.

    Labels follow their day: what was paid on one day (UTC) is labelled before the next day is sent. Definitions that read
    labels at least a day late see the same of them as the replay does.

    Raises:
        ConfigurationError: The history, the definitions or the model cannot be used, or a server did not start.
        TransientError: The fleet stopped moving.
    """
    features = load_features(plan.features.read_text(encoding="utf-8"), name=plan.features.name)
    with LocalSystem(inherited=plan.inherited, deadline_ms=0, horizon_s=0, groups=_groups(features)) as system:
        folder = system.folder / "model"
        progress.step("replaying the history")
        sent, rows = _replayed(plan, features, progress)
        if plan.model is None:
            progress.step("training the model of the fold")
            _write_fold(features, rows, plan.fold, folder)
        model = load_model(folder if plan.model is None else plan.model, features.names, feature_set=features.id)
        matrix = rows.matrix[: len(sent)]
        scores = model.score(matrix)
        _settle_files(system, plan, folder)
        progress.step("starting servers and workers")
        await migrate(system.postgres.url)
        system.start_workers()
        started = time.monotonic()
        labels = await _send(system, sent, features, progress)
        wall_s = time.monotonic() - started
        recorded = await recorded_scores(system.postgres.url)
        system.stop_workers()
    expected = _Expected(model.id, sent, matrix, scores)
    rings = set(features.rings)
    return ModelParity(
        model=model.id,
        feature_set=features.id,
        rows=len(sent),
        distinct_scores=len(np.unique(scores)),
        labels=labels,
        first=_moment(sent[0]) if sent else "",
        last=_moment(sent[-1]) if sent else "",
        topology=tuple(f"1 x {group}, one batch in hand" for group in _groups(features)),
        ring_features=tuple(name for name, kinds in entity_kinds(features).items() if kinds & rings),
        transactions_per_second=round(len(sent) / wall_s, 1),
        **_compared(expected, recorded),
    )


def _groups(features: FeatureSet) -> tuple[str, ...]:
    return ("fraud-check", "ml-scoring", "recorder", *(("labels",) if features.reads_labels else ()))


def _replayed(plan: ParityPlan, features: FeatureSet, progress: Progress) -> tuple[list[Labelled], Dataset]:
    """
    Return the transactions to send, each id once, and the rows of the replay, of which the first belong to them.
    """
    sent: list[Labelled] = []
    seen: set[str] = set()
    end_ms = _end_ms(plan)

    def noted() -> Iterator[Labelled]:
        for one in read_file(plan.transactions, plan.mapping):
            if len(sent) >= plan.limit and one.occurred_at_ms >= end_ms:
                return
            if one.fraud is None:
                raise InvalidSettings(
                    f"{plan.transactions}: transaction {one.transaction_id} has no label; parity needs them all"
                )
            if len(sent) < plan.limit and one.transaction_id not in seen:
                seen.add(one.transaction_id)
                sent.append(one)
            yield one

    rows = build(features, noted(), progress=lambda step, done, total: progress.count(step, done, total or None))
    return sent, rows


def _write_fold(features: FeatureSet, rows: Dataset, plan: BenchmarkPlan, folder: Path) -> None:
    train, _ = split(rows, plan, plan.train_starts[0])
    if not train.fraud.any():
        raise InvalidSettings(f"the fold of {plan.train_starts[0]} has no fraud to learn from; the history must cover its days")
    model, manifest = fold_model(features, plan, train)
    folder.mkdir()
    (folder / MODEL_FILE).write_bytes(model)
    (folder / MANIFEST_FILE).write_bytes(encode_manifest(manifest))


def _end_ms(plan: ParityPlan) -> int:
    """
    Return until when the replay must go beyond what is sent: the end of the fold's training, where there is one.
    """
    if plan.model is not None:
        return 0
    start: date = plan.fold.train_starts[0]
    return int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp()) * 1000 + plan.fold.train_days * DAY_MS


def _settle_files(system: LocalSystem, plan: ParityPlan, folder: Path) -> None:
    """
    Let the workers use the model and the definitions of the plan, and rules that say nothing.
    """
    rules, lists = system.folder / "nothing.rules", system.folder / "lists"
    rules.write_text(_RULES)
    lists.mkdir()
    model = folder if plan.model is None else plan.model.absolute()
    system.set(
        FRAUDSTREAM_FEATURES=str(plan.features.absolute()),
        FRAUDSTREAM_RULES=str(rules),
        FRAUDSTREAM_LISTS=str(lists),
        ML_MODEL_PATH=str(model),
        **_ORDER,
    )


async def _send(system: LocalSystem, sent: Sequence[Labelled], features: FeatureSet, progress: Progress) -> int:
    """
    Send day by day, each with its labels behind it; return how many labels there were.
    """
    labels = done = 0
    async with connected(address(system.settings())) as client, intake(system.settings()) as target:
        told = RedisIntake(client, stream=LABELS, limits=AdmissionLimits())
        look = partial(waiting, client, _groups(features))
        for _, day in itertools.groupby(sent, key=lambda one: one.occurred_at_ms // DAY_MS):
            rows = list(day)
            await produce(rows, target)
            await until_done(look, partial(progress.count, "sent and recorded", done, len(sent)))
            done += len(rows)
            if features.reads_labels:
                await produce(_labels(rows), told, check=False)
                await until_done(look, partial(progress.count, "labelled", done, len(sent)))
                labels += len(rows)
    return labels


def _labels(rows: Iterable[Labelled]) -> Iterator[bytes]:
    for one in rows:
        yield msgspec.json.encode(
            Label(
                label_id=f"label-{one.transaction_id}",
                transaction_id=one.transaction_id,
                label=LabelValue.FRAUD if one.fraud else LabelValue.LEGITIMATE,
                source="history",
                labelled_at=datetime.fromtimestamp(one.occurred_at_ms // 1000, UTC),
            )
        )


def _compared(expected: _Expected, recorded: dict[str, tuple[str, float | None, bytes]]) -> dict[str, int]:
    """
    Return how many rows differ, by kind.
    """
    counts = dict.fromkeys(("mismatches", "vector_mismatches", "missing", "other_model", "degraded"), 0)
    for one, row, score in zip(expected.sent, expected.matrix, expected.scores, strict=True):
        found = recorded.get(one.transaction_id)
        if found is None:
            counts["missing"] += 1
            continue
        by, probability, vector = found
        counts["other_model"] += by != expected.model
        counts["degraded"] += probability is None
        counts["mismatches"] += probability is None or np.float32(probability).tobytes() != score.tobytes()
        counts["vector_mismatches"] += vector != row.astype("<f4").tobytes()
    return counts


def _moment(one: Labelled) -> str:
    return datetime.fromtimestamp(one.occurred_at_ms // 1000, UTC).isoformat()
