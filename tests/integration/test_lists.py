"""
Lists in Redis: what is kept and how it is found again, who may change it, and what a worker judges by.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from fraudstream.adapters import redis_lists
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_lists import ListMove, ListPointer, RedisLists
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.app import list_library
from fraudstream.app.connections import address
from fraudstream.app.fleet_lists import FleetLists
from fraudstream.app.list_desk import ListDesk
from fraudstream.app.list_library import ListLibrary, full_body
from fraudstream.app.loading import load_rule_set, load_rulebook
from fraudstream.app.rule_watch import RuleWatch
from fraudstream.app.shelf import Shelf
from fraudstream.domain.errors import InvalidRule, RuleSetRefused
from fraudstream.domain.tokens import Tokens
from fraudstream.local import LocalValkey
from fraudstream.rules.entries import ListEntry
from fraudstream.rules.rates import RATES
from fraudstream.settings import Settings
from fraudstream.stages.fraud_check import RulesJudge
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.report import GroupReport
from tests.support.builders import NOW_MS, a_transaction

KEY = "0123456789abcdef"
TOKENS = Tokens(KEY.encode())
RULES = """
rule blocked block if :card_id: in @blocked_cards
  test hit { card_id: "x", @blocked_cards: ("x") }
rule large review if :amount: >= 100 USD
"""


class Office:
    """
    Desks for lists on one Redis, and a worker that follows it.
    """

    def __init__(self, settings: Settings, client: Redis) -> None:  # type: ignore[type-arg]
        self.settings = settings
        self.store = RedisLists(client)
        self.sets = RedisRuleSets(client)

    def desk(self, actor: str = "ana") -> ListDesk:
        return ListDesk(self.settings, self.store, self.sets, actor, TOKENS)


@pytest.fixture
async def office(valkey: LocalValkey, tmp_path: Path) -> AsyncIterator[Office]:
    (tmp_path / "my.rules").write_text(RULES)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "blocked_cards.list").write_text("from_file\n")
    settings = Settings(redis_url=valkey.url, token_key=KEY, rules_path=tmp_path / "my.rules", lists_path=tmp_path / "lists")
    async with connected(address(settings)) as client:
        yield Office(settings, client)


def entries(*values: str, **more: int) -> list[ListEntry]:
    return [ListEntry(value, reason="case 7", author="ana", added_ms=5, **more) for value in values]


async def test_a_change_takes_the_entries_of_the_file_over_and_names_everybody(office: Office) -> None:
    edit = await office.desk().add("blocked_cards", entries("card_1", "card_2"), reason="case 7")

    state = await office.desk("ben").contents("blocked_cards")
    (change,) = await office.desk().history("blocked_cards")
    assert state.contents.entries == {"from_file", "card_1", "card_2"}
    assert state.contents.entry("card_1") == entries("card_1")[0]
    assert (edit.seq, edit.added, edit.entries, edit.before, edit.version) == (1, 2, 3, "", state.contents.version)
    assert (change.kind, change.actor, change.reason, change.added, change.entries) == ("add", "ana", "case 7", 2, 3)


async def test_every_version_is_found_again_by_its_hash_and_by_its_time(office: Office) -> None:
    desk = office.desk()
    first = await desk.add("blocked_cards", entries("a", "@x.com"), reason="one")
    second = await desk.add("blocked_cards", entries("b", until_ms=NOW_MS), reason="two")
    third = await desk.remove("blocked_cards", ["@X.com", "from_file"], reason="three")
    times = [change.at_ms for change in await desk.history("blocked_cards")]

    found = [(await office.desk().contents("blocked_cards", version=edit.version)).contents for edit in (first, second, third)]
    then = [(await office.desk().contents("blocked_cards", at_ms=at_ms)).contents for at_ms in (times[0] - 1, times[2])]

    assert [sorted(one.entries) for one in found] == [
        ["@x.com", "a", "from_file"],
        ["@x.com", "a", "b", "from_file"],
        ["a", "b"],
    ]
    assert [one.version for one in found] == [first.version, second.version, third.version]
    assert [sorted(one.entries) for one in then] == [["from_file"], ["a", "b"]]
    assert sorted((await office.desk().lists_as_of(times[2]))["blocked_cards"].entries) == ["a", "b"]
    assert found[1].entry("b") == entries("b", until_ms=NOW_MS)[0]


async def test_many_changes_are_written_whole_now_and_then(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_library, "MOST_DELTAS", 3)
    desk = office.desk()
    edits = [await desk.add("blocked_cards", entries(f"card_{number}"), reason="why") for number in range(9)]

    kinds = [(await office.store.body(edit.version)).kind for edit in edits]
    contents = (await office.desk().contents("blocked_cards", version=edits[6].version)).contents

    assert kinds == ["full", "delta", "delta", "delta", "full", "delta", "delta", "delta", "full"]
    assert contents.entries == {"from_file", *(f"card_{number}" for number in range(7))}


async def test_a_large_body_goes_in_chunks_and_comes_back_whole(
    office: Office, valkey: LocalValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_lists, "CHUNK_BYTES", 1_000)
    body = full_body(entries(*(f"card_{number}" for number in range(500))), author="ana", at_ms=1)

    new = [await office.store.keep(body), await office.store.keep(body)]

    assert new == [True, False]
    assert (await office.store.body(body.version)).payload == body.payload
    with Redis.from_url(valkey.url) as client:
        key = f"lists:{{default}}:body:{body.version}"
        assert client.hlen(key) == 8 + -(-len(body.payload) // 1_000)
        assert (client.ttl(key), client.keys("lists:{default}:upload:*")) == (-1, [])
        client.hset(key, "1", b"\0" * 1_000)
    with pytest.raises(InvalidRule, match="is damaged"):
        await office.store.body(body.version)


async def test_of_two_who_saw_the_same_state_the_second_is_refused(office: Office) -> None:
    body = full_body(entries("a"), author="ana", at_ms=1)
    await office.store.keep(body)
    move = ListMove(kind="add", actor="ana", reason="why", entries=1)

    await office.store.activate("one", ListPointer(), body.version, move)
    with pytest.raises(RuleSetRefused, match="somebody else changed @one meanwhile"):
        await office.store.activate("one", ListPointer(), body.version, move)
    with pytest.raises(RuleSetRefused, match="is not in Redis"):
        await office.store.activate("other", ListPointer(), "0" * 16, move)

    assert (await office.store.pointers()).keys() == {"one"}


async def test_what_changes_nothing_or_is_not_there_is_refused(office: Office) -> None:
    desk = office.desk()
    await desk.add("blocked_cards", entries("a"), reason="why")

    with pytest.raises(RuleSetRefused, match="holds exactly this already"):
        await desk.add("blocked_cards", entries("a"), reason="case 7")
    with pytest.raises(RuleSetRefused, match="holds exactly this already"):
        await desk.replace("blocked_cards", (await desk.contents("blocked_cards")).contents.all_entries(), reason="why")
    with pytest.raises(InvalidRule, match="has no entry 'b'"):
        await desk.remove("blocked_cards", ["a", "b"], reason="why")
    with pytest.raises(InvalidRule, match="small letters"):
        await desk.add("Blocked", entries("a"), reason="why")
    with pytest.raises(InvalidRule, match="there is no list @nothing"):
        await desk.contents("nothing")

    assert len(await desk.history()) == 1


async def test_a_list_with_which_the_rules_in_force_fail_their_tests_is_refused(office: Office) -> None:
    path = office.settings.rules_path
    path.write_text(RULES + 'rule other block if :card_id: in @blocked_cards\n  test miss { card_id: "card_1" }\n')

    with pytest.raises(InvalidRule, match="rule other must miss this transaction"):
        await office.desk().add("blocked_cards", entries("card_1"), reason="why")

    assert await office.desk().history() == []


async def test_rollback_goes_back_step_by_step_to_the_file(office: Office) -> None:
    desk = office.desk()
    for value in ("a", "b"):
        await desk.add("blocked_cards", entries(value), reason="on")

    back = [(await desk.rollback("blocked_cards", reason="back")).entries for _ in range(2)]

    assert back == [2, 1]
    assert (await desk.contents("blocked_cards")).contents.entries == {"from_file"}
    with pytest.raises(RuleSetRefused, match="nothing to roll back"):
        await desk.rollback("blocked_cards", reason="back")


class Worker:
    """
    What of a worker follows rules and lists.
    """

    def __init__(self, office: Office) -> None:
        features = load_rulebook(office.settings).features
        self.metrics = Metrics(groups=["fraud-check"], producer=False, monitor=False)
        report = GroupReport(self.metrics, stream="transactions:raw", group="fraud-check", worker="one")
        lists = FleetLists(office.settings, office.store, TOKENS)
        self.rules = load_rule_set(office.settings, features, written=lists.written)
        self.judge = RulesJudge(self.rules, report)
        self.watch = RuleWatch(office.sets, self.judge, self.rules, lists, report)
        self.width = len(features.names)

    async def hits(self, **fields: object) -> list[str]:
        matrix = np.full((1, self.width), np.nan, np.float32)
        (verdict,) = await self.judge.judge([TOKENS.transaction(a_transaction(**fields))], matrix)
        return [hit.rule_id for hit in verdict.hits]

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"fraudstream_{name}", labels)


async def test_a_worker_judges_by_a_list_from_the_next_batch_on(office: Office) -> None:
    worker, desk = Worker(office), office.desk()
    await worker.watch.start()
    before = await worker.hits(card_id="card_1"), await worker.hits(card_id="from_file")

    await desk.add("blocked_cards", entries("card_1", until_ms=NOW_MS), reason="why")
    first = await worker.watch.look()
    edit = await desk.remove("blocked_cards", ["from_file"], reason="why")
    looks = [first, await worker.watch.look(), await worker.watch.look()]
    after = await worker.hits(card_id="card_1", occurred_at_ms=NOW_MS - 1), await worker.hits(card_id="from_file")

    assert (before, looks, after) == (([], ["blocked"]), [1, 1, 0], (["blocked"], []))
    assert await worker.hits(card_id="card_1", occurred_at_ms=NOW_MS) == []
    assert worker.judge.rule_set.lists == {"blocked_cards": edit.version}
    assert worker.judge.rule_set.id == worker.rules.id
    assert worker.value("list_info", list="blocked_cards", version=edit.version) == 1
    assert worker.value("list_entries", list="blocked_cards") == 1


async def test_somebody_on_a_list_or_in_a_rule_is_met_and_kept_nowhere(office: Office, valkey: LocalValkey) -> None:
    office.settings.rules_path.write_text(
        'rule known review if :email: in @blocked_people\n  test hit { email: "a@b.org", @blocked_people: ("a@b.org") }\n'
        'rule named review if :email: in ("max.power@example.org", "x@y.org")\n  test hit { email: "max.power@example.org" }\n'
    )
    (office.settings.lists_path / "blocked_people.list").write_text("from.file@example.org\n@mailinator.com\n")
    worker, desk = Worker(office), office.desk()
    await worker.watch.start()
    from_file = await worker.hits(email="from.file@example.org")

    await desk.add("blocked_people", entries("Jane.Doe@example.org", "+33 6 12 34 56 78"), reason="case 7")
    await worker.watch.look()
    contents = (await desk.contents("blocked_people")).contents
    with Redis.from_url(valkey.url) as client:
        kept = repr([client.hgetall(key) for key in client.scan_iter("lists:{default}:body:*")]).lower()

    assert from_file == ["known"]
    assert await worker.hits(email="jane.doe@example.org") == ["known"]
    assert await worker.hits(email="other@mailinator.com") == ["known"]
    assert await worker.hits(email="max.power@example.org") == ["named"]
    assert await worker.hits(email="jane.do@example.org") == []
    assert len(contents) == 4
    assert "email_" in kept
    assert not any(name in kept for name in ("jane.doe", "from.file", "12 34 56"))
    shelf = Shelf(office.settings)
    rule_set = worker.judge.rule_set
    await shelf.bring([rule_set.id], [rule_set.lists])
    found = shelf.rules(rule_set.id, rule_set.lists, load_rulebook(office.settings).features)
    assert found is not None
    assert found[1] == []
    again, _ = found
    paid = [TOKENS.transaction(a_transaction(email=one)) for one in ("jane.doe@example.org", "max.power@example.org")]
    matrix = np.full((2, worker.width), np.nan, np.float32)
    assert [[hit.rule_id for hit in row.hits] for row in again.evaluate(paid, matrix)] == [["known"], ["named"]]


async def test_a_damaged_list_leaves_the_old_one_and_is_counted_once(office: Office, valkey: LocalValkey) -> None:
    worker = Worker(office)
    await worker.watch.start()
    edit = await office.desk().add("blocked_cards", entries("card_1"), reason="why")
    with Redis.from_url(valkey.url) as client:
        client.hset(f"lists:{{default}}:body:{edit.version}", "0", b"damaged")

    looks = [await worker.watch.look() for _ in range(3)]

    assert looks == [0, 0, 0]
    assert await worker.hits(card_id="from_file") == ["blocked"]
    assert worker.value("list_apply_failures_total") == 1
    with pytest.raises(InvalidRule, match=r"@blocked_cards: .* is damaged"):
        await Worker(office).watch.start()


async def test_the_entry_that_took_part_in_a_hit_is_counted_for_the_fleet(office: Office) -> None:
    worker, desk = Worker(office), office.desk()
    await desk.add("blocked_cards", entries("card_1", "card_2"), reason="why")
    await worker.watch.start()
    for card in ("card_1", "card_1", "from_file", "card_9"):
        await worker.hits(card_id=card)

    await worker.watch.look()
    hits = await desk.hits("blocked_cards")

    assert {entry: one.hits for entry, one in hits.items()} == {"card_1": 2, "from_file": 1}
    assert worker.value("list_hits_total", list="blocked_cards") == 3
    assert [row.hits for row in await desk.overview() if row.name == "blocked_cards"] == [3]


async def test_rates_of_the_fleet_are_judged_by_and_named(office: Office) -> None:
    worker, desk = Worker(office), office.desk()
    await worker.watch.start()
    paid = {"amount_minor": 9_500, "currency": "EUR", "card_id": "a"}
    before = await worker.hits(**paid)

    edit = await desk.replace_rates("base USD\n2020-01-01 EUR 1.1\n", "ecb.rates", reason="today")
    await worker.watch.look()

    assert (before, await worker.hits(**paid)) == ([], ["large"])
    assert worker.judge.rule_set.lists[RATES] == edit.version
    found = await desk.rates()
    assert found is not None
    assert found.version == edit.version
    with pytest.raises(RuleSetRefused, match="in force already"):
        await desk.replace_rates("base USD\n2020-01-01 EUR 1.10\n", "ecb.rates", reason="today")
    with pytest.raises(InvalidRule, match=r"ecb\.rates:2"):
        await desk.replace_rates("base USD\n2020-01-01 EUR\n", "ecb.rates", reason="today")


async def test_what_two_versions_share_is_in_memory_once(office: Office) -> None:
    desk = office.desk()
    await desk.replace("blocked_cards", entries(*(f"card_{number}" for number in range(5_000))), reason="bulk")
    first = (await desk.contents("blocked_cards")).contents
    edit = await desk.add("blocked_cards", entries("card_x"), reason="one")
    library = ListLibrary(office.store)

    whole, changed = await library.contents(first.version), await library.contents(edit.version)

    assert changed.memory_bytes - whole.memory_bytes < 1_000
    assert len(changed) == 5_001
    assert changed.overlay == 1


async def test_what_a_decision_was_made_with_is_found_again_after_every_change(office: Office) -> None:
    desk = office.desk()
    await desk.add("blocked_cards", entries("card_1"), reason="why")
    await desk.replace_rates("base USD\n2020-01-01 EUR 1.1\n", "ecb.rates", reason="today")
    worker = Worker(office)
    await worker.watch.start()
    made_with = dict(worker.judge.rule_set.lists)
    await desk.remove("blocked_cards", ["card_1"], reason="why")
    await desk.replace_rates("base USD\n2020-01-01 EUR 1.2\n", "ecb.rates", reason="tomorrow")
    shelf = Shelf(office.settings)

    await shelf.bring([worker.rules.id], [made_with, {"blocked_cards": "0" * 16}])
    found = shelf.rules(worker.rules.id, made_with, load_rulebook(office.settings).features)
    other = shelf.rules(worker.rules.id, {**made_with, RATES: "0" * 16}, load_rulebook(office.settings).features)

    assert found is not None
    assert (dict(found[0].lists), found[1]) == (made_with, [])
    assert found[0].contents["blocked_cards"].entries == {"card_1", "from_file"}
    assert other is not None
    assert "the table of rates differs: the decision was made with 000000000000" in other[1][0]


async def test_a_list_over_time_holds_at_each_time_what_it_held_then(office: Office) -> None:
    desk = office.desk()
    await desk.add("blocked_cards", entries("a", "b"), reason="one")
    await desk.remove("blocked_cards", ["a"], reason="two")
    await desk.add("blocked_cards", entries("a", "c"), reason="three")
    await desk.replace("blocked_cards", entries("c"), reason="four")
    await desk.rollback("blocked_cards", reason="five")
    changes = await desk.history("blocked_cards")
    values = ["from_file", "a", "b", "c", "d"]

    (over,) = [contents for name, contents in (await desk.lists_over_time()).items() if name == "blocked_cards"]

    assert len(changes) == 5
    for at_ms in sorted({0, *(one.at_ms + late for one in changes for late in (-1, 0, 1))}):
        then = (await desk.lists_as_of(at_ms))["blocked_cards"]
        assert over.holds(values, np.full(5, float(at_ms))).tolist() == then.holds(values).tolist(), at_ms
