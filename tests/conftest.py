"""
What every test may ask for.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.support.servers import (
    database,
    empty_database,
    own_postgres,
    own_valkey,
    postgres_server,
    valkey,
    valkey_server,
)

__all__ = ["database", "empty_database", "own_postgres", "own_valkey", "postgres_server", "valkey", "valkey_server"]


#: What takes longest, the longest first: a file that is started last is waited for by every other process.
_FIRST = (
    "integration/test_chaos_commit.py",
    "integration/test_drills.py",
    "integration/test_chaos.py",
    "integration/test_survival.py",
    "integration/test_operability.py",
    "integration/test_dlq.py",
    "integration/test_decisions.py",
    "integration/test_alert_storm.py",
    "integration/test_commands.py",
    "integration/test_alert_desk.py",
    "integration/test_timescale.py",
    "integration/test_models.py",
    "test_dashboards.py",
    "integration/test_local.py",
    "integration/test_train_recorded.py",
    "integration/test_partitions.py",
    "integration/test_features_online_offline.py",
    "integration/test_wire.py",
    "integration/test_model_parity.py",
    "integration/test_verify.py",
    "unit/features/test_kernel.py",
    "unit/app/test_explain.py",
    "integration/test_bench.py",
    "integration/test_prometheus.py",
    "integration/test_rules_backtest.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Run the longest files first.
    """
    rank = {Path(__file__).parent / name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """
    Undo what a command has set up of the log: its stream is closed when the next test comes, whichever that is.
    """
    yield
    structlog.reset_defaults()
