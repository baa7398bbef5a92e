"""
``fraudstream bench reload``: who pushes, and what it takes to be good.
"""

import asyncio
from pathlib import Path

import msgspec
import pytest

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.adapters.redis_stream import plain
from fraudstream.app.bench_hold import MORE_RULES, measure_hold
from fraudstream.app.bench_reload import Phase, Pushes, ReloadReport, Takeovers, push_all, sources_of
from fraudstream.app.loaded_fleet import Stalls
from fraudstream.app.rule_files import RuleBench
from fraudstream.local import LocalValkey
from fraudstream.rules.load import read_rules
from fraudstream.settings import Settings, locate

_CALM = Stalls(looks=100, longest_ms=30.0, over={"20_ms": 1, "50_ms": 0, "100_ms": 0})
_HELD = Stalls(looks=100, longest_ms=75.0, over={"20_ms": 1, "50_ms": 1, "100_ms": 0})
_PHASE = Phase(seconds=1.0, transactions_per_second=1_000.0, stalls=_HELD, own_stalls=_HELD)
_GOOD = ReloadReport(
    pushes=1, refused=1, applied=2, rule_sets_seen=2, transactions=10, lost=0, doubled=0, degraded=0, unknown_rule_set=0,
    other_hits=0, without_pushes=_PHASE, with_pushes=_PHASE, held=[],
    takeovers=Takeovers(stalls=_HELD, because=_CALM, longest_cpu_ms=20.0),
)  # fmt: skip


async def test_every_set_is_in_force_in_turn_and_a_wrong_one_is_refused_with_its_place(
    valkey: LocalValkey, tmp_path: Path
) -> None:
    settings = Settings(redis_url=valkey.url)
    work = Pushes(settings=settings, path=tmp_path / "pushed.rules", every_s=0.0)

    refused = await asyncio.to_thread(push_all, work, range(9, 12))

    source = sources_of(read_rules(locate(settings.rules_path)), range(9, 12))[-1]
    async with connected(RedisAddress(url=valkey.url)) as client:
        sets = RedisRuleSets(plain(client))
        in_force, history = (await sets.pointer()).rule_set, await sets.history()
    assert refused == 1, "number ten was wrong first"
    assert in_force == RuleBench(settings).load(source, name="last").id
    assert [one.kind for one in history].count("activate") == 3


@pytest.mark.parametrize("wrong", ["lost", "doubled", "degraded", "unknown_rule_set", "other_hits"])
def test_one_wrong_decision_is_bad_news(wrong: str) -> None:
    assert _GOOD.good
    assert not msgspec.structs.replace(_GOOD, **{wrong: 1}).good


def test_a_stall_is_bad_news_only_where_the_takeover_caused_it() -> None:
    blamed = msgspec.structs.replace(_GOOD, takeovers=Takeovers(stalls=_HELD, because=_HELD, longest_cpu_ms=20.0))

    assert _GOOD.good, "what the machine does to a loop is told, and no fault of a takeover"
    assert not blamed.good


async def test_a_large_set_is_built_in_many_slices() -> None:
    bench = RuleBench(Settings())

    held = await asyncio.to_thread(measure_hold, bench, read_rules(locate(Settings().rules_path)))

    assert [one.rules for one in held] == [len(bench.load(_source(), name="x").rules) + more for more in MORE_RULES]
    for one in held:
        assert one.slices > 5
        assert one.longest_ms < one.cpu_ms / 2


def _source() -> str:
    return read_rules(locate(Settings().rules_path))
