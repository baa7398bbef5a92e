"""
The protocol on the handbook's own data (ULB and Worldline): its third chapter, from the authors' feature values.
"""

import os
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from fraudstream.features.golden import COLUMNS, START_S
from fraudstream.features.load import load_features
from fraudstream.training.benchmark import BenchmarkPlan, benchmark, split
from fraudstream.training.dataset import Dataset

GOLDEN = Path(os.environ.get("FRAUDSTREAM_DATA", "")) / "handbook" / "golden_features.parquet"
FEATURES = load_features((Path(__file__).parents[3] / "models" / "handbook15.features").read_text())
CHAPTER_3 = BenchmarkPlan(train_starts=(date(2018, 7, 25),))

pytestmark = pytest.mark.skipif(
    "FRAUDSTREAM_DATA" not in os.environ or not GOLDEN.exists(),
    reason="FRAUDSTREAM_DATA names no folder with handbook/golden_features.parquet",
)


@pytest.fixture(scope="module")
def rows() -> Dataset:
    table = pyarrow.parquet.read_table(GOLDEN)
    matrix = np.stack([table[COLUMNS[name]].to_numpy() for name in FEATURES.names], axis=1)
    return Dataset(
        matrix=matrix.astype(np.float32),
        fraud=table["TX_FRAUD"].to_numpy() > 0,
        occurred_ms=(START_S + table["TX_TIME_SECONDS"].to_numpy()) * 1000,
        holders=table["CUSTOMER_ID"].to_numpy(),
        scenario=np.full(len(matrix), ""),
    )


def test_split_has_the_rows_of_the_handbook(rows: Dataset) -> None:
    train, test = split(rows, CHAPTER_3, date(2018, 7, 25))

    assert (len(train), int(train.fraud.sum())) == (67_240, 598)
    assert (len(test), int(test.fraud.sum())) == (58_264, 385)


def test_scores_are_as_good_as_the_published_ones(rows: Dataset) -> None:
    found = benchmark(FEATURES, rows, CHAPTER_3).mean

    # Printed for this week: AUC 0.862 to 0.871, AP 0.606 to 0.658, CP@100 0.273 to 0.291.
    assert found.auc > 0.86
    assert 0.655 < found.ap < 0.70
    assert found.cp100 > 0.28
