"""
A very long list: what it takes in memory and per look-up, how soon a busy fleet judges by it, and whether anything pauses.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from fraudstream.adapters.redis_lists import ListDelta, ListMove, ListPointer, RedisLists, StoredBody
from fraudstream.app.bench_reload import Phase, endless, phase
from fraudstream.app.demo import Progress
from fraudstream.app.list_library import changed_body, full_body, whole
from fraudstream.app.loaded_fleet import LoadedFleet, loaded_fleet
from fraudstream.domain.errors import TransientError
from fraudstream.fleet.stalls import share_the_interpreter
from fraudstream.rules.entries import ListEntry
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import read_rules
from fraudstream.settings import Settings, locate

#: The list that is measured, and the rule that looks into it.
_NAME = "measured_cards"
_RULE = f"\nrule measured score +1 if :card_id: in @{_NAME}\n"
#: Values of one look-up, as many as a batch has.
_BATCH = 128
_PATIENCE_S = 60.0
#: Pause between two looks at the pages of the workers: writing one takes a worker several milliseconds.
_ASK_EVERY_S = 0.25
#: From this many microseconds on a command of Redis is noted.
_SLOW_US = 200


class LookUps(msgspec.Struct, frozen=True, kw_only=True):
    """
    A list in this process: ``ns_per_look_up`` for values that are not on it, for values that are, and of a set of strings.
    """

    entries: int
    pack_s: float
    body_mb: float
    open_ms: float
    change_ms: float
    ns_per_miss: float
    ns_per_hit: float
    ns_per_miss_of_a_set: float


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """
    A change of the list on a busy fleet: ``store_s`` until its body is in Redis and the pointer moved, ``everywhere_s`` from
    then until every worker judges by it.
    """

    what: str
    store_s: float
    everywhere_s: float
    stored_mb: float
    during: Phase


class ListsReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a long list costs. ``slowest_redis_ms`` is the longest single command while it was stored and taken over, and
    ``redis_over_5_ms`` counts those; both hold what the machine kept Redis from running.
    """

    look_ups: LookUps
    without_change: Phase
    activations: list[Activation]
    rss_mb_before: list[float]
    rss_mb_after: list[float]
    slowest_redis_ms: float
    redis_over_5_ms: int


async def bench_lists(*, entries: int, baseline_s: float, inherited: Mapping[str, str], progress: Progress) -> ListsReport:
    """
    Measure one list of so many entries, first alone, then on a busy fleet of our own.

    Raises:
        ConfigurationError: A server of our own did not start.
        TransientError: A worker did not take the list over.
    """
    share_the_interpreter()
    progress.step("one list alone")
    written = [ListEntry(f"card_{number:08x}", reason="feed", author="bench", added_ms=1) for number in range(entries)]
    look_ups, body = measure(written)
    progress.step("starting servers and workers")
    async with loaded_fleet(endless(), inherited=inherited, prepare=_with_list) as fleet:
        stop = asyncio.Event()
        feeding = asyncio.create_task(fleet.busy(stop))
        await asyncio.sleep(3.0)
        before = _rss_mb(fleet)
        progress.step("at full speed, without a change")
        calm = await phase(fleet, asyncio.sleep(baseline_s))
        await fleet.redis.note_slow(_SLOW_US)
        store = fleet.redis.lists
        progress.step(f"at full speed, {entries:,} entries")
        activations = [await _activate(fleet, store, "whole list", body)]
        progress.step("at full speed, one entry more")
        delta = ListDelta(parent=body.version, added=[ListEntry("card_more", author="bench")])
        more, _ = changed_body(whole(body), body, delta, author="bench", at_ms=1)
        activations.append(await _activate(fleet, store, "one entry", more))
        after, commands_ms = _rss_mb(fleet), await fleet.redis.slow_ms(b"lists:{default}")
        stop.set()
        await feeding
    return ListsReport(
        look_ups=look_ups,
        without_change=calm,
        activations=activations,
        rss_mb_before=before,
        rss_mb_after=after,
        slowest_redis_ms=round(max(commands_ms, default=0.0), 2),
        redis_over_5_ms=sum(one > 5.0 for one in commands_ms),
    )


def measure(entries: list[ListEntry]) -> tuple[LookUps, StoredBody]:
    """
    Measure a list in this process, and return its body.
    """
    started = time.perf_counter()
    body = full_body(entries, author="bench", at_ms=0)
    packed_s = time.perf_counter() - started
    started = time.perf_counter()
    contents = whole(body)
    open_s = time.perf_counter() - started
    started = time.perf_counter()
    contents.changed([ListEntry("card_more")], [entries[0].value], version="more")
    change_s = time.perf_counter() - started
    misses = [f"cord_{number:08x}" for number in range(_BATCH)]
    hits = [entries[number].value for number in np.random.default_rng(7).integers(0, len(entries), _BATCH).tolist()]
    as_set = frozenset(entry.value for entry in entries)
    found = LookUps(
        entries=len(contents),
        pack_s=round(packed_s, 2),
        body_mb=round(len(body.payload) / 1e6, 1),
        open_ms=round(open_s * 1e3, 2),
        change_ms=round(change_s * 1e3, 2),
        ns_per_miss=_ns_per_value(contents, misses),
        ns_per_hit=_ns_per_value(contents, hits),
        ns_per_miss_of_a_set=_ns(lambda: list(map(as_set.__contains__, misses))),
    )
    return found, body


def _ns_per_value(contents: ListContents, values: list[str]) -> float:
    if contents.plain:
        return _ns(lambda: list(map(contents.exact.__contains__, values)))
    return _ns(lambda: contents.holds(values))


def _ns(look: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(200):
        started = time.perf_counter()
        look()
        best = min(best, time.perf_counter() - started)
    return round(best / _BATCH * 1e9, 1)


async def _activate(fleet: LoadedFleet, store: RedisLists, what: str, body: StoredBody) -> Activation:
    """
    Put a body in force, and wait until the page of every worker names it.
    """
    took: dict[str, float] = {}

    async def change() -> None:
        started = time.perf_counter()
        await store.keep(body)
        seen = (await store.pointers()).get(_NAME, ListPointer())
        move = ListMove(kind="import", actor="bench", reason=what, entries=body.entries)
        await store.activate(_NAME, seen, body.version, move)
        took["store"] = time.perf_counter() - started
        moved = time.perf_counter()
        while not all(f'list="{_NAME}",version="{body.version}"' in page for page in await fleet.pages()):
            if time.perf_counter() - moved > _PATIENCE_S:
                raise TransientError(f"a worker did not take the list over within {_PATIENCE_S:.0f} s")
            await asyncio.sleep(_ASK_EVERY_S)
        took["everywhere"] = time.perf_counter() - moved

    during = await phase(fleet, change())
    return Activation(
        what=what,
        store_s=round(took["store"], 2),
        everywhere_s=round(took["everywhere"], 2),
        stored_mb=round(len(body.payload) / 1e6, 3),
        during=during,
    )


def _with_list(folder: Path) -> dict[str, str]:
    """
    Write rules that look into the list, and the list, still empty; return the settings that name them.
    """
    settings = Settings()
    (folder / "lists").mkdir()
    for path in locate(settings.lists_path).glob("*.list"):
        (folder / "lists" / path.name).write_bytes(path.read_bytes())
    (folder / "lists" / f"{_NAME}.list").write_text("")
    (folder / "measured.rules").write_text(read_rules(locate(settings.rules_path)) + _RULE)
    return {"FRAUDSTREAM_RULES": str(folder / "measured.rules"), "FRAUDSTREAM_LISTS": str(folder / "lists")}


def _rss_mb(fleet: LoadedFleet) -> list[float]:
    pages = (Path(f"/proc/{worker.pid}/statm").read_text().split() for worker in fleet.system.workers)
    return [round(int(page[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1) for page in pages]
