"""
What every test may ask for.
"""

from collections.abc import Iterator

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


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """
    Undo what a command has set up of the log: its stream is closed when the next test comes, whichever that is.
    """
    yield
    structlog.reset_defaults()
