"""
Real servers from Python wheels, in a private folder, for the demo and the tests; a deployment brings its own.
"""

from fraudstream.local.postgres import LocalPostgres
from fraudstream.local.process import LocalServer, LocalServerFailed
from fraudstream.local.valkey import LocalValkey

__all__ = ["LocalPostgres", "LocalServer", "LocalServerFailed", "LocalValkey"]
