from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from fraudstream.app.findings import Finding, Level, Limits, count_of, duration, healthy, size
from fraudstream.app.health import judge, judge_change
from fraudstream.app.health_server import advise
from fraudstream.cli.main import app
from fraudstream.fleet.overview import (
    Consumer,
    GroupState,
    Letters,
    Overview,
    PendingEntry,
    ServerProblem,
    ServerState,
    StreamState,
)

LIMITS = Limits()
STREAMS = {
    "fraud-check": "transactions:raw",
    "ml-scoring": "transactions:raw",
    "recorder": "transactions:decisions",
    "alerter": "transactions:fraud",
}
SERVER = ServerState(
    name="redis",
    version="7.0.15",
    answer_ms=1.0,
    clock_ahead_s=0.0,
    memory_bytes=100 * 2**20,
    memory_limit_bytes=2**30,
    eviction_policy="noeviction",
    append_only=True,
    last_append_ok=True,
    last_rewrite_ok=True,
    evicted_keys=0,
    replica=False,
    clients=9,
    uptime_s=3600,
)


def a_group(name: str, **fields: Any) -> GroupState:
    given = {"consumers": (Consumer(name=f"host:1:{name}"),), **fields}
    return GroupState(stream=STREAMS.get(name, "transactions:labels"), group=name, exists=True, **given)


def an_overview(*changed: GroupState, at_ms: int = 1_000_000, **fields: Any) -> Overview:
    groups = {name: a_group(name) for name in STREAMS} | {group.group: group for group in changed}
    given = {
        "server": SERVER,
        "streams": (StreamState(stream="transactions:raw", exists=True),),
        "dead_letters": Letters(stream="transactions:dlq"),
        "undeliverable": Letters(stream="alerts:undeliverable"),
        **fields,
    }
    return Overview(at_ms=at_ms, groups=tuple(groups.values()), **given)


def bad(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is not Level.OK]


def the_bad_one(overview: Overview) -> Finding:
    (found,) = bad(judge(overview, LIMITS))
    return found


def an_oldest(consumer: str = "host:1:recorder", **fields: Any) -> PendingEntry:
    given = {"entry_id": "1-0", "consumer_alive": True, "idle_s": 1.0, "age_s": 300.0, "deliveries": 4, **fields}
    return PendingEntry(stream="transactions:decisions", group="recorder", consumer=consumer, **given)


def test_a_fleet_at_work_is_healthy_and_everything_is_mentioned() -> None:
    findings = judge(an_overview(a_group("recorder", lag_entries=50, pending_entries=3, oldest_pending_age_s=0.4)), LIMITS)

    assert bad(findings) == []
    assert healthy(findings)
    assert {finding.about for finding in findings} >= {
        "redis",
        "memory",
        "dead letters",
        "alerts",
        *map("group {}".format, STREAMS),
    }


@pytest.mark.parametrize("group", STREAMS)
def test_a_group_without_a_worker_fails_names_itself_and_how_to_start_one(group: str) -> None:
    found = the_bad_one(an_overview(a_group(group, consumers=())))

    assert found.level is Level.FAIL
    assert found.about == f"group {group}"
    assert f"no worker serves {group}" in found.says
    assert found.command in {f"fraudstream worker start --group {group}", "fraudstream alerter start"}


def test_a_consumer_that_steps_in_does_not_count_as_a_worker() -> None:
    stepping = Consumer(name="host:2+step-in:ab", stepping_in=True)

    found = the_bad_one(an_overview(a_group("ml-scoring", consumers=(stepping,))))

    assert "no worker serves ml-scoring" in found.says
    assert "without the model" in found.says


def test_the_last_one_that_was_there_is_named_with_what_the_gone_ones_hold() -> None:
    consumers = (
        Consumer(name="old", pending=2, alive=False, quiet_s=900.0),
        Consumer(name="last", pending=5, alive=False, quiet_s=12.0),
        Consumer(name="other+step-in:ab", alive=False, quiet_s=1.0, stepping_in=True),
    )

    found = the_bad_one(an_overview(a_group("recorder", pending_entries=7, consumers=consumers)))

    assert "last was last and gave no sign of life for 12 s" in found.says
    assert "hold 7 of them" in found.says


def test_a_group_that_need_not_be_served_is_only_named_when_something_waits_for_it() -> None:
    idle = GroupState(stream="transactions:labels", group="labels", exists=False)
    behind = msgspec.structs.replace(idle, lag_entries=3)

    assert bad(judge(an_overview(idle), LIMITS)) == []
    assert the_bad_one(an_overview(behind)).level is Level.WARN


def test_a_group_that_is_not_ours_is_no_problem() -> None:
    stranger = a_group("warehouse", known=False, consumers=(), lag_entries=10**6, oldest_unread_age_s=9_999.0)

    assert bad(judge(an_overview(stranger), LIMITS)) == []


def test_entries_that_wait_long_to_be_read_fail() -> None:
    found = the_bad_one(an_overview(a_group("fraud-check", lag_entries=5_000, oldest_unread_age_s=45.0)))

    assert found.level is Level.FAIL
    assert "5,000 to read" in found.says
    assert "45 s" in found.says
    assert "fraudstream worker start --group fraud-check" in found.command


def test_a_lag_that_nobody_can_tell_is_not_taken_for_none() -> None:
    found = the_bad_one(an_overview(a_group("fraud-check", lag_entries=None, lag_told=False)))

    assert found.level is Level.WARN
    assert "unknown" in found.says


def test_an_entry_that_stays_in_work_names_its_holder_and_its_tries() -> None:
    group = a_group("recorder", pending_entries=9, oldest_pending_age_s=300.0, oldest_pending=an_oldest())

    found = the_bad_one(an_overview(group))

    assert found.level is Level.FAIL
    assert "held by host:1:recorder, try 4" in found.says
    assert "database" in found.says
    assert found.command == "fraudstream pending --group recorder"


def test_an_entry_between_two_tries_is_nobody_s() -> None:
    oldest = an_oldest("__retry__", consumer_alive=False)
    group = a_group("recorder", pending_entries=1, oldest_pending_age_s=300.0, oldest_pending=oldest)

    assert "waits for its next try" in the_bad_one(an_overview(group)).says


def test_entries_of_the_dead_are_a_warning_while_others_live_to_take_them_over() -> None:
    consumers = (Consumer(name="alive"), Consumer(name="dead", pending=34, alive=False, quiet_s=9.0))
    group = a_group("ml-scoring", pending_entries=34, oldest_pending_age_s=9.0, consumers=consumers)

    found = the_bad_one(an_overview(group))

    assert found.level is Level.WARN
    assert "34 entries held by 1 worker that are gone" in found.says


def test_the_dead_that_hold_nothing_are_no_problem() -> None:
    consumers = (Consumer(name="alive"), Consumer(name="dead", alive=False, quiet_s=9.0))

    assert bad(judge(an_overview(a_group("ml-scoring", consumers=consumers)), LIMITS)) == []


def test_entries_that_fail_and_wait_are_a_warning_with_a_suspect() -> None:
    found = the_bad_one(an_overview(a_group("alerter", pending_entries=2, retrying_entries=2)))

    assert found.level is Level.WARN
    assert "does the channel answer?" in found.says


def test_dead_letters_are_told_apart_with_what_stands_behind_them() -> None:
    letters = Letters(
        stream="transactions:dlq", entries=300, oldest_age_s=7_300.0, counted=200, counts={"decode_error": 180, "odd": 20}
    )

    found = the_bad_one(an_overview(dead_letters=letters))

    assert found.level is Level.WARN
    assert "300 dead letters (decode_error 180, odd 20, of the newest 200, the oldest 2.0 h ago)" in found.says
    assert "a producer writes what is no JSON object" in found.says


def test_alerts_that_reached_nobody_name_the_channel() -> None:
    letters = Letters(stream="alerts:undeliverable", entries=1, oldest_age_s=3.0, counted=1, counts={"slack": 1})

    found = the_bad_one(an_overview(undeliverable=letters))

    assert "1 alert reached nobody (slack 1" in found.says
    assert "--slack" in found.command


@pytest.mark.parametrize(
    ("changed", "level", "says"),
    [
        ({"replica": True}, Level.FAIL, "replica"),
        ({"last_append_ok": False}, Level.FAIL, "append-only file cannot be written"),
        ({"last_rewrite_ok": False}, Level.WARN, "rewrite"),
        ({"evicted_keys": 7}, Level.FAIL, "7 keys were evicted"),
        ({"clock_ahead_s": 30.0}, Level.WARN, "30.0 s ahead of ours"),
        ({"clock_ahead_s": -30.0}, Level.WARN, "30.0 s behind ours"),
        ({"memory_bytes": 900 * 2**20}, Level.FAIL, "900 MiB of 1.0 GiB in use (88%); producers are refused above 80%"),
        ({"memory_bytes": 750 * 2**20}, Level.WARN, "73%"),
    ],
)
def test_a_server_in_trouble_is_told_in_a_sentence_with_a_command(changed: dict[str, Any], level: Level, says: str) -> None:
    found = the_bad_one(an_overview(server=msgspec.structs.replace(SERVER, **changed)))

    assert found.level is level
    assert says in found.says
    assert found.command


@pytest.mark.parametrize("kind", ["version", "eviction", "persistence", "cluster"])
def test_every_reason_to_distrust_a_server_has_a_remedy(kind: str) -> None:
    problems = (ServerProblem(kind=kind, says="it is so"),)

    found = the_bad_one(an_overview(server=msgspec.structs.replace(SERVER, problems=problems)))

    assert (found.level, found.says) == (Level.FAIL, "it is so")
    assert found.command


def test_a_slow_answer_is_not_taken_for_a_wrong_clock() -> None:
    slow = msgspec.structs.replace(SERVER, clock_ahead_s=6.0, answer_ms=4_000.0)

    assert bad(judge(an_overview(server=slow), LIMITS)) == []


def test_every_command_that_is_proposed_exists() -> None:
    letters = Letters(stream="transactions:dlq", entries=1)
    pending = {"pending_entries": 1, "oldest_pending_age_s": 300.0, "oldest_pending": an_oldest(), "oldest_unread_age_s": 99.0}
    troubled = [
        an_overview(
            *(a_group(name, consumers=()) for name in [*STREAMS, "labels"]), dead_letters=letters, undeliverable=letters
        ),
        an_overview(*(a_group(name, **pending) for name in STREAMS)),
        an_overview(server=msgspec.structs.replace(SERVER, memory_bytes=2**30)),
    ]
    proposed = [part for overview in troubled for one in judge(overview, LIMITS) for part in one.command.split(";")]
    ours = {part.strip() for part in proposed if part.strip().startswith("fraudstream ")}

    assert len(ours) > 12
    for command in ours:
        shown = CliRunner().invoke(app, [*command.split()[1:], "--help"])
        assert shown.exit_code == 0, f"{command}: {shown.output}"


def test_memory_without_a_limit_is_advised_against_and_is_not_unhealthy() -> None:
    unlimited = msgspec.structs.replace(SERVER, memory_limit_bytes=0)

    assert bad(judge(an_overview(server=unlimited), LIMITS)) == []
    assert [finding.level for finding in advise(unlimited)] == [Level.WARN]
    assert list(advise(SERVER)) == []


def test_a_group_that_reads_nothing_between_two_looks_stands_still() -> None:
    before = an_overview(a_group("ml-scoring", lag_entries=10, last_delivered_id="5-0"))
    after = an_overview(a_group("ml-scoring", lag_entries=30, last_delivered_id="5-0"), at_ms=1_002_000)

    (found,) = judge_change(before, after, LIMITS)

    assert found.level is Level.FAIL
    assert found.about == "group ml-scoring"
    assert "not one was read in 2.0 s" in found.says


def test_a_lag_that_grows_is_told_by_its_rate() -> None:
    before = an_overview(a_group("ml-scoring", lag_entries=2_000, last_delivered_id="5-0"))
    after = an_overview(a_group("ml-scoring", lag_entries=3_000, last_delivered_id="9-0"), at_ms=1_002_000)

    (found,) = judge_change(before, after, LIMITS)

    assert found.level is Level.WARN
    assert "500 entries/s" in found.says


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"lag_entries": 2_000, "last_delivered_id": "5-0"}, {"lag_entries": 1_500, "last_delivered_id": "9-0"}),
        ({"lag_entries": 0, "last_delivered_id": "5-0"}, {"lag_entries": 900, "last_delivered_id": "9-0"}),
        ({"lag_entries": 0, "last_delivered_id": "5-0"}, {"lag_entries": 9, "last_delivered_id": "5-0"}),
        ({"lag_entries": 9, "consumers": ()}, {"lag_entries": 9_000, "consumers": ()}),
    ],
    ids=["shrinks", "small", "just begun", "no workers: said elsewhere"],
)
def test_other_changes_are_no_news(first: dict[str, Any], then: dict[str, Any]) -> None:
    before, after = an_overview(a_group("recorder", **first)), an_overview(a_group("recorder", **then), at_ms=1_002_000)

    assert judge_change(before, after, LIMITS) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (45, "45 s"), (119, "119 s"), (720, "12 min"), (12_600, "3.5 h"), (181_440, "2.1 d")],
)
def test_time_spans_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_figures_read_well() -> None:
    assert [count_of(1, "entry"), count_of(2_000, "entry"), count_of(3, "worker")] == ["1 entry", "2,000 entries", "3 workers"]
    assert [size(12 * 1024), size(340 * 2**20), size(3 * 2**29)] == ["12 KiB", "340 MiB", "1.5 GiB"]
