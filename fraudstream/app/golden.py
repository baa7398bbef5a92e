"""
The outside oracle as a run: the handbook's history through the kernel, in memory or through Redis, against the authors' values.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import RAW, Keys
from fraudstream.adapters.redis_states import RedisEntityStates
from fraudstream.adapters.redis_touch import RedisEntityStore
from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.adapters.tables import read_columns
from fraudstream.domain.decision import Label, LabelValue
from fraudstream.domain.errors import InvalidFeatures
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.golden import (
    COLUMNS,
    HISTORY_COLUMNS,
    LABEL_DELAY_S,
    START_S,
    Comparison,
    Labelled,
    Table,
    compare,
    golden_check,
    history,
    part,
)
from fraudstream.features.kernel import compute, records
from fraudstream.features.states import Standing
from fraudstream.local import LocalValkey
from fraudstream.stages.ports import Place

#: Transactions of one touch: an hour of the handbook's. Labels come between batches, seven days after their transaction.
BATCH = 512
#: What stands for an entry id where no stream is read: ``touch`` looks at it only when it ends an entry.
_NO_ENTRY = b"0-1"


class GoldenReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    Golden rows compared, per feature how many differ, and how long it took.

    ``differing`` are the transaction ids of the rows that differ, the first hundred.
    """

    path: str
    rows: int
    mismatches: dict[str, int]
    differing: list[int]
    seconds: float


async def run_golden(
    features: FeatureSet, folder: Path, *, online: bool, limit: int | None = None, size: int = BATCH
) -> GoldenReport:
    """
    Replay the handbook's transactions with labels at their own time, and compare the golden rows.

    Args:
        features: Must declare the fifteen columns.
        folder: Holds transactions.parquet and golden_features.parquet.
        online: Through the script ``touch`` on a Valkey of our own and ``labels``, instead of in memory.
        limit: Compare only so many rows, the first by time, over as much history as they look at.
        size: Transactions per batch; no batch may span the seven days that a label takes.

    Raises:
        InvalidFeatures: A column of the handbook is not declared.
        InvalidSource: A file is missing or not what it should be.
    """
    missing = [name for name in COLUMNS if name not in features.names]
    if missing:
        raise InvalidFeatures(f"the golden features {', '.join(missing)} are not declared; use models/handbook15.features")
    transactions: Table = read_columns(folder / "transactions.parquet", HISTORY_COLUMNS)
    golden: Table = read_columns(
        folder / "golden_features.parquet", ("TRANSACTION_ID", "TX_TIME_SECONDS", *dict.fromkeys(COLUMNS.values()))
    )
    if limit is not None:
        transactions, golden = part(transactions, golden, limit)
    started = time.perf_counter()
    found = (
        await _online(features, transactions, golden, size)
        if online
        else golden_check(features, transactions, golden, size=size)
    )
    return GoldenReport(
        path="online" if online else "offline",
        rows=found.rows,
        mismatches=dict(found.mismatches),
        differing=list(found.differing[:100]),
        seconds=round(time.perf_counter() - started, 1),
    )


async def _online(features: FeatureSet, transactions: Table, golden: Table, size: int) -> Comparison:
    with LocalValkey() as server:
        async with connected(RedisAddress(url=server.url), connections=2) as client:
            keys, clock = Keys(), RedisClock()
            await clock.set(client)
            store = RedisEntityStore(
                client,
                stream=RAW,
                group="fraud-check",
                features=features,
                keys=keys,
                options=LedgerOptions(horizon_s=0, deadline_ms=0),
                clock=clock,
            )
            states = RedisEntityStates(client, features=features, keys=keys)
            batches = history(transactions, size=size, until_s=int(golden["TX_TIME_SECONDS"].max()))
            return await _through(features, store, states, batches, golden)


async def _through(
    features: FeatureSet, store: RedisEntityStore, states: RedisEntityStates, batches: Iterable[Labelled], golden: Table
) -> Comparison:
    since_s = START_S + int(golden["TX_TIME_SECONDS"].min())
    ids: list[int] = []
    vectors: list[NDArray[np.float32]] = []
    for labelled in batches:
        batch = labelled.batch
        await states.tell(_labels(labelled.frauds))
        rows = records(features, batch)
        touched = await store.touch([_NO_ENTRY] * len(batch), batch, rows)
        if batch[-1].occurred_at_ms // 1_000 >= since_s:
            standings = [Standing.TOUCHED if place is Place.FIRST else Standing.SEEN for place in touched.places]
            ids.extend(int(one.transaction_id) for one in batch)
            vectors.append(compute(features, batch, rows, standings, touched.states))
    return compare(features, np.array(ids, np.int64), np.concatenate(vectors), golden)


def _labels(frauds: Sequence[Transaction]) -> list[tuple[Label, Transaction]]:
    return [
        (
            Label(
                label_id=f"handbook-{one.transaction_id}",
                transaction_id=one.transaction_id,
                label=LabelValue.FRAUD,
                source="handbook",
                labelled_at=datetime.fromtimestamp(one.occurred_at_ms / 1_000 + LABEL_DELAY_S, UTC),
            ),
            one,
        )
        for one in frauds
    ]
