"""
A shadow beside what was decided with: where the two part, and who was right as far as labels tell.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.adapters.postgres_maturity import MaturedDecisions
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_models import RedisModels
from fraudstream.app.connections import address
from fraudstream.app.loading import load_policy
from fraudstream.app.models import open_model_desk
from fraudstream.decision.policy import DecisionPolicy
from fraudstream.domain.errors import ModelRefused
from fraudstream.settings import Settings
from fraudstream.stages.shadow_scoring import ShadowBatch
from fraudstream.training.metrics import average_precision, roc_auc


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """
    Both scores against what is known by now; the same rows for both.
    """

    rows: int
    frauds: int
    decided_ap: float
    shadow_ap: float
    decided_auc: float
    shadow_auc: float


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The rows that are kept of a shadow, the youngest a quarter of a million.

    ``outcomes`` counts rows by outcome of the decided score and of the shadow's, by the bands alone. ``correlation`` is that of
    the ranks of both scores. ``truth`` is None without labels of both kinds, or without a database.
    """

    shadow: str
    rows: int
    mean_decided: float
    mean_shadow: float
    correlation: float
    outcomes: dict[str, int]
    truth: Truth | None


async def shadow_report(settings: Settings, what: str, *, actor: str) -> ShadowReport:
    """
    Compare a shadow with what was decided, over the rows that Redis keeps.

    Raises:
        IncompatibleModel: There is no such model.
        ModelRefused: Nothing is kept of it: it is no shadow, or has seen nothing yet.
        DecisionStoreUnavailable: The database that the settings name does not answer.
    """
    async with open_model_desk(settings, actor) as desk:
        model = await desk.full(what)
    async with connected(address(settings), connections=1) as client:
        batches = await RedisModels(client).shadow_batches(model)
    if not batches:
        raise ModelRefused(f"nothing is kept of {model[:12]}: make it a shadow, and let payments come")
    frauds = await _frauds(settings, [name for batch in batches for name in batch.transaction_ids])
    return reported(model, batches, load_policy(settings), frauds)


def reported(model: str, batches: Sequence[ShadowBatch], policy: DecisionPolicy, frauds: Mapping[str, bool]) -> ShadowReport:
    """
    Compare; a transaction that was scored twice counts once, as it was scored last.
    """
    last = {
        name: (decided, shadow)
        for batch in batches
        for name, decided, shadow in zip(
            batch.transaction_ids, _scores(batch.scores), _scores(batch.shadow_scores), strict=True
        )
    }
    both = np.array(list(last.values()), dtype=np.float64)
    bands = [(policy.band(decided), policy.band(shadow)) for decided, shadow in both.tolist()]
    counts: dict[str, int] = {}
    for decided, shadow in bands:
        key = f"{decided.value} -> {shadow.value}"
        counts[key] = counts.get(key, 0) + 1
    return ShadowReport(
        shadow=model,
        rows=len(last),
        mean_decided=round(float(both[:, 0].mean()), 6),
        mean_shadow=round(float(both[:, 1].mean()), 6),
        correlation=round(_rank_correlation(both[:, 0], both[:, 1]), 4),
        outcomes=dict(sorted(counts.items())),
        truth=_truth(last, frauds),
    )


async def _frauds(settings: Settings, names: Sequence[str]) -> Mapping[str, bool]:
    if settings.postgres_url is None:
        return {}
    decisions = await MaturedDecisions.connect(settings.postgres_url)
    try:
        return await decisions.frauds(names)
    finally:
        await decisions.close()


def _scores(raw: bytes) -> list[float]:
    found: list[float] = np.frombuffer(raw, dtype="<f4").tolist()
    return found


def _truth(last: Mapping[str, tuple[float, float]], frauds: Mapping[str, bool]) -> Truth | None:
    known = [name for name in last if name in frauds]
    labels = np.array([frauds[name] for name in known], dtype=np.bool_)
    if not labels.any() or labels.all():
        return None
    decided, shadow = np.array([last[name] for name in known], dtype=np.float64).T
    return Truth(
        rows=len(known),
        frauds=int(labels.sum()),
        decided_ap=round(float(average_precision(labels, decided)), 4),
        shadow_ap=round(float(average_precision(labels, shadow)), 4),
        decided_auc=round(float(roc_auc(labels, decided)), 4),
        shadow_auc=round(float(roc_auc(labels, shadow)), 4),
    )


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """
    Return Spearman's correlation; ties share their mean rank. 1 where one side is all the same: there is no order to differ in.
    """
    ranks = [_ranks(one), _ranks(other)]
    if min(float(rank.std()) for rank in ranks) == 0.0:
        return 1.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place], dtype=np.float64)
