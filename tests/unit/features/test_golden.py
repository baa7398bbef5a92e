"""
The handbook's fifteen features: our definitions against hand-made histories, and against the authors' file where it is present.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fraudstream.features.golden import COLUMNS, LABEL_DELAY_S, compare, golden_check, history
from fraudstream.features.load import load_features

ROOT = Path(__file__).parents[3]
FEATURES = load_features((ROOT / "models/handbook15.features").read_text())
DAY = 86_400


def _transactions(rows):
    """Columns of a history given as (id, second, customer, terminal, cents, scenario)."""
    names = ("TRANSACTION_ID", "TX_TIME_SECONDS", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT_CENTS", "TX_FRAUD_SCENARIO")
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _golden(row, **values):
    known = {"TX_AMOUNT": row[4] / 100, "TX_TIME_SECONDS": row[1], "TRANSACTION_ID": row[0]} | values
    return {name: np.array([known.get(name, 0)]) for name in ("TRANSACTION_ID", "TX_TIME_SECONDS", *COLUMNS.values())}


def test_handbook_file_declares_the_fifteen_columns_in_the_order_of_the_authors():
    assert FEATURES.names == tuple(COLUMNS)


def test_terminal_risk_counts_frauds_that_are_at_least_seven_days_old():
    rows = [(1, 0, 7, 9, 100, 2), (2, DAY // 2, 8, 9, 300, 0), (3, 7 * DAY + DAY // 2, 7, 9, 500, 0)]
    golden = _golden(
        rows[-1],
        CUSTOMER_ID_NB_TX_1DAY_WINDOW=1,
        CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW=5.0,
        CUSTOMER_ID_NB_TX_7DAY_WINDOW=1,
        CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW=5.0,
        CUSTOMER_ID_NB_TX_30DAY_WINDOW=2,
        CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW=3.0,
        TERMINAL_ID_NB_TX_1DAY_WINDOW=2,
        TERMINAL_ID_RISK_1DAY_WINDOW=0.5,
        TERMINAL_ID_NB_TX_7DAY_WINDOW=2,
        TERMINAL_ID_RISK_7DAY_WINDOW=0.5,
        TERMINAL_ID_NB_TX_30DAY_WINDOW=2,
        TERMINAL_ID_RISK_30DAY_WINDOW=0.5,
        # 1970-01-01 plus the handbook's start is a Sunday; a week and a half day later it is Sunday noon.
        TX_DURING_WEEKEND=1,
    )

    found = golden_check(FEATURES, _transactions(rows), golden, size=1)

    assert (found.rows, dict(found.mismatches), found.differing) == (1, dict.fromkeys(COLUMNS, 0), ())


def test_a_wrong_value_and_a_missing_row_are_reported_per_feature():
    rows = [(1, 0, 7, 9, 100, 0)]
    golden = _golden(rows[0], TX_AMOUNT=2.0)

    found = golden_check(FEATURES, _transactions(rows), golden)
    missing = compare(FEATURES, np.array([], np.int64), np.empty((0, 15), np.float32), golden)

    assert found.mismatches["amount_minor"] == 1
    assert found.differing == (1,)
    assert set(missing.mismatches.values()) == {1}


def test_labels_come_seven_days_after_their_transaction_and_not_before():
    rows = [(1, 0, 7, 9, 100, 1), (2, LABEL_DELAY_S - 1, 7, 9, 100, 0), (3, LABEL_DELAY_S, 7, 9, 100, 0)]

    told = [[one.transaction_id for one in labelled.frauds] for labelled in history(_transactions(rows), size=1)]

    assert told == [[], [], ["1"]]


@pytest.mark.skipif(
    "FRAUDSTREAM_DATA" not in os.environ, reason="FRAUDSTREAM_DATA does not name the folder of the handbook's files"
)
def test_a_slice_of_the_authors_own_values_is_reproduced_exactly():
    folder = Path(os.environ["FRAUDSTREAM_DATA"]) / "handbook"
    golden = _columns(pq.read_table(folder / "golden_features.parquet"))
    transactions = _columns(pq.read_table(folder / "transactions.parquet"))
    # Customers and terminals are independent: every sixteenth customer, and what happens at the terminals that they use.
    golden = {name: column[golden["TRANSACTION_ID"] < 1_110_000] for name, column in golden.items()}
    ours = np.isin(golden["CUSTOMER_ID"] % 16, [3])
    golden = {name: column[ours] for name, column in golden.items()}
    since = golden["TX_TIME_SECONDS"].min() - 38 * DAY
    near = np.isin(transactions["CUSTOMER_ID"], golden["CUSTOMER_ID"]) | np.isin(
        transactions["TERMINAL_ID"], golden["TERMINAL_ID"]
    )
    wanted = (
        near & (transactions["TX_TIME_SECONDS"] >= since) & (transactions["TX_TIME_SECONDS"] <= golden["TX_TIME_SECONDS"].max())
    )

    found = golden_check(FEATURES, {name: column[wanted] for name, column in transactions.items()}, golden)

    assert found.rows > 400
    assert dict(found.mismatches) == dict.fromkeys(COLUMNS, 0)


def _columns(table):
    return {name: table[name].to_numpy() for name in table.column_names}
