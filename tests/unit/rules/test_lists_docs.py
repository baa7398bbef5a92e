"""
The page about lists and rates: what stands in it can be read by what it is about.
"""

import io
from pathlib import Path

from fraudstream.app.list_exchange import read_entries
from fraudstream.app.list_library import MOST_CHANGED, MOST_DELTAS
from fraudstream.rules.entries import ListEntry
from fraudstream.rules.guard import BACKTEST_FACTOR, BACKTEST_FLOOR
from fraudstream.rules.rates import read_rates

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "lists.md").read_text()


def block(language: str) -> str:
    return TEXT.split(f"```{language}\n")[1].partition("```")[0]


def test_the_table_of_rates_is_read_and_has_the_version_that_is_shown():
    assert f"version {read_rates(block('rates')).version} " in TEXT


def test_the_file_is_imported():
    entries = read_entries(io.StringIO(block("csv")), "csv", "feed.csv", known=ListEntry(""))

    assert [(entry.value, entry.reason) for entry in entries] == [
        ("card_00a1", "chargeback"),
        ("card_00a2", "chargeback"),
        ("card_00a3", "tested and closed"),
    ]


def test_the_bounds_are_the_ones_that_hold():
    assert f"After {MOST_DELTAS} changes, or {MOST_CHANGED:,} changed entries" in " ".join(TEXT.split())
    assert (BACKTEST_FACTOR, BACKTEST_FLOOR) == (5.0, 0.002)
