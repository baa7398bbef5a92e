"""
What PostgreSQL and its client raise, in our words: refused for good, or away for now.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from fraudstream.domain.errors import DecisionStoreUnavailable
from fraudstream.domain.masking import mask_cards

#: Classes 22 (data), 23 (constraints) and 54 (limits) of SQLSTATE speak of a value; every other class of the server's state.
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
#: What it comes to where a value cannot be written in its column's type.
UNFIT = (TypeError, ValueError, OverflowError)
_AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

_FAREWELL_S = 2.0


class RowsRefused(Exception):
    """
    The database will never take at least one of the rows; nothing of the call was stored. Stays inside the adapter.
    """


@contextmanager
def translated() -> Iterator[None]:
    """
    Turn vendor errors into ours.

    Raises:
        RowsRefused: A value is at fault. The text names no value of the row.
        DecisionStoreUnavailable: Anything else that the server or the way to it did.
    """
    try:
        yield
    except _REFUSED as exc:
        raise RowsRefused(_without_values(exc)) from exc
    except _AWAY as exc:
        raise DecisionStoreUnavailable(f"PostgreSQL: {_words(exc)}") from exc
    except UNFIT as exc:
        raise RowsRefused(why_unfit(exc)) from exc


def why_unfit(exc: Exception) -> str:
    """
    Say why a value cannot be written, without the value.
    """
    return f"{type(exc).__name__}: {mask_cards(str(exc))}"


async def part_from(connection: asyncpg.Connection) -> None:
    """
    Close a connection in order, or cut it where the server does not answer the farewell; never fails.
    """
    try:
        await connection.close(timeout=_FAREWELL_S)
    except _AWAY:
        connection.terminate()


def _without_values(exc: asyncpg.PostgresError) -> str:
    # The detail of a refusal quotes the whole row: only message and place are kept.
    place = exc.column_name or exc.constraint_name
    return f"{exc.sqlstate}: {mask_cards(exc.message)}" + (f" ({place})" if place else "")


def _words(exc: BaseException) -> str:
    text = getattr(exc, "message", None) or str(exc) or type(exc).__name__
    if isinstance(exc, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError):
        return f"{text}; run: fraudstream db migrate"
    return text
