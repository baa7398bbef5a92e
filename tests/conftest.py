"""
What every test may ask for.
"""

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
