"""
The lists and rates that a worker judges by: those of Redis over those of its files, followed while it runs.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.app.list_library import ListLibrary, versions_in_force
from fraudstream.domain.errors import InvalidRule, TransientError
from fraudstream.rules.list_hits import ListHits
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_lists, read_rules
from fraudstream.rules.rates import RATES, Rates, read_rates
from fraudstream.settings import Settings, locate

_Signature = tuple[tuple[str, int, int], ...]


class ListFiles:
    """
    The lists and rates of the files that the settings name; read again only where a file has changed.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = locate(settings.lists_path)
        self._rates = None if settings.rates_path is None else locate(settings.rates_path)
        self._signature: _Signature | None = None
        self._lists: Mapping[str, ListContents] = {}
        self._table: Rates | None = None

    def read(self) -> tuple[Mapping[str, ListContents], Rates | None]:
        """
        Return lists by name, and the rates if there are any.

        Raises:
            InvalidRule: A file cannot be read, or is wrong.
        """
        signature = tuple(map(_signature, (*sorted(self._folder.glob("*.list")), *([self._rates] if self._rates else []))))
        if signature != self._signature:
            self._lists = load_lists(self._folder)
            self._table = None if self._rates is None else read_rates(read_rules(self._rates), str(self._rates))
            self._signature = signature
        return self._lists, self._table


def _signature(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), found.st_mtime_ns, found.st_size


class FleetLists:
    """
    What one worker has of the lists; ``contents`` and ``rates`` are replaced as a whole, never changed.

    Args:
        settings: Name the files.
        store: The lists of the fleet.
    """

    def __init__(self, settings: Settings, store: RedisLists) -> None:
        self._files = ListFiles(settings)
        self._store = store
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

    async def store_hits(self, hits: ListHits) -> None:
        """
        Add what was counted to the counts of the fleet; while Redis is away it is kept.
        """
        counts = hits.collect()
        try:
            await self._store.count_hits(counts, now_ms=int(time.time() * 1000))
        except TransientError:
            hits.give_back(counts)
            raise

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
