"""
A model from what the fleet has decided and people have said since: ``fraudstream train --from-database``.
"""

from datetime import UTC, datetime

from fraudstream.adapters.postgres_training import RecordedDecisions
from fraudstream.domain.errors import InvalidSettings
from fraudstream.features.definitions import FeatureSet
from fraudstream.training.dataset import Progress, silent
from fraudstream.training.recorded import RecordedDecision, RecordedHistory, recorded_history

#: Decisions between two reports of progress.
_TOLD_EVERY = 5000
_NAME = "decisions on record"


async def read_recorded(
    postgres_url: str | None,
    features: FeatureSet,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    delay_days: float = 7.0,
    progress: Progress = silent,
) -> RecordedHistory:
    """
    Read recorded vectors and labels.

    Args:
        postgres_url: The database.
        features: Only decisions made by these very definitions are read: other vectors mean something else.
        since: First moment of event time; None is the beginning.
        until: End of event time, exclusive, and the moment up to which labels are taken to have come in; None is now.
        delay_days: How long labels take; younger payments teach nothing yet.
        progress: Called as (``read``, done, 0).

    Raises:
        InvalidSettings: No database is named, or it holds no decision made by these definitions in this span.
        DecisionStoreUnavailable: It does not answer.
    """
    if postgres_url is None:
        raise InvalidSettings("decisions are read from the database; set POSTGRES_URL or give --postgres-url")
    first, end = since or datetime.fromtimestamp(0, UTC), until or datetime.now(UTC)
    store = await RecordedDecisions.connect(postgres_url)
    try:
        found: list[RecordedDecision] = []
        async for one in store.rows(features.id, first, end):
            found.append(one)
            if len(found) % _TOLD_EVERY == 0:
                progress("read", len(found), 0)
        if not found:
            raise InvalidSettings(_nothing(features.id, await store.feature_sets()))
    finally:
        await store.close()
    progress("read", len(found), len(found))
    return recorded_history(
        _NAME, found, columns=len(features.names), known_at_ms=round(end.timestamp() * 1000), delay_days=delay_days
    )


def _nothing(feature_set: str, sets: dict[str, int]) -> str:
    """
    Return why there is nothing to learn from, and what to do.
    """
    if not sets:
        return "the database holds no decision; let the fleet run for a while, or train on a file with --transactions"
    others = ", ".join(f"{name} ({count:,})" for name, count in sets.items())
    return (
        f"no decision in this span was made by feature set {feature_set}; on record are {others}: give the definitions that"
        " were in force with --features, or another --since and --until"
    )
