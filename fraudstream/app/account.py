"""
What became of a run: counted in the database, in the streams and on the workers' own pages, never assumed.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from fraudstream.adapters.redis_intake import fields, group_lag
from fraudstream.adapters.redis_keys import GROUPS
from fraudstream.adapters.redis_scripts import run
from fraudstream.training.metrics import average_precision

_TOTALS = """
SELECT count(*) AS recorded,
       count(*) FILTER (WHERE outcome <> 'approve') AS flagged,
       count(*) FILTER (WHERE cardinality(degraded) > 0) AS degraded,
       extract(epoch FROM max(decided_at) - min(received_at))::float8 AS seconds,
       percentile_cont($1::float8[]) WITHIN GROUP (ORDER BY extract(epoch FROM decided_at - received_at)::float8 * 1000)
           AS latency_ms
FROM decisions
WHERE received_at >= $2
"""
_OUTCOMES = "SELECT outcome, count(*) AS n FROM decisions GROUP BY outcome"
#: What ``stored`` gives the latency of, as shares.
PERCENTILES = (0.5, 0.95, 0.99, 0.999)
_SCORES = "SELECT transaction_id, outcome <> 'approve' AS flagged, score FROM decisions"


async def waiting(client: Redis, groups: Iterable[str]) -> dict[str, int]:
    """
    Return, for each group that is served, how many entries it has not read or not acknowledged.
    """
    wanted = set(groups)
    served = [(stream, group) for stream, names in GROUPS.items() for group in names if group in wanted]
    replies = await run(
        client, [command for stream, _ in served for command in (("XINFO", "STREAM", stream), ("XINFO", "GROUPS", stream))]
    )
    open_entries: dict[str, int] = {}
    for (_, group), head, infos in zip(served, replies[::2], replies[1::2], strict=True):
        for info in map(fields, infos):
            if info["name"].decode() == group:
                open_entries[group] = group_lag(info, fields(head)) + int(info["pending"])
    return open_entries


def counted(pages: Iterable[str], name: str, **labels: str) -> int:
    """
    Return the sum of a counter over the workers' pages.
    """
    return int(
        sum(
            sample.value
            for page in pages
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
    )


async def stored(url: str, since: datetime = datetime(1970, 1, 1, tzinfo=UTC)) -> dict[str, Any]:
    """
    Return what the database holds: outcomes, (id, flagged, score) per row, and the totals of what was received ``since``.

    ``latency_ms`` are the percentiles of ``PERCENTILES``, None where nothing was received.
    """
    connection = await asyncpg.connect(url)
    try:
        totals = await connection.fetchrow(_TOTALS, list(PERCENTILES), since)
        outcomes = await connection.fetch(_OUTCOMES)
        scores = await connection.fetch(_SCORES)
    finally:
        await connection.close()
    return {
        **dict(totals),
        "outcomes": {row["outcome"]: row["n"] for row in outcomes},
        "scores": [tuple(row) for row in scores],
    }


def detection(scores: Sequence[tuple[str, bool, float]], truth: Mapping[str, bool | None]) -> dict[str, float | None]:
    """
    Compare what was flagged with the truth that the producer kept; all None where there is no label.
    """
    known = [(truth[one], flagged, score) for one, flagged, score in scores if truth.get(one) is not None]
    labels = np.array([fraud for fraud, _, _ in known], dtype=bool)
    if not labels.any():
        return {"precision": None, "recall": None, "average_precision": None}
    flagged = np.array([one for _, one, _ in known], dtype=bool)
    caught = int((labels & flagged).sum())
    return {
        "precision": round(caught / int(flagged.sum()), 4) if flagged.any() else None,
        "recall": round(caught / int(labels.sum()), 4),
        "average_precision": round(
            float(average_precision(labels, np.array([score for _, _, score in known], dtype=np.float64))), 4
        ),
    }
