"""
The outside oracle: our fifteen handbook features against the authors' own values. Whoever calls reads the files.

References:
    Le Borgne, Siblini, Lebichot, Bontempi 2022, "Reproducible Machine Learning for Credit Card Fraud Detection: Practical
    Handbook", chapter 3. Data: ULB and Worldline.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import records
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.replay import replay

#: The handbook's clock starts at 2018-04-01 00:00:00, taken as UTC; seconds since 1970.
START_S = 1_522_540_800
#: How long a label takes in the handbook: seven days, in seconds.
LABEL_DELAY_S = 7 * 86_400
#: Largest relative difference of an average: the authors' come from a rolling sum that drifts in its last digits.
AVERAGE_TOLERANCE = 1e-6
#: What that drift leaves of an average of zero, in cents (up to 2e-11 in two rows): the relative difference is infinite.
ZERO_TOLERANCE = 1e-9
#: Our names of the authors' columns, in their order.
COLUMNS = {
    "amount_minor": "TX_AMOUNT",
    "during_weekend": "TX_DURING_WEEKEND",
    "during_night": "TX_DURING_NIGHT",
    "user_count_1d": "CUSTOMER_ID_NB_TX_1DAY_WINDOW",
    "user_avg_amount_minor_1d": "CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW",
    "user_count_7d": "CUSTOMER_ID_NB_TX_7DAY_WINDOW",
    "user_avg_amount_minor_7d": "CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW",
    "user_count_30d": "CUSTOMER_ID_NB_TX_30DAY_WINDOW",
    "user_avg_amount_minor_30d": "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW",
    "merchant_count_1d_delayed_7d": "TERMINAL_ID_NB_TX_1DAY_WINDOW",
    "merchant_fraud_rate_1d_delayed_7d": "TERMINAL_ID_RISK_1DAY_WINDOW",
    "merchant_count_7d_delayed_7d": "TERMINAL_ID_NB_TX_7DAY_WINDOW",
    "merchant_fraud_rate_7d_delayed_7d": "TERMINAL_ID_RISK_7DAY_WINDOW",
    "merchant_count_30d_delayed_7d": "TERMINAL_ID_NB_TX_30DAY_WINDOW",
    "merchant_fraud_rate_30d_delayed_7d": "TERMINAL_ID_RISK_30DAY_WINDOW",
}

#: What the history needs of transactions.parquet.
HISTORY_COLUMNS = (
    "TRANSACTION_ID",
    "TX_TIME_SECONDS",
    "CUSTOMER_ID",
    "TERMINAL_ID",
    "TX_AMOUNT_CENTS",
    "TX_FRAUD_SCENARIO",
)
#: The longest window and its delay, and a day: what a part of the golden rows needs of the history before it, in seconds.
REACH_S = (30 + 7 + 1) * 86_400

#: Columns of the handbook's files, by name.
Table = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    What a golden run found: golden rows compared, per feature how many differ, and the transaction ids of those that do.
    """

    rows: int
    mismatches: Mapping[str, int]
    differing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """
    A batch of the handbook's history, and the earlier transactions that turned out as fraud by the time of its first one.
    """

    batch: Sequence[Transaction]
    frauds: Sequence[Transaction]


def part(transactions: Table, golden: Table, rows: int) -> tuple[Table, Table]:
    """
    Return the first golden rows in the order of (time, id), and the history of their customers and terminals that they look at.
    """
    first = np.lexsort((golden["TRANSACTION_ID"], golden["TX_TIME_SECONDS"]))[:rows]
    wanted = {name: column[first] for name, column in golden.items()}
    when = transactions["TX_TIME_SECONDS"].astype(np.int64)
    asked = np.isin(transactions["TRANSACTION_ID"], wanted["TRANSACTION_ID"])
    near = np.isin(transactions["CUSTOMER_ID"], transactions["CUSTOMER_ID"][asked])
    near |= np.isin(transactions["TERMINAL_ID"], transactions["TERMINAL_ID"][asked])
    near &= when >= int(wanted["TX_TIME_SECONDS"].min()) - REACH_S if len(first) else False
    return {name: column[near] for name, column in transactions.items()}, wanted


def history(transactions: Table, *, size: int = 512, until_s: int | None = None) -> Iterator[Labelled]:
    """
    Yield the history in the order of (time, id), with each fraud label at its own time: seven days after the transaction.

    Args:
        transactions: Columns ``TRANSACTION_ID``, ``TX_TIME_SECONDS``, ``CUSTOMER_ID``, ``TERMINAL_ID``, ``TX_AMOUNT_CENTS``,
            ``TX_FRAUD_SCENARIO`` of transactions.parquet.
        size: Transactions per batch.
        until_s: Where to stop, in the handbook's seconds; None reads everything.
    """
    times, ids = transactions["TX_TIME_SECONDS"].astype(np.int64), transactions["TRANSACTION_ID"].astype(np.int64)
    order = np.lexsort((ids, times))
    if until_s is not None:
        order = order[times[order] <= until_s]
    fraud_rows = order[transactions["TX_FRAUD_SCENARIO"][order] > np.int64(0)]
    told = 0
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        # Labels that fall due inside the batch come before it: the delay in the definitions hides them until then.
        due = int(np.searchsorted(times[fraud_rows], times[chosen[-1]] - LABEL_DELAY_S, side="right"))
        yield Labelled(_transactions(transactions, chosen), _transactions(transactions, fraud_rows[told:due]))
        told = due


def _transactions(table: Table, chosen: NDArray[np.int64]) -> list[Transaction]:
    names = ("TRANSACTION_ID", "TX_TIME_SECONDS", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT_CENTS")
    return [
        Transaction(
            transaction_id=str(transaction_id),
            amount_minor=int(amount),
            currency="EUR",
            occurred_at_ms=(START_S + int(second)) * 1_000,
            user_id=str(customer),
            merchant=str(terminal),
        )
        for transaction_id, second, customer, terminal, amount in zip(
            *(table[name][chosen].tolist() for name in names), strict=True
        )
    ]


def compare(features: FeatureSet, ids: NDArray[np.int64], vectors: NDArray[np.float32], golden: Table) -> Comparison:
    """
    Compare vectors, wherever they were computed, with the authors' values.

    Counts, flags and shares must be equal, averages within 1e-6 (relative); a row without a vector differs in all.

    Args:
        features: What the columns of the vectors are.
        ids: Shape (n,), the handbook's transaction ids.
        vectors: Shape (n, features), rows in the order of ``ids``.
        golden: Columns of golden_features.parquet.
    """
    wanted = golden["TRANSACTION_ID"].astype(np.int64)
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids[order], wanted), max(len(ids) - 1, 0))
    there = ids[order][place] == wanted if len(ids) else np.zeros(len(wanted), np.bool_)
    rows = order[place] if len(ids) else place
    mismatches: dict[str, int] = {}
    differs = np.zeros(len(wanted), np.bool_)
    for name, column in COLUMNS.items():
        ours = vectors[rows, features.names.index(name)] if len(ids) else np.full(len(wanted), np.nan, np.float32)
        wrong = ~(there & _agree(name, ours, golden[column].astype(np.float64)))
        mismatches[name] = int(wrong.sum())
        differs |= wrong
    return Comparison(len(wanted), mismatches, tuple(wanted[differs].tolist()))


def _agree(name: str, ours: NDArray[np.float32], theirs: NDArray[np.float64]) -> NDArray[np.bool_]:
    if name == "amount_minor":
        return np.asarray(ours == np.rint(theirs * 100).astype(np.float32))
    if "_avg_" in name:
        return np.asarray(
            np.abs(ours.astype(np.float64) - theirs * 100) <= AVERAGE_TOLERANCE * np.abs(theirs * 100) + ZERO_TOLERANCE
        )
    return np.asarray(ours == theirs.astype(np.float32))


def golden_check(features: FeatureSet, transactions: Table, golden: Table, *, size: int = 512) -> Comparison:
    """
    Replay the handbook's history offline, labels included, and compare every golden row.

    Args:
        features: The set of models/handbook15.features.
        transactions: Columns of transactions.parquet, from thirty-seven days before the first golden row at least.
        golden: Columns of golden_features.parquet, or a part of its rows.
        size: Transactions per batch.
    """
    until_s = int(golden["TX_TIME_SECONDS"].max())
    since_s = int(golden["TX_TIME_SECONDS"].min())
    store = MemoryEntityStore(features)
    ids: list[int] = []
    vectors: list[NDArray[np.float32]] = []
    for labelled in history(transactions, size=size, until_s=until_s):
        if labelled.frauds:
            store.set_labels(records(features, labelled.frauds), [True] * len(labelled.frauds))
        matrix = next(replay(features, [labelled.batch], store=store))
        if labelled.batch[-1].occurred_at_ms // 1_000 >= START_S + since_s:
            ids.extend(int(one.transaction_id) for one in labelled.batch)
            vectors.append(matrix)
    return compare(features, np.array(ids, np.int64), np.concatenate(vectors), golden)
