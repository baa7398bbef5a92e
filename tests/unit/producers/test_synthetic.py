import itertools
import re
from collections import Counter

import msgspec
import pytest

from fraudstream.domain.errors import InvalidSettings
from fraudstream.domain.masking import has_card_number
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.producers.attack_plans import CardTesting
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.plan import ATTACKS, DAY_MS, Scenario
from fraudstream.producers.synthetic import SyntheticPlan, demo_plan, generate, training_plan

_END_MS = 1_768_478_400_000
_FAR_AHEAD_MS = 4_000_000_000_000


def _demo(**changes: object) -> SyntheticPlan:
    return msgspec.structs.replace(demo_plan(7, end_ms=_END_MS, transactions=6_000), **changes)


def _read(labelled: Labelled) -> Transaction:
    return parse_transaction(labelled.body, now_ms=_FAR_AHEAD_MS, default_currency="EUR")


@pytest.fixture(scope="module")
def world() -> list[Labelled]:
    return list(generate(_demo()))


@pytest.fixture(scope="module")
def transactions(world: list[Labelled]) -> list[Transaction]:
    return [_read(labelled) for labelled in world]


def test_the_same_plan_gives_the_same_bytes(world: list[Labelled]) -> None:
    again = list(generate(_demo()))

    assert again == world


def test_another_seed_gives_another_world_without_a_shared_id(world: list[Labelled], transactions: list[Transaction]) -> None:
    other = [_read(labelled) for labelled in generate(_demo(seed=8))]

    for name in ("transaction_id", "card_id", "user_id", "merchant", "device_id"):
        mine, theirs = ({getattr(row, name) for row in rows} - {None} for rows in (transactions, other))
        assert mine.isdisjoint(theirs), name


def test_the_same_seed_at_another_time_shares_no_transaction_id(world: list[Labelled]) -> None:
    later = generate(_demo(start_ms=_demo().start_ms + 1000, end_ms=_END_MS + 1000))

    assert {labelled.transaction_id for labelled in later}.isdisjoint(labelled.transaction_id for labelled in world)


def test_every_body_is_a_transaction_that_its_producer_described_truly(
    world: list[Labelled], transactions: list[Transaction]
) -> None:
    described = [(labelled.transaction_id, labelled.occurred_at_ms) for labelled in world]

    assert [(row.transaction_id, row.occurred_at_ms) for row in transactions] == described
    assert all(row.metadata is None for row in transactions)


def test_event_time_never_runs_backwards_nor_out_of_the_span(world: list[Labelled]) -> None:
    times = [labelled.occurred_at_ms for labelled in world]

    assert times == sorted(times)
    assert _demo().start_ms <= times[0]
    assert times[-1] < _END_MS


@pytest.mark.parametrize("transactions", [1, 30, 999, 6_000])
def test_a_world_has_exactly_as_many_transactions_as_planned(transactions: int) -> None:
    world = list(generate(_demo(transactions=transactions)))

    assert len(world) == len({labelled.transaction_id for labelled in world}) == transactions


def test_fraud_is_as_frequent_as_planned_and_every_attack_occurs(world: list[Labelled]) -> None:
    frauds = Counter(labelled.scenario for labelled in world if labelled.fraud)

    assert sum(frauds.values()) == pytest.approx(6_000 * _demo().fraud_rate, abs=len(ATTACKS))
    assert set(frauds) == {*map(str, ATTACKS)}


def test_one_attack_alone_can_be_asked_for() -> None:
    world = generate(_demo(mix={"mule": 1.0}, fraud_rate=0.02))

    assert {labelled.scenario for labelled in world if labelled.fraud} == {"mule"}


def test_the_truth_is_not_in_the_body(world: list[Labelled]) -> None:
    words = re.compile("|".join(["fraud", "label", "scenario", *map(str, Scenario)]).encode())

    found = {match[0] for labelled in world for match in words.finditer(labelled.body) if match[0] != b"travel"}

    assert found == set()  # travel is also a kind of merchant


def test_fraud_cannot_be_told_from_the_fields_that_are_present(transactions: list[Transaction], world: list[Labelled]) -> None:
    shapes: dict[tuple[str, ...], Counter[bool | None]] = {}

    for row, labelled in zip(transactions, world, strict=True):
        present = tuple(name for name in row.__struct_fields__ if getattr(row, name) is not None)
        shapes.setdefault(present, Counter())[labelled.fraud] += 1

    assert all(counts[True] < 0.2 * counts.total() for counts in shapes.values())


def test_no_body_holds_what_could_be_a_card_number(world: list[Labelled]) -> None:
    assert not [labelled.body for labelled in world if has_card_number(labelled.body.decode())]


def test_label_noise_hides_frauds_and_accuses_the_honest() -> None:
    noisy = list(generate(_demo(missed_share=0.3, false_report_rate=0.01)))
    attacks = {*map(str, ATTACKS)}

    missed = sum(not labelled.fraud for labelled in noisy if labelled.scenario in attacks)
    accused = sum(bool(labelled.fraud) for labelled in noisy if labelled.scenario not in attacks)

    assert missed == pytest.approx(0.3 * 6_000 * 0.015, rel=0.5)
    assert accused == pytest.approx(0.01 * 6_000, rel=0.5)


def test_local_currencies_follow_the_country() -> None:
    pairs = {(row.country, row.currency) for row in map(_read, generate(_demo(local_currencies=True)))}

    assert {("US", "USD"), ("DE", "EUR"), ("JP", "JPY"), ("GB", "GBP")} <= pairs
    assert len(pairs) == len({country for country, _ in pairs})


def test_a_big_merchant_takes_its_share() -> None:
    merchants = Counter(row.merchant for row in map(_read, generate(_demo(big_merchant_share=0.3))) if row.merchant)

    assert merchants.most_common(1)[0][1] == pytest.approx(0.3 * 6_000, rel=0.2)


def test_people_pay_less_at_night_than_by_day() -> None:
    hours = Counter(_local_hour(row) for row in map(_read, generate(_demo(lookalike_share=0.0, fraud_rate=0.0))))

    night, day = sum(hours[hour] for hour in range(1, 5)), sum(hours[hour] for hour in range(12, 16))

    assert night < 0.3 * day


def _local_hour(row: Transaction) -> int:
    """
    Return the hour by the sun, which is near enough to the clock.
    """
    assert row.longitude is not None
    return int((row.occurred_at_ms / 3_600_000 + row.longitude / 15) % 24)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"seed": -1}, "seed"),
        ({"end_ms": 0}, "end_ms"),
        ({"transactions": 0}, "transactions"),
        ({"users": 3}, "users"),
        ({"merchants": 3}, "merchants"),
        ({"fraud_rate": 0.9}, "fraud_rate"),
        ({"mix": {"phishing": 1.0}}, "phishing"),
        ({"mix": {"mule": 0.0}}, "mix"),
        ({"card_testing": CardTesting(spacing_s=0)}, "card_testing.spacing_s"),
        ({"card_testing": CardTesting(spent_share=1.5)}, "card_testing.spent_share"),
    ],
)
def test_a_plan_that_no_world_can_follow_is_refused_by_name(changes: dict[str, object], word: str) -> None:
    with pytest.raises(InvalidSettings, match=re.escape(word)):
        msgspec.structs.replace(_demo(), **changes)


def test_all_problems_of_a_plan_are_named_at_once() -> None:
    with pytest.raises(InvalidSettings) as refusal:
        _demo(seed=-1, transactions=0)

    assert "seed" in str(refusal.value)
    assert "transactions" in str(refusal.value)


def test_the_demo_differs_from_training_in_every_attack() -> None:
    demo, training = demo_plan(1, end_ms=_END_MS), training_plan(1)

    names = ("card_testing", "account_takeover", "merchant_compromise", "mule", "impossible_travel", "quiet", "mix")
    assert all(getattr(demo, name) != getattr(training, name) for name in names)


def test_the_demo_spans_fourteen_days_that_end_when_told() -> None:
    demo = demo_plan(1, end_ms=_END_MS)

    assert (demo.end_ms, demo.end_ms - demo.start_ms) == (_END_MS, 14 * DAY_MS)


def test_bodies_are_written_only_as_they_are_asked_for() -> None:
    few = list(itertools.islice(generate(_demo()), 3))

    assert [labelled.transaction_id for labelled in few] == [f"txn_{few[0].transaction_id.split('_')[1]}_{n}" for n in range(3)]
