"""
The lists and rates that a worker judges by: those of Redis over those of its files, followed while it runs.
"""

import asyncio
import time
from collections.abc import Mapping

from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.app.list_files import ListFiles
from fraudstream.app.list_library import ListLibrary, versions_in_force
from fraudstream.domain.errors import InvalidRule, TransientError
from fraudstream.domain.tokens import Tokens
from fraudstream.rules.list_hits import ListHits
from fraudstream.rules.lists import ListContents
from fraudstream.rules.rates import RATES, Rates
from fraudstream.settings import Settings

#: Entries whose hits are stored at once: more of them would hold the loop up.
MOST_HITS = 500


class FleetLists:
    """
    What one worker has of the lists; ``contents`` and ``rates`` are replaced as a whole, never changed.

    ``written`` says how a text stands in payments, and so in lists and in what rules compare with.

    Args:
        settings: Name the files.
        store: The lists of the fleet.
        tokens: What stands for people in payments, and so in the lists of the files.
    """

    def __init__(self, settings: Settings, store: RedisLists, tokens: Tokens) -> None:
        self._files = ListFiles(settings, tokens)
        self._store = store
        self.written = tokens.text
        self._library = ListLibrary(store)
        self._seen: dict[str, str] = {}
        self.contents: Mapping[str, ListContents] = {}
        self.rates: Rates | None = None

    async def start(self) -> None:
        """
        Take what is in force.

        Raises:
            InvalidRule: A list in force cannot be used here.
            StreamUnavailable: Redis did not answer.
        """
        await self._take(versions_in_force(await self._store.pointers()))

    async def look(self) -> list[str]:
        """
        Take what is new, and return the names of the lists that are.

        Raises:
            InvalidRule: One of them cannot be used; what was there stays.
            StreamUnavailable: Redis did not answer; what was there stays.
        """
        wanted = versions_in_force(await self._store.pointers())
        if wanted == self._seen:
            return []
        changed = [name for name in wanted.keys() | self._seen.keys() if wanted.get(name) != self._seen.get(name)]
        await self._take(wanted)
        return sorted(changed)

    async def read_files(self) -> None:
        """
        Look at the files again, as a change of the rules does.

        Raises:
            InvalidRule: A file cannot be read, or is wrong; what was there stays.
        """
        await self._take(self._seen)

    async def store_hits(self, hits: ListHits) -> dict[str, int]:
        """
        Add what was counted to the counts of the fleet, a part of it at a time, and return the hits by list.

        Raises:
            StreamUnavailable: Redis did not answer; what was counted is kept.
        """
        everything = list(hits.collect().items())
        counts = dict(everything[:MOST_HITS])
        hits.give_back(dict(everything[MOST_HITS:]))
        try:
            await self._store.count_hits(counts, now_ms=int(time.time() * 1000))
        except TransientError:
            hits.give_back(counts)
            raise
        by_list: dict[str, int] = {}
        for (name, _), count in counts.items():
            by_list[name] = by_list.get(name, 0) + count
        return by_list

    async def _take(self, wanted: dict[str, str]) -> None:
        files, table = await asyncio.to_thread(self._files.read)
        found = {}
        for name, version in wanted.items():
            try:
                if name != RATES:
                    found[name] = await self._library.contents(version)
                elif table is None or table.version != version:
                    table = self.rates if self.rates and self.rates.version == version else await self._library.rates(version)
            except InvalidRule as exc:
                raise InvalidRule(f"@{name}: {exc}") from exc
        self.contents, self.rates, self._seen = {**files, **found}, table, wanted
        self._library.keep_only(wanted.values())
