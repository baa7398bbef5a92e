"""
What a worker concludes from a server's own account of itself.
"""

from typing import Any

import pytest

from fraudstream.adapters.redis_checks import check_server
from fraudstream.domain.errors import StreamUnavailable


class _Loading:
    """
    A server that reads its append-only file back: it answers INFO, and has the file switched off meanwhile.
    """

    def __init__(self) -> None:
        self.response_callbacks: dict[str, Any] = {}
        self.connection_pool = self

    async def execute_command(self, *_: object) -> bytes:
        return b"redis_version:7.0.15\r\nloading:1\r\naof_enabled:0\r\nmaxmemory_policy:noeviction\r\nredis_mode:standalone\r\n"


async def test_a_server_that_is_still_loading_is_waited_for_and_not_refused() -> None:
    with pytest.raises(StreamUnavailable, match="loading"):
        await check_server(_Loading(), allow_no_persistence=False, clustered=False)  # type: ignore[arg-type]
