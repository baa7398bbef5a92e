"""
The journal of what was told, answered and snoozed, on its way into the database.
"""

from collections.abc import Mapping, Sequence

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_alert_rows import fields_of, group_of
from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import JOURNAL, Keys
from fraudstream.adapters.redis_scripts import Argument, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.stages.alert_ports import AlertGroup


class JournalLine(msgspec.Struct, frozen=True, kw_only=True):
    """
    One line: its words, the transactions that it is about, and the group as it stands now (None once that is forgotten).
    """

    line_id: str
    words: Mapping[str, str]
    transactions: Sequence[str]
    group: AlertGroup | None

    @property
    def at_ms(self) -> int:
        """
        When the line was written, in milliseconds by the clock of Redis.
        """
        return int(self.line_id.partition("-")[0])


class RedisAlertJournal:
    """
    Reads lines, oldest first, and takes out what is on record.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = plain(client)
        self._keys = keys
        self._stream = keys.stream(JOURNAL)

    async def read(self, most: int) -> list[JournalLine]:
        """
        Return the oldest lines.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("journal"):
            entries = await self._client.execute_command("XRANGE", self._stream, "-", "+", "COUNT", most)
            lines = [(entry_id.decode(), fields_of(flat)) for entry_id, flat in entries]
            replies = (
                await run(self._client, [command for _, words in lines for command in self._about(words)]) if lines else []
            )
        return [
            JournalLine(
                line_id=line_id,
                words=words,
                transactions=[member.decode().split(" ", 3)[3] for member in replies[2 * number]],
                group=group_of(fields_of(group)) if (group := replies[2 * number + 1]) else None,
            )
            for number, (line_id, words) in enumerate(lines)
        ]

    async def drop(self, line_ids: Sequence[str]) -> None:
        """
        Take lines out.
        """
        with translated("journal"):
            await self._client.execute_command("XDEL", self._stream, *line_ids)

    def _about(self, words: Mapping[str, str]) -> tuple[Sequence[Argument], Sequence[Argument]]:
        """
        Return what fetches the transactions and the group of a line. A digest's payments were noted when they were folded.
        """
        alert_id = words.get("alert_id", "")
        first, end = int(words.get("from", 0)), int(words.get("to", 0))
        of = "" if words.get("kind") == "digest" else alert_id
        # An empty range where nothing is meant: LRANGE 1 0.
        pages = (first, end - 1) if end > first else (1, 0)
        return ("LRANGE", self._keys.alert_members(of), *pages), ("HGETALL", self._keys.alert_group(alert_id))
