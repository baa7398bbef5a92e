"""
Rule sets in Redis: what is written, who may change it, what a worker takes over, and a fleet that is changed while it runs.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.adapters.redis_rules import Entry, RedisRuleSets
from fraudstream.app.connections import address
from fraudstream.app.fleet_lists import FleetLists
from fraudstream.app.loading import load_rule_set, load_rulebook
from fraudstream.app.local_system import LocalSystem
from fraudstream.app.rule_files import RuleBench
from fraudstream.app.rule_sets import RuleDesk
from fraudstream.app.rule_watch import RuleWatch
from fraudstream.domain.decision import Decision
from fraudstream.domain.decision_codec import decode_decision
from fraudstream.domain.errors import InvalidRule, RuleSetRefused, StreamUnavailable
from fraudstream.domain.evidence import RulesVerdict
from fraudstream.domain.tokens import Tokens
from fraudstream.local import LocalValkey
from fraudstream.rules.ruleset import RuleSet
from fraudstream.settings import Settings, locate
from fraudstream.stages.fraud_check import RulesJudge
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.report import GroupReport
from tests.support.builders import a_transaction
from tests.support.system import a_system, append, ids_of, payments, wait_until_done
from tests.support.wait import wait_until

SOURCE = """
rule tiny_payments
  block if :card_small_count_1h: >= 6 and :amount: < 5.00
  test hit  { card_small_count_1h: 7, amount: 1.00 }
  test miss { card_small_count_1h: 7, amount: 60.00 }
"""
DECIDING = ("fraud-check,ml-scoring", "fraud-check,ml-scoring")
REVIEW = SOURCE + "rule large review if :amount: > 1000\n"


class Office:
    """
    Desks on one Redis, and a worker's watch over its rules.
    """

    def __init__(self, settings: Settings, sets: RedisRuleSets, folder: Path, lists: RedisLists) -> None:
        self._settings = settings
        self.lists = lists
        self.sets = sets
        self._folder = folder
        self.bench = RuleBench(settings)

    def desk(self, actor: str, *, four_eyes: bool = False) -> RuleDesk:
        return RuleDesk(self.sets, self.bench, actor, file=locate(self._settings.rules_path), four_eyes=four_eyes)

    def file(self, source: str) -> Path:
        path = self._folder / "my.rules"
        path.write_text(source)
        return path


@pytest.fixture
async def office(valkey: LocalValkey, tmp_path: Path) -> AsyncIterator[Office]:
    settings = Settings(redis_url=valkey.url)
    async with connected(address(settings)) as client:
        yield Office(settings, RedisRuleSets(client), tmp_path, RedisLists(client))


async def test_a_wrong_set_writes_nothing_and_shows_the_place(office: Office, valkey: LocalValkey) -> None:
    with pytest.raises(InvalidRule, match=r"my\.rules:4:3: rule tiny_payments must miss this transaction"):
        await office.desk("ana").push(office.file(SOURCE.replace("60.00", "4.00")), reason="why")

    with Redis.from_url(valkey.url) as client:
        assert client.keys("*") == []


async def test_a_pushed_set_is_not_in_force_until_it_is_activated(office: Office) -> None:
    desk = office.desk("ana")

    pushed = await desk.push(office.file(SOURCE), reason="card testing")
    before = await desk.in_force()
    changed = await desk.activate(pushed.rule_set[:8], reason="reviewed")

    assert before.rules.id != pushed.rule_set
    assert (changed.seq, changed.rule_set, changed.before) == (1, pushed.rule_set, "")
    assert (await desk.in_force()).rules.id == pushed.rule_set
    _, history = await desk.history()
    assert [(one.kind, one.actor, one.reason) for one in history] == [
        ("push", "ana", "card testing"),
        ("activate", "ana", "reviewed"),
    ]


async def test_of_two_who_saw_the_same_state_the_second_is_refused(office: Office) -> None:
    desk = office.desk("ana")
    one = await desk.push(office.file(SOURCE), reason="one")
    other = await desk.push(office.file(REVIEW), reason="other")
    seen = await office.sets.pointer()

    await office.sets.activate(seen, one.rule_set, kind="activate", actor="ana", reason="first")
    with pytest.raises(RuleSetRefused, match="meanwhile"):
        await office.sets.activate(seen, other.rule_set, kind="activate", actor="ben", reason="second")

    assert (await office.sets.pointer()).rule_set == one.rule_set


async def test_a_set_that_was_never_pushed_cannot_be_pointed_at(office: Office) -> None:
    with pytest.raises(RuleSetRefused, match="push it first"):
        await office.sets.activate(await office.sets.pointer(), "0" * 64, kind="activate", actor="ana", reason="why")

    assert (await office.sets.pointer()).seq == 0


async def test_rules_that_block_need_somebody_else_when_four_eyes_are_asked_for(office: Office) -> None:
    ana, ben = office.desk("ana", four_eyes=True), office.desk("ben", four_eyes=True)
    pushed = await ana.push(office.file(SOURCE), reason="card testing")

    with pytest.raises(RuleSetRefused, match="tiny_payments: rules that block need four eyes"):
        await ana.activate(pushed.rule_set, reason="mine")
    await ben.activate(pushed.rule_set, reason="looked at it")

    assert (await office.sets.pointer()).actor == "ben"
    assert (await office.sets.pointer()).author == "ana"


async def test_one_person_is_enough_where_no_blocking_rule_changes(office: Office) -> None:
    ana, ben = office.desk("ana", four_eyes=True), office.desk("ben", four_eyes=True)
    await ben.activate((await ana.push(office.file(SOURCE), reason="why")).rule_set, reason="looked at it")

    pushed = await ana.push(office.file(REVIEW), reason="one more to look at")
    await ana.activate(pushed.rule_set, reason="asks only")
    await ana.disable("tiny_payments", until_ms=None, reason="takes force away")

    rules = (await ana.in_force()).rules
    assert pushed.blocking == ()
    assert [one.rule_id for one in rules.rules if one.shadow] == ["tiny_payments"]


async def test_rollback_goes_back_step_by_step_to_the_file(office: Office) -> None:
    desk = office.desk("ana")
    sets = [(await desk.push(office.file(source), reason="why")).rule_set for source in (SOURCE, REVIEW)]
    for one in sets:
        await desk.activate(one, reason="on")

    back = [(await desk.rollback(reason="back")).rule_set for _ in sets]

    assert back == [sets[0], ""]
    with pytest.raises(RuleSetRefused, match="nothing to roll back"):
        await desk.rollback(reason="back")


async def test_a_disabled_rule_is_in_force_again_for_later_payments(office: Office) -> None:
    desk = office.desk("ana")
    await desk.activate((await desk.push(office.file(SOURCE), reason="why")).rule_set, reason="on")

    await desk.disable("tiny_payments", until_ms=1_800_000_000_000, reason="hits a new shop")

    rules = (await desk.in_force()).rules
    vector = np.full((2, len(rules.features)), np.nan, np.float32)
    vector[:, rules.features.index("card_small_count_1h")] = 9
    both = [a_transaction(amount_minor=100, occurred_at_ms=at_ms) for at_ms in (1_799_999_999_999, 1_800_000_000_000)]
    assert [len(row.hits) for row in rules.evaluate(both, vector)] == [0, 1]


async def test_a_comparison_names_each_rule_that_differs(office: Office) -> None:
    desk = office.desk("ana")
    old = await desk.find(str(office.file(SOURCE + "rule gone review if :amount: > 9\n")))
    new = await desk.find(str(office.file(REVIEW.replace("< 5.00", "<  4.00"))))

    found = desk.compare(new, old)

    assert (found.added, found.removed, found.changed) == (("large",), ("gone",), ("tiny_payments",))
    assert "-rule gone review if :amount: > 9" in found.text


class Lists(FleetLists):
    """
    Lists that fail in a way that nobody thought of, while ``broken`` is set.
    """

    broken = False

    async def read_files(self) -> None:
        if self.broken:
            raise ValueError("a fault of ours")
        await super().read_files()


class Worker:
    """
    What of a worker follows the rules.
    """

    def __init__(self, office: Office, valkey: LocalValkey, *, guarded: bool = False, name: str = "") -> None:
        settings = Settings(redis_url=valkey.url)
        features = load_rulebook(settings).features
        self.metrics = Metrics(groups=["fraud-check"], producer=False, monitor=False)
        report = GroupReport(self.metrics, stream="transactions:raw", group="fraud-check", worker="one")
        self.from_file = load_rule_set(settings, features)
        self.width = len(features.names)
        self.lists = Lists(settings, office.lists, Tokens(b"0123456789abcdef"))
        self.judge = RulesJudge(self.from_file, report)
        self.watch = RuleWatch(office.sets, self.judge, self.from_file, self.lists, report, guarded=guarded, worker=name)

    async def verdict(self) -> RulesVerdict:
        (verdict,) = await self.judge.judge([a_transaction()], np.zeros((1, self.width), np.float32))
        return verdict

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"fraudstream_{name}", labels)


async def test_a_worker_follows_the_pointer_and_returns_to_its_file(office: Office, valkey: LocalValkey) -> None:
    desk, worker = office.desk("ana"), Worker(office, valkey)
    await worker.watch.start()
    first = await worker.verdict()

    pushed = await desk.push(office.file(SOURCE), reason="why")
    assert await worker.watch.look() == 0
    await desk.activate(pushed.rule_set, reason="on")
    assert await worker.watch.look() == 1
    second = await worker.verdict()
    shown = worker.value("ruleset_info", version=pushed.rule_set[:12])
    await desk.rollback(reason="back")
    await worker.watch.look()

    assert [first.rule_set, second.rule_set] == [worker.from_file.id, pushed.rule_set]
    assert (await worker.verdict()).rule_set == worker.from_file.id
    assert shown == 1
    assert worker.value("ruleset_info", version=pushed.rule_set[:12]) is None


async def test_a_set_that_cannot_be_used_leaves_the_old_one_and_is_counted_once(office: Office, valkey: LocalValkey) -> None:
    desk, worker = office.desk("ana"), Worker(office, valkey)
    await worker.watch.start()
    good = await desk.push(office.file(SOURCE), reason="why")
    await desk.activate(good.rule_set, reason="on")
    await worker.watch.look()
    bad = await desk.push(office.file(REVIEW), reason="why")
    await desk.activate(bad.rule_set, reason="on")

    with Redis.from_url(valkey.url) as client:
        client.hset(f"rules:{{default}}:body:{bad.rule_set}", "text", "rule other block if :amount: > 0\n")
    looks = [await worker.watch.look() for _ in range(3)]

    assert looks == [0, 0, 0]
    assert (await worker.verdict()).rule_set == good.rule_set
    assert worker.value("ruleset_apply_failures_total") == 1
    assert worker.value("ruleset_info", version=good.rule_set[:12]) == 1


async def test_no_fault_while_building_stops_the_watch(office: Office, valkey: LocalValkey) -> None:
    desk, worker = office.desk("ana"), Worker(office, valkey)
    await worker.watch.start()
    first, second = [await desk.push(office.file(source), reason="why") for source in (SOURCE, REVIEW)]
    await desk.activate(first.rule_set, reason="on")
    worker.lists.broken = True
    await worker.watch.look()
    worker.lists.broken = False
    await desk.activate(second.rule_set, reason="on")

    assert await worker.watch.look() == 1
    assert (await worker.verdict()).rule_set == second.rule_set
    assert worker.value("ruleset_apply_failures_total") == 1


async def test_a_broken_pointer_is_reported_and_does_not_end_the_watch(office: Office, valkey: LocalValkey) -> None:
    desk, worker = office.desk("ana"), Worker(office, valkey)
    await worker.watch.start()
    with Redis.from_url(valkey.url) as client:
        client.set("rules:{default}:active", "garbage")
        broken = await worker.watch.look()
        client.delete("rules:{default}:active")
    await desk.activate((await desk.push(office.file(SOURCE), reason="why")).rule_set, reason="on")

    assert broken == 0
    assert worker.value("ruleset_apply_failures_total") == 1
    assert await worker.watch.look() == 1


async def test_a_worker_does_not_start_with_other_rules_than_the_fleet(office: Office, valkey: LocalValkey) -> None:
    desk, worker = office.desk("ana"), Worker(office, valkey)
    pushed = await desk.push(office.file(SOURCE), reason="why")
    await desk.activate(pushed.rule_set, reason="on")
    with Redis.from_url(valkey.url) as client:
        client.hset(f"rules:{{default}}:body:{pushed.rule_set}", "text", "damaged")

    with pytest.raises(InvalidRule, match="is damaged"):
        await worker.watch.start()


async def test_a_rule_above_its_guard_goes_to_shadow_on_every_worker_and_tells_why(office: Office, valkey: LocalValkey) -> None:
    desk, worker = office.desk("ana"), Worker(office, valkey, guarded=True)
    other = Worker(office, valkey, guarded=True)
    typo = "rule typo block if :amount: > 5 guard max_rate 0.5%\n"
    await desk.activate((await desk.push(office.file(typo), reason="why")).rule_set, reason="on")
    for one in (worker, other):
        await one.watch.start()
        for _ in range(1_000):
            await one.verdict()

    looks = [await worker.watch.look(), await other.watch.look(), await worker.watch.look()]

    pointer, history = await desk.history()
    verdicts = [await one.verdict() for one in (worker, other)]
    assert looks == [1, 1, 0]
    assert (pointer.kind, pointer.actor) == ("trip", "guard")
    assert [one.reason for one in history if one.kind == "trip"] == ["typo fired on 100.00% of payments, its guard is 0.50%"]
    assert [(one.rule_set, len(one.hits), len(one.shadow_hits)) for one in verdicts] == [(pointer.rule_set, 0, 1)] * 2
    assert [one.value("rule_trips_total", rule_id="typo") for one in (worker, other)] == [1, None]
    assert (await desk.rollback(reason="it was meant")).rule_set == history[0].rule_set


async def test_a_rule_above_its_backtest_goes_to_shadow_too(office: Office, valkey: LocalValkey) -> None:
    desk, worker = office.desk("ana"), Worker(office, valkey, guarded=True)
    source = "rule typo block if :amount: > 5\n"
    await desk.expect(office.bench.load(source, name="backtested"), {"typo": 0.004}, payments=10_000)
    await desk.activate((await desk.push(office.file(source), reason="why")).rule_set, reason="on")
    await worker.watch.start()
    for _ in range(1_000):
        await worker.verdict()

    await worker.watch.look()

    _, history = await desk.history()
    found = (await desk.in_force()).rules
    assert history[-1].reason.startswith("typo fired on 100.00% of payments, its backtest said 0.400%")
    assert [rule.shadow for rule in found.rules] == [True]
    assert (await desk.expected(found))["typo"].rate == 0.004
    with pytest.raises(InvalidRule, match="there is no rule other"):
        await desk.expect(found, {"other": 0.1}, payments=1)


async def test_the_fleet_sees_who_has_not_followed_and_why(office: Office, valkey: LocalValkey) -> None:
    desk, good, bad = office.desk("ana"), Worker(office, valkey, name="good"), Worker(office, valkey, name="bad")
    for one in (good, bad):
        await one.watch.start()
    pushed = await desk.push(office.file(SOURCE), reason="why")
    await desk.activate(pushed.rule_set, reason="on")
    bad.lists.broken = True

    for one in (good, bad):
        await one.watch.look()
    told = {one.worker: one for one in await desk.workers()}
    shown = bad.value("rules_behind_seconds")
    await desk.rollback(reason="back")
    await bad.watch.look()

    assert (told["good"].rule_set, told["good"].problem) == (pushed.rule_set, "")
    assert (told["bad"].rule_set, told["bad"].in_force, told["bad"].problem) == (bad.from_file.id, "", "a fault of ours")
    assert shown is not None
    assert shown > 0
    assert bad.value("rules_behind_seconds") == 0


async def test_a_full_redis_keeps_no_worker_from_starting_and_none_on_old_rules(office: Office, valkey: LocalValkey) -> None:
    desk, worker = office.desk("ana"), Worker(office, valkey, name="reborn")
    pushed = await desk.push(office.file(SOURCE), reason="why")
    with Redis.from_url(valkey.url) as client:
        client.config_set("maxmemory", 1)
        try:
            await worker.watch.start()
            await desk.activate(pushed.rule_set, reason="on")
            with pytest.raises(StreamUnavailable):
                await worker.watch.look()
            judged = await worker.verdict()
        finally:
            client.config_set("maxmemory", 0)
    await worker.watch.look()

    assert judged.rule_set == pushed.rule_set
    assert [(one.worker, one.rule_set) for one in await desk.workers()] == [("reborn", pushed.rule_set)]


async def test_a_guard_that_is_switched_off_trips_nothing(office: Office, valkey: LocalValkey) -> None:
    desk, worker = office.desk("ana"), Worker(office, valkey)
    typo = "rule typo block if :amount: > 5 guard max_rate 0.5%\n"
    await desk.activate((await desk.push(office.file(typo), reason="why")).rule_set, reason="on")
    await worker.watch.start()
    for _ in range(1_000):
        await worker.verdict()

    assert await worker.watch.look() == 0
    assert len((await worker.verdict()).hits) == 1


async def test_pushes_during_a_run_lose_nothing_and_every_decision_names_its_rules(tmp_path: Path) -> None:
    sent = payments(1_400)
    with a_system(DECIDING, deadline_ms=20_000) as system, Redis.from_url(system.valkey.url) as client:
        system.start_workers()
        async with _office_of(system.settings(), tmp_path) as office:
            desk = office.desk("ana")
            original = (await desk.in_force()).rules
            sets = {original.id: original}
            for number in range(6):
                append(client, sent[number * 200 : number * 200 + 200])
                path = office.file(f"{REVIEW}rule push_{number} score +1 if :amount: > {number + 1}\n")
                pushed = await desk.push(path, reason=f"push {number}")
                await desk.activate(pushed.rule_set, reason="on")
                sets[pushed.rule_set] = office.bench.load(path.read_text(), name="again")
                with pytest.raises(InvalidRule):
                    await desk.push(office.file(f"{REVIEW}rule wrong block if"), reason="wrong")
                await wait_until(partial(_followed, system, pushed.rule_set[:12]), "both workers to follow")
            append(client, sent[1_200:])
            wait_until_done(client, ("fraud-check", "ml-scoring"))
            found = _decisions(client)
            _, history = await desk.history()

    late = ids_of(sent[1_200:])
    assert Counter(one.transaction.transaction_id for one in found) == Counter(dict.fromkeys(ids_of(sent), 1))
    assert [one for one in found if one.degraded] == []
    assert {one.rule_set for one in found} <= sets.keys()
    assert len({one.rule_set for one in found}) >= 3, "the workers followed while they worked"
    assert {one.rule_set for one in found if one.transaction.transaction_id in late} == {pushed.rule_set}
    assert [one for one in found if not _timely(one, history, original.id)] == []
    assert [one for one in found if not _same_hits(one, sets[one.rule_set])] == []


def _followed(system: LocalSystem, rule_set: str) -> bool:
    return all(f'version="{rule_set}"' in worker.metrics() for worker in system.workers)


@asynccontextmanager
async def _office_of(settings: Settings, folder: Path) -> AsyncIterator[Office]:
    async with connected(address(settings)) as client:
        yield Office(settings, RedisRuleSets(client), folder, RedisLists(client))


def _decisions(client: "Redis[bytes]") -> list[Decision]:
    return [decode_decision(value) for _, fields in client.xrange("transactions:decisions") for value in fields.values()]


def _timely(decision: Decision, history: list[Entry], first: str) -> bool:
    """
    Say whether the rules of a decision were in force at some time from ten seconds before it came until it was made: two
    on a machine with time for everybody.
    """
    order = [(first, 0), *((entry.rule_set, entry.at_ms) for entry in history if entry.kind == "activate")]
    place = [rule_set for rule_set, _ in order].index(decision.rule_set)
    end_ms = order[place + 1][1] if place + 1 < len(order) else float("inf")
    came_ms, made_ms = decision.received_at.timestamp() * 1000, decision.decided_at.timestamp() * 1000
    return order[place][1] <= made_ms and end_ms >= came_ms - 10_000


def _same_hits(decision: Decision, rules: RuleSet) -> bool:
    (row,) = rules.evaluate([decision.transaction], np.frombuffer(decision.vector, "<f4").reshape(1, -1))
    return (row.hits, row.shadow_hits) == (decision.rule_hits, decision.shadow_hits)
