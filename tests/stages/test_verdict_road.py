"""
The road of both verdict groups, from entry to decision: over memory, and over a real server with its scripts.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from fraudstream.domain.decision import Outcome
from fraudstream.domain.evidence import Action, Fallback, ModelVerdict, RuleHit, RulesVerdict
from fraudstream.features.load import load_features
from fraudstream.fleet import crash
from fraudstream.fleet.ports import Delivery
from fraudstream.stages.ports import Answer, Completed, Completion, Place
from tests.support.roads import Worker, World, a_payment, both, poison
from tests.support.verdicts import MODEL, RULES, SMALL
from tests.support.wire import CARD

#: The same names and one feature more: another id, another vector.
LARGER = load_features(
    """
version 1
keep 8 records
entity card log
entity user log
entity merchant buckets 1m x 4, 1h x 3
feature amount_minor = amount
feature card_count_1h = count() by card_id over 1h
feature card_not_blocked_1h = count() by card_id over 1h where outcome != "block"
feature user_sum_1h = sum(amount) by user_id over 1h
feature merchant_count_3m = count() by merchant over 3m
feature card_count_2h = count() by card_id over 2h
""",
    name="larger.features",
)


def nothing_is_pending(world: World) -> bool:
    return not world.pending(RULES) and not world.pending(MODEL)


async def test_two_verdicts_become_one_decision(world: World) -> None:
    entries = world.add([a_payment("txn_1"), a_payment("txn_2", amount=3)])
    rules, model = both(world)

    await rules.work()
    await model.work()

    decisions = {one.transaction.transaction_id: one for one in world.decisions()}
    assert set(decisions) == {"txn_1", "txn_2"}
    assert decisions["txn_2"].transaction.amount_minor == 300
    assert decisions["txn_1"].degraded == ()
    assert (decisions["txn_1"].rule_set, decisions["txn_1"].model, decisions["txn_1"].probability) == ("r", "m", 0.25)
    assert decisions["txn_1"].feature_set == SMALL.id
    assert len(entries) == 2
    assert nothing_is_pending(world)


async def test_the_decision_knows_when_its_entry_was_added(world: World) -> None:
    (entry,) = world.add([a_payment()])
    rules, model = both(world)

    await rules.work()
    await model.work()

    (decision,) = world.decisions()
    assert int(decision.received_at.timestamp() * 1000) == int(entry.partition(b"-")[0])


async def test_the_second_group_judges_the_vector_of_the_first(world: World) -> None:
    world.add([a_payment("txn_1")])
    rules, model = both(world)
    await rules.work()
    world.add([a_payment(f"txn_{number}") for number in range(2, 6)])
    await rules.work()

    await model.work()

    assert model.judge.shown == rules.judge.shown
    assert {one.transaction.transaction_id: one.vector for one in world.decisions()} == dict(rules.judge.shown)


async def test_who_finds_out_late_that_another_was_first_judges_again_on_its_vector(world: World) -> None:
    """
    Both had touched before either was done, and the merchant's ring had moved on in between.
    """
    world.add([a_payment("txn_1")])
    rules, model = both(world)
    early = await model.read()
    await rules.work()
    world.add([a_payment("txn_2")])
    await rules.work()
    blinded = _blind(model)

    await blinded.road.work(early)

    shown = [vector for identity, vector in model.judge.shown if identity == "txn_1"]
    assert len(shown) == 2
    assert shown[0] != shown[1]
    assert shown[1] == dict(rules.judge.shown)["txn_1"]
    assert [one.vector for one in world.decisions()] == [shown[1]]


def _blind(worker: Worker) -> Worker:
    """
    Let a worker's touch answer as if it had come before the other group's first verdict.
    """
    touch = worker.entities.touch

    async def early(entry_ids, transactions, records):  # type: ignore[no-untyped-def]
        touched = await touch(entry_ids, transactions, records)
        return msgspec.structs.replace(touched, places=[Place.AGAIN] * len(touched.places), others={})

    worker.entities.touch = early  # type: ignore[method-assign]
    return worker


async def test_a_vector_of_other_features_is_kept_and_judged_by_nobody_else(world: World) -> None:
    world.add([a_payment()])
    old, new = Worker(world, RULES), Worker(world, MODEL, features=LARGER)

    await old.work()
    await new.work()

    (decision,) = world.decisions()
    assert decision.degraded == (Fallback.FEATURE_SET,)
    assert (decision.feature_set, decision.vector) == (SMALL.id, old.judge.shown[0][1])
    assert new.judge.shown == []


async def test_a_lost_record_is_touched_and_judged_again(world: World) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_2"), a_payment("txn_3")])
    rules, model = both(world)
    batch = await rules.read()
    complete = rules.ledger.complete
    forgotten: list[str] = []

    async def after_a_failover(completions: Sequence[Completion]) -> Completed:
        if not forgotten:
            for identity in ("txn_1", "txn_3"):
                world.forget(identity)
                forgotten.append(identity)
        return await complete(completions)

    rules.ledger.complete = after_a_failover  # type: ignore[method-assign]

    await rules.road.work(batch)
    await model.work()

    assert rules.report.answers.count(Answer.ABSENT) == 2
    assert sorted(one.transaction.transaction_id for one in world.decisions()) == ["txn_1", "txn_2", "txn_3"]
    assert nothing_is_pending(world)


async def test_records_lost_in_different_rounds_are_completed_in_the_order_of_their_entries(world: World) -> None:
    """
    Out of order the script's range over our pending entries was empty: it answered that nothing was ours, and the decisions
    waited until the entries were swept up as stranded.
    """
    world.add([a_payment(f"txn_{number}") for number in range(1, 4)])
    rules, model = both(world)
    model_batch = await model.read()
    await rules.read(1)
    await rules.road.work([Delivery(entry_id=model_batch[0].entry_id, fields=model_batch[0].fields)])
    blinded = _blind(model)
    complete = model.ledger.complete
    rounds: list[int] = []

    async def losing(completions: Sequence[Completion]) -> Completed:
        rounds.append(len(completions))
        if len(rounds) == 1:
            world.forget("txn_3")
        if len(rounds) == 2:
            world.forget("txn_1")
        return await complete(completions)

    blinded.ledger.complete = losing  # type: ignore[method-assign]

    await blinded.road.work(model_batch)

    assert rounds == [3, 1, 2]
    assert world.pending(MODEL) == set()


async def test_two_entries_of_one_transaction_in_one_batch_are_one_decision(world: World) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_1"), a_payment("txn_2")])
    rules, model = both(world)

    await rules.work()
    await model.work()

    assert sorted(one.transaction.transaction_id for one in world.decisions()) == ["txn_1", "txn_2"]
    assert rules.report.answers == [Answer.STORED, Answer.UNNEEDED, Answer.STORED]
    assert nothing_is_pending(world)


async def test_a_second_entry_after_the_decision_changes_nothing(world: World) -> None:
    world.add([a_payment("txn_1")])
    rules, model = both(world)
    await rules.work()
    await model.work()

    world.add([a_payment("txn_1", amount=999)])
    await rules.work()
    await model.work()

    assert [one.transaction.amount_minor for one in world.decisions()] == [1250]
    assert rules.report.places == [Place.FIRST, Place.DUPLICATE]
    assert nothing_is_pending(world)


async def test_work_done_twice_decides_once(world: World) -> None:
    world.add([a_payment()])
    rules, model = both(world)
    batches = [await rules.read(), await model.read()]

    for _ in range(2):
        for worker, batch in zip((rules, model), batches, strict=True):
            handled = await worker.road.work(batch)
            assert handled.settled == [batch[0].entry_id]

    assert len(world.decisions()) == 1


async def test_what_is_no_transaction_is_lettered_and_its_neighbours_are_decided(world: World) -> None:
    entries = world.add([a_payment("txn_1"), b"{", a_payment("txn_2", card_id=CARD), a_payment("txn_3")])
    rules, model = both(world)

    handled = await rules.road.work(await rules.read())
    await model.work()

    assert [(letter.entry_id, letter.reason) for letter in handled.letters] == [
        (entries[1], "decode_error"),
        (entries[2], "card_number"),
    ]
    assert handled.done == [entries[1], entries[2]]
    assert rules.report.reasons == ["decode_error", "card_number"]
    assert sorted(one.transaction.transaction_id for one in world.decisions()) == ["txn_1", "txn_3"]


async def test_a_batch_in_any_order_is_worked_in_the_order_of_its_entries(world: World) -> None:
    world.add([a_payment(f"txn_{number}") for number in range(5)])
    rules, model = both(world)

    await rules.road.work(list(reversed(await rules.read())))
    await model.work()

    counts = [np.frombuffer(vector, "<f4")[SMALL.names.index("card_count_1h")] for _, vector in rules.judge.shown]
    assert counts == [0, 1, 2, 3, 4]
    assert len(world.decisions()) == 5


async def test_who_lost_an_entry_drops_its_verdict(world: World) -> None:
    (entry,) = world.add([a_payment()])
    rules, model = both(world)
    batch = await rules.read()
    world.hand_over(RULES, entry, "heir")

    await rules.road.work(batch)
    await model.work()

    assert rules.report.answers == [Answer.GONE]
    assert world.decisions() == []
    assert world.pending(RULES) == {entry}


async def test_giving_up_leaves_a_letter_and_the_other_group_decides_without_us(world: World) -> None:
    (entry,) = world.add([a_payment()])
    rules, model = both(world)
    (delivery,) = await rules.read()

    handled = await rules.road.give_up(delivery, "ValueError('x')")
    await model.work()

    assert handled.settled == [entry]
    assert [(letter["entry_id"], letter["reason"]) for letter in world.letters()] == [(entry, b"max_retries")]
    assert world.letters()[0]["data"] == a_payment()
    (decision,) = world.decisions()
    assert (decision.degraded, decision.outcome) == ((Fallback.DEAD_LETTER,), Outcome.REVIEW)
    assert decision.vector == model.judge.shown[0][1]
    assert nothing_is_pending(world)


async def test_giving_up_after_the_other_group_emits_its_decision_at_once(world: World) -> None:
    world.add([a_payment()])
    rules, model = both(world)
    await model.work()
    (delivery,) = await rules.read()

    await rules.road.give_up(delivery, "ValueError('x')")

    (decision,) = world.decisions()
    assert (decision.degraded, decision.probability) == ((Fallback.DEAD_LETTER,), 0.25)
    assert decision.vector == model.judge.shown[0][1]


async def test_giving_up_twice_leaves_one_letter(world: World) -> None:
    world.add([a_payment()])
    rules, model = both(world)
    (delivery,) = await rules.read()
    (other,) = await model.read()

    await rules.road.give_up(delivery, "x")
    await rules.road.give_up(delivery, "x")
    await model.road.give_up(other, "y")

    assert len(world.letters()) == 1
    (decision,) = world.decisions()
    assert decision.degraded == (Fallback.DEAD_LETTER, Fallback.DEAD_LETTER)


async def test_a_poison_that_was_sent_twice_leaves_one_letter_though_its_first_end_was_cut_short(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add([a_payment(), a_payment()])
    rules, model = both(world)
    first, second = await rules.read()

    def dies(point: str) -> None:
        if point == "given_up":
            raise KeyboardInterrupt

    monkeypatch.setattr(crash, "_act", dies)
    with pytest.raises(KeyboardInterrupt):
        await rules.road.give_up(first, "x")
    monkeypatch.undo()
    await rules.road.give_up(second, "x")
    await rules.road.give_up(first, "x")
    await model.work()

    assert len(world.letters()) == 1
    assert len(world.decisions()) == 1
    assert nothing_is_pending(world)


async def test_giving_up_what_is_decided_leaves_no_letter(world: World) -> None:
    world.add([a_payment(), a_payment()])
    rules, model = both(world)
    first, second = await rules.read()
    await rules.road.work([first])
    await model.work()

    await rules.road.give_up(second, "x")

    assert world.letters() == []
    assert len(world.decisions()) == 1


async def test_giving_up_never_asks_the_judge_that_failed(world: World) -> None:
    """
    The other group's vector differed from ours, so the verdict was judged again, by the judge whose failure was the reason to
    give up: the entry came back for ever and its decision never came.
    """
    world.add([a_payment("txn_1")])
    rules, model = both(world)
    model.judge.say = poison
    (delivery,) = await model.read()
    await rules.work()
    world.add([a_payment("txn_2")])
    await rules.work()
    blinded = _blind(model)

    await blinded.road.give_up(delivery, "x")

    (decision,) = world.decisions()
    assert decision.degraded == (Fallback.DEAD_LETTER,)
    assert decision.vector == dict(rules.judge.shown)["txn_1"]
    assert decision.feature_set == SMALL.id


async def test_giving_up_works_where_the_features_are_what_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add([a_payment()])
    rules, model = both(world)
    (delivery,) = await rules.read()
    monkeypatch.setattr(rules.road, "_compute", lambda *_: poison(None))  # type: ignore[arg-type]

    await rules.road.give_up(delivery, "x")
    await model.work()

    (decision,) = world.decisions()
    assert rules.report.fallbacks == [("dead_letter", 1)]
    assert decision.degraded == (Fallback.DEAD_LETTER,)
    assert decision.vector == model.judge.shown[0][1] != b""


async def test_stepping_in_completes_what_is_judged_and_gives_back_the_rest(world: World) -> None:
    entries = world.add([a_payment("txn_1"), a_payment("txn_2"), b"{"])
    rules, model = both(world)
    first, second, broken = await rules.read()
    await rules.road.work([first])

    handled = await model.road.step_in(await model.read())

    (decision,) = world.decisions()
    assert decision.transaction.transaction_id == "txn_1"
    assert decision.degraded == (Fallback.MODEL_DEADLINE,)
    assert decision.vector == rules.judge.shown[0][1]
    assert handled.retry == {entries[1]: 0.0}
    assert handled.settled == [entries[0]]
    assert [letter.entry_id for letter in handled.letters] == handled.done == [entries[2]]
    assert model.judge.shown == []
    assert (second.entry_id, broken.entry_id) == (entries[1], entries[2])


async def test_stepping_in_after_the_group_came_back_changes_nothing(world: World) -> None:
    world.add([a_payment()])
    rules, model = both(world)
    stepper = Worker(world, MODEL, consumer="stepper")
    await rules.work()
    batch = await model.read()
    await model.road.work(batch)

    handled = await stepper.road.step_in(batch)

    assert [one.degraded for one in world.decisions()] == [()]
    assert handled.retry == {}
    assert handled.settled == [batch[0].entry_id]


async def test_stepping_in_for_the_rules_group_is_never_milder_than_review(world: World) -> None:
    world.add([a_payment()])
    rules, model = both(world)
    await model.work()

    await rules.road.step_in(await rules.read())

    (decision,) = world.decisions()
    assert (decision.degraded, decision.outcome) == ((Fallback.RULES_DEADLINE,), Outcome.REVIEW)


async def test_evidence_of_both_groups_stands_in_the_decision(world: World) -> None:
    hit = RuleHit(rule_id="stolen", action=Action.BLOCK, reason="stolen card")
    world.add([a_payment("txn_1"), a_payment("txn_2")])
    rules, model = both(world)
    rules.judge.say = lambda one: RulesVerdict(
        rule_set="r2", lists={"cards": "v1"}, hits=(hit,) if one.transaction_id == "txn_1" else (), shadow_hits=(hit,)
    )
    model.judge.say = lambda one: ModelVerdict(model="m2", score=0.99 if one.transaction_id == "txn_2" else 0.1)

    await model.work()
    await rules.work()

    first, second = sorted(world.decisions(), key=lambda one: one.transaction.transaction_id)
    assert (first.outcome, first.rule_hits, first.lists, first.model) == (Outcome.BLOCK, (hit,), {"cards": "v1"}, "m2")
    assert (second.outcome, second.rule_hits, second.shadow_hits) == (Outcome.BLOCK, (), (hit,))
    assert [one.transaction.transaction_id for one in rules.report.decisions] == ["txn_1", "txn_2"]
    assert model.report.decisions == []
