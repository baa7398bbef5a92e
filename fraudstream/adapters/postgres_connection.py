"""
One connection to PostgreSQL, for a person's question or a long read.
"""

from typing import Self

import asyncpg

from fraudstream.adapters.postgres import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S
from fraudstream.adapters.postgres_errors import part_from
from fraudstream.domain.errors import DecisionStoreUnavailable, InvalidSettings


async def connect(url: str, *, statement_timeout_s: float | None = STATEMENT_TIMEOUT_S) -> asyncpg.Connection:
    """
    Open one connection for a person's question.

    Raises:
        InvalidSettings: The address is malformed.
        DecisionStoreUnavailable: PostgreSQL did not let us in.
    """
    try:
        return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, command_timeout=statement_timeout_s)
    except (asyncpg.ClientConfigurationError, ValueError) as exc:
        raise InvalidSettings(f"POSTGRES_URL cannot be used: {exc}") from exc
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise DecisionStoreUnavailable(f"PostgreSQL did not let us in: {exc}") from exc


class OneConnection:
    """
    What reads or writes over one connection begins and ends as.

    Every method of it raises ``DecisionStoreUnavailable`` when the database does not answer.
    """

    #: How long one statement may take, in seconds; None for as long as it takes.
    statement_timeout_s: float | None = STATEMENT_TIMEOUT_S

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, url: str) -> Self:
        """
        Open the connection.

        Raises:
            InvalidSettings: The address is malformed.
        """
        return cls(await connect(url, statement_timeout_s=cls.statement_timeout_s))

    async def close(self) -> None:
        """
        Close the connection.
        """
        await part_from(self._connection)
