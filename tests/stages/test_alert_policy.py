"""
The rules of telling, as they are: quiet hours, storms, budgets, grouping. No server, no clock.
"""

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.alert import Severity
from fraudstream.domain.decision import Outcome
from fraudstream.domain.evidence import Action, Fallback, Reason, RuleHit
from fraudstream.stages.alert_grouping import bearing
from fraudstream.stages.alert_notice import Links, build_notice, reply_words
from fraudstream.stages.alert_pace import Kind, Pace, PaceLimits, failed, is_open, places, succeeded, took, wait_s
from fraudstream.stages.alert_policy import (
    POLICIES,
    ChannelPolicy,
    Due,
    Fold,
    QuietHours,
    Storm,
    StormLimits,
    digest_due,
    fold_of,
    quiet_until,
    weather,
)
from fraudstream.stages.alert_ports import Shown
from tests.support.alerts import a_group, a_notice
from tests.support.builders import NOW_MS, a_decision, a_transaction

ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
MINUTES = st.integers(0, 1439).map(lambda minute: time(minute // 60, minute % 60))
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))
NIGHT = QuietHours(time(22), time(8), "Europe/Berlin")
SEVERITIES = st.sampled_from(list(Severity))
#: Places of a storm as they come: how long until the next group opens, in milliseconds.
GAPS = st.lists(st.integers(0, 20_000), min_size=1, max_size=200)


@given(hours=st.builds(QuietHours, MINUTES, MINUTES, ZONES), now=MOMENTS)
def test_quiet_hours_end_within_a_day_and_what_comes_after_is_not_quiet(hours: QuietHours, now: datetime) -> None:
    until = quiet_until(hours, now)

    if until is not None:
        assert now < until <= now + timedelta(hours=25)
        # Where the clocks change at that hour the end comes twice; an hour later it is over for sure.
        assert quiet_until(hours, until) is None or quiet_until(hours, until + timedelta(hours=1)) is None


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-01-15T20:59:59+00:00", None),
        ("2026-01-15T21:00:00+00:00", "2026-01-16T07:00:00+00:00"),
        ("2026-01-16T03:00:00+00:00", "2026-01-16T07:00:00+00:00"),
        ("2026-01-16T07:00:00+00:00", None),
        ("2026-07-15T20:00:00+00:00", "2026-07-16T06:00:00+00:00"),
    ],
)
def test_a_night_over_midnight_is_quiet_by_the_clock_of_its_zone(at: str, until: str | None) -> None:
    assert quiet_until(NIGHT, datetime.fromisoformat(at)) == (until and datetime.fromisoformat(until))


def test_hours_of_no_length_are_never_quiet() -> None:
    assert quiet_until(QuietHours(time(8), time(8)), datetime(2026, 1, 1, 8, tzinfo=UTC)) is None
    assert quiet_until(None, datetime(2026, 1, 1, 8, tzinfo=UTC)) is None


@given(severity=SEVERITIES, major=st.floats(0, 1e9), placed=st.booleans(), now=MOMENTS)
def test_the_highest_severity_is_never_held_by_quiet_hours(
    severity: Severity, major: float, placed: bool, now: datetime
) -> None:
    policy = ChannelPolicy(quiet=NIGHT)

    fold = fold_of(Due(severity=severity, major=major, placed=placed), policy, None, now)

    if severity is Severity.CRITICAL:
        assert fold is None
    elif quiet_until(NIGHT, now) is not None:
        assert fold is Fold.QUIET
        assert digest_due(fold, policy, now) == quiet_until(NIGHT, now)


@given(severity=SEVERITIES, major=st.floats(0, 1e9), placed=st.booleans(), alone=st.integers(0, 60), now=MOMENTS)
def test_in_a_storm_only_much_money_is_told_alone_and_not_without_end(
    severity: Severity, major: float, placed: bool, alone: int, now: datetime
) -> None:
    limits = StormLimits(alone_major=1000.0, alone_most=30)

    fold = fold_of(Due(severity=severity, major=major, placed=placed), ChannelPolicy(storm=limits), Storm(0, 0, alone), now)

    assert (fold is None) == (severity is Severity.CRITICAL and major >= 1000 and alone < 30)


def test_what_is_for_information_is_told_in_a_digest_where_people_read_and_at_once_where_machines_do() -> None:
    due = Due(severity=Severity.INFO, major=1.0, placed=False)
    now = datetime(2026, 1, 15, 12, tzinfo=UTC)

    folds = {name: fold_of(due, policy, None, now) for name, policy in POLICIES.items()}

    assert folds == {"slack": Fold.INFO, "email": Fold.INFO, "webhook": None, "console": None}


@given(gaps=GAPS)
def test_a_storm_begins_above_its_rate_and_ends_after_the_calm(gaps: list[int]) -> None:
    limits = StormLimits(enter_groups=10, leave_groups=4, window_s=60.0, calm_s=120.0)
    opened: list[int] = []
    storm: Storm | None = None
    now_ms = NOW_MS
    for gap in gaps:
        now_ms += gap
        opened.insert(0, now_ms)
        before, storm = storm, weather(storm, opened[:11], now_ms, limits)
        recent = sum(now_ms - one < 60_000 for one in opened)
        assert (storm is not None) or recent <= 10
        if before is None and storm is not None:
            assert recent > 10
            assert storm.since_ms == now_ms
        if before is not None and storm is None:
            assert now_ms - before.blew_ms >= 120_000

    assert weather(storm, opened[:11], now_ms + 300_000, limits) is None


@given(
    rate=st.floats(0.2, 50),
    burst=st.integers(1, 20),
    steps=st.lists(st.floats(0, 5), min_size=1, max_size=150),
    kind=st.sampled_from(list(Kind)),
)
def test_no_stretch_of_time_sees_more_than_its_budget(rate: float, burst: int, steps: list[float], kind: Kind) -> None:
    limits = PaceLimits(rate_per_s=rate, burst=burst, updates_per_s=rate, updates_burst=burst)
    pace, now_s, sent = Pace(), 1_000.0, []
    for step in steps:
        now_s += step
        while wait_s(pace, kind, now_s, limits) <= 0:
            pace = took(pace, kind, now_s, limits)
            sent.append(now_s)

    for number, start_s in enumerate(sent):
        for later, end_s in enumerate(sent[number:], 1):
            assert later <= burst + rate * (end_s - start_s) + 1e-6


@given(rate=st.floats(0.2, 50), burst=st.integers(1, 20), rest_s=st.floats(0.1, 100))
def test_after_a_rest_nothing_meets_a_channel_as_a_burst(rate: float, burst: int, rest_s: float) -> None:
    limits = PaceLimits(rate_per_s=rate, burst=burst)
    pace = failed(Pace(), 1_000.0, limits, retry_after_s=rest_s)

    assert wait_s(pace, Kind.POST, 1_000.0, limits) == pytest.approx(rest_s)
    now_s = 1_000.0 + rest_s + 1e-6
    assert wait_s(pace, Kind.POST, now_s, limits) == pytest.approx(0, abs=1e-3)
    pace = took(pace, Kind.POST, now_s, limits)
    assert wait_s(pace, Kind.POST, now_s, limits) == pytest.approx(1 / rate, rel=1e-3)


def test_a_channel_that_fails_five_times_rests_and_then_one_tries_for_all() -> None:
    limits = PaceLimits(concurrent=4)
    pace = Pace()
    for _ in range(5):
        assert not is_open(pace, limits)
        pace = failed(pace, 1_000.0, limits)

    assert is_open(pace, limits)
    assert wait_s(pace, Kind.POST, 1_000.0, limits) == 30.0
    assert places(pace, limits) == 1
    assert places(succeeded(pace), limits) == 4


def test_being_throttled_is_nobodys_failure() -> None:
    pace = Pace()
    for _ in range(20):
        pace = failed(pace, 1_000.0, PaceLimits(), retry_after_s=0.4)

    assert not is_open(pace, PaceLimits())


def _hit(rule_id: str, *, action: Action = Action.BLOCK, tags: tuple[str, ...] = (), explanation: str = "") -> RuleHit:
    return RuleHit(rule_id=rule_id, action=action, tags=tags, explanation=explanation)


@pytest.mark.parametrize(
    ("hit", "family", "entity"),
    [
        (_hit("R1", tags=("card_testing", "velocity", "device")), "card_testing", "device"),
        (_hit("R1", explanation=":amount:[9] > 5 and :merchant_count_10m:[7] > 3"), "R1", "merchant"),
        (_hit("R1", tags=("velocity",), explanation=":amount:[9] > 5"), "velocity", "card"),
        (_hit("R1", tags=("device",), explanation=":card_count_1h:[9] > 5"), "R1", "device"),
    ],
    ids=["tags", "features", "neither", "tags first"],
)
def test_the_rule_that_decided_says_what_an_alert_is_about(hit: RuleHit, family: str, entity: str) -> None:
    decision = a_decision(outcome=Outcome.BLOCK, rule_hits=(hit,), reasons=(Reason(code="R1", text="x"),))

    found = bearing(decision)

    assert (found.family, found.entity, found.rule_id) == (family, entity, "R1")


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({"rule_hits": (_hit("R1", action=Action.SCORE),), "reasons": (Reason(code="R1", text="x"),)}, "model"),
        ({"rule_hits": (), "reasons": (Reason(code="card_count_1h", text="x"),)}, "model"),
        ({"rule_hits": (), "reasons": (), "degraded": (Fallback.RULES_DEADLINE,)}, "degraded"),
    ],
    ids=["points only", "the model", "degraded"],
)
def test_what_no_rule_decided_is_of_the_family_of_what_did(changes: dict[str, object], family: str) -> None:
    found = bearing(a_decision(outcome=Outcome.REVIEW, **changes))

    assert (found.family, found.rule_id, found.entity) == (family, "", "card")


def test_a_payment_that_names_no_entity_is_alone() -> None:
    nobody = dict.fromkeys(("card_id", "user_id", "device_id", "merchant", "ip"))

    first, second = (bearing(a_decision(a_transaction(**nobody), outcome=Outcome.BLOCK)) for _ in range(2))

    assert first.entity == "payment"
    assert first.key != second.key


@given(
    ids=st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=2),
    families=st.lists(st.text(max_size=8), min_size=2, max_size=2),
)
def test_payments_are_together_if_family_and_entity_are_the_same_and_only_then(ids: list[str], families: list[str]) -> None:
    found = [
        bearing(
            a_decision(
                a_transaction(card_id=card_id),
                outcome=Outcome.BLOCK,
                rule_hits=(_hit(f"R{family}", tags=(f"f{family}", "card")),),
                reasons=(Reason(code=f"R{family}", text="x"),),
            )
        )
        for card_id, family in zip(ids, families, strict=True)
    ]

    assert (found[0].key == found[1].key) == (ids[0] == ids[1] and families[0] == families[1])
    assert (found[0].token == found[1].token) == (ids[0] == ids[1])


def test_neither_key_nor_token_shows_the_entity() -> None:
    found = bearing(a_decision(a_transaction(card_id=None, user_id="jane@example.com"), outcome=Outcome.BLOCK))

    assert found.entity == "user"
    assert "jane" not in found.key + found.token


@pytest.mark.parametrize(
    ("before", "changes", "words"),
    [
        ("1|critical|", {"transactions": 9}, ""),
        ("1|critical|", {"transactions": 10}, "10 payments by now, 2,480.00 EUR"),
        ("10|critical|", {"transactions": 99}, ""),
        ("10|critical|", {"transactions": 1_234}, "1,234 payments by now, 2,480.00 EUR"),
        ("1|warning|", {}, "Severity rose to critical: Blocked: card testing at ACME GmbH"),
        ("1|critical|", {"acknowledged_by": "@ann"}, "Acknowledged by @ann"),
        ("1|critical|Marked fraud by @ann", {}, "The answer was taken back"),
    ],
)
def test_what_goes_under_a_message(before: str, changes: dict[str, object], words: str) -> None:
    shown = Shown(told=1, place="x", reply=before)

    said, mark = reply_words(a_notice(**changes), shown)

    assert said == words
    assert reply_words(a_notice(**changes), Shown(told=1, place="x", reply=mark))[0] == ""


def test_a_first_message_has_nothing_under_it() -> None:
    assert reply_words(a_notice(transactions=500), Shown())[0] == ""


def test_a_link_is_filled_in_and_nothing_breaks_out_of_it() -> None:
    decision = a_decision(a_transaction(transaction_id='t"&x=<1>/..'), outcome=Outcome.BLOCK)
    links = Links(case_url="https://cases.example/{alert_id}?t={transaction_id}")

    notice = build_notice(a_group(decision), Shown(), links)

    assert notice.case_url == f"https://cases.example/{notice.alert_id}?t=t%22%26x%3D%3C1%3E%2F.."
