"""
The books must see every fault: an audit that is blind to one proves nothing.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fraudstream.adapters.postgres_books import Recorded, Row
from fraudstream.adapters.redis_books import Emitted, Letter
from fraudstream.chaos.absence import Absence
from fraudstream.chaos.books import Evidence, Findings, audit
from fraudstream.chaos.traffic import Item, Poison, traffic
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.features.kernel import compute, records
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.states import Standing

FEATURES = load_features((Path(__file__).parents[3] / "models" / "default.features").read_text())
NOW = datetime(2026, 5, 1, tzinfo=UTC)
FLAGGED = 3


def what_was_sent() -> dict[str, Item]:
    items = traffic(3, int(NOW.timestamp() * 1000), 120, Poison(undecodable=1, raises=1, kills=0, share=1.0, until=1.0))
    return {item.key: item for item in items}


def an_honest_run(**changes: Any) -> Evidence:
    sent = what_was_sent()
    decided = [item for item in sent.values() if item.kind in ("payment", "poison")]
    transactions = [parse_transaction(item.body, now_ms=2**62, default_currency="USD") for item in decided]
    prepared = records(FEATURES, transactions)
    store = MemoryEntityStore(FEATURES)
    store.touch(prepared)
    states = store.states(prepared)
    vectors = compute(FEATURES, transactions, prepared, [Standing.SEEN] * len(transactions), states)
    outcomes = ["block" if n < FLAGGED else "approve" for n in range(len(decided))]
    rows = [
        Row(item.key, outcome, False, FEATURES.id, vector.tobytes(), NOW, NOW)
        for item, outcome, vector in zip(decided, outcomes, vectors, strict=True)
    ]
    flagged = {row.transaction_id for row in rows if row.outcome != "approve"}
    poison = [item for item in sent.values() if item.kind in ("poison", "undecodable")]
    evidence = Evidence(
        features=FEATURES,
        sent=sent,
        attempts=Counter(sent.keys()),
        history=set(sent),
        rewritten=set(),
        without_model={},
        books=Recorded(
            {row.transaction_id: row.outcome for row in rows}, rows, {key for key, item in sent.items() if item.kind == "label"}
        ),
        emitted=Emitted(Counter(row.transaction_id for row in rows), Counter(flagged), flagged),
        letters=[Letter("transactions:raw", f"1-{n}", "test", {b"data": item.body}) for n, item in enumerate(poison)],
        alerts=Counter(flagged),
        logs=_keyed("log", {kind: one.id for kind, one in FEATURES.layouts.items()}, prepared.entities, states.logs),
        rings=_keyed("ring", dict.fromkeys(FEATURES.rings, FEATURES.ring_layout), prepared.entities, states.rings),
        deadline_on=True,
    )
    return msgspec.structs.replace(evidence, **changes)


def _keyed(kind: str, layouts: dict[str, str], entities: Any, states: Any) -> dict[str, bytes]:
    return {
        f"{kind}:{layouts[entity]}:{entity}:{one}": bytes(state)
        for entity, column in states.items()
        for one, state in zip(entities[entity], column, strict=True)
        if one is not None
    }


def wrong(found: Findings) -> dict[str, int]:
    figures = msgspec.to_builtins(found)
    told = ("counters_checked", "vectors_checked", "flagged", "degraded", "notes")
    return {name: value for name, value in figures.items() if value and name not in told}


def test_honest_books_balance_and_everything_was_looked_at() -> None:
    found = audit(an_honest_run())

    assert wrong(found) == {}
    assert found.vectors_checked == 121
    assert found.counters_checked > 100


def test_a_missing_row_is_lost() -> None:
    run = an_honest_run()
    books = Recorded(dict(list(run.books.ledger.items())[:-1]), run.books.rows[:-1], run.books.labels)

    assert wrong(audit(msgspec.structs.replace(run, books=books))) == {"lost": 1}


def test_a_row_in_both_tables_is_doubled() -> None:
    run = an_honest_run()
    books = Recorded(run.books.ledger, [*run.books.rows, run.books.rows[-1]], run.books.labels)

    assert wrong(audit(msgspec.structs.replace(run, books=books))) == {"doubled": 1}


def test_a_decision_that_was_emitted_twice_is_doubled_though_the_ledger_hid_it() -> None:
    run = an_honest_run()
    run.emitted.decisions[run.books.rows[-1].transaction_id] += 1

    assert wrong(audit(run)) == {"doubled": 1}


@pytest.mark.parametrize(("took_s", "back_s", "late"), [(2.0, 5.0, 0), (2.5, 5.0, 1), (2.0, 1.9, 1)])
def test_without_the_model_a_decision_is_late_after_its_time_or_after_the_models_return(
    took_s: float, back_s: float, late: int
) -> None:
    run = an_honest_run()
    last = msgspec.structs.replace(run.books.rows[-1], decided_at=NOW + timedelta(seconds=took_s))
    books = Recorded(run.books.ledger, [*run.books.rows[:-1], last], run.books.labels)
    absence = {last.transaction_id: Absence(back_at_s=NOW.timestamp() + back_s, allowed_s=2.25)}

    found = audit(msgspec.structs.replace(run, books=books, without_model=absence))

    assert wrong(found) == ({"late": late} if late else {})


def test_a_flagged_decision_without_a_fraud_entry_is_lost() -> None:
    run = an_honest_run()
    del run.emitted.frauds[next(iter(run.emitted.flagged))]

    assert wrong(audit(run)) == {"lost": 1}


def test_a_transaction_that_stands_twice_in_a_log_is_a_counter_error() -> None:
    run = an_honest_run()
    key, raw = next((key, raw) for key, raw in run.logs.items() if ":user:" in key)
    logs = {**run.logs, key: raw + raw[-FEATURES.layouts["user"].size :]}

    assert wrong(audit(msgspec.structs.replace(run, logs=logs)))["counter_errors"] == 1


def test_a_ring_that_counted_one_too_many_is_a_counter_error() -> None:
    run = an_honest_run()
    key, raw = next(iter(run.rings.items()))
    slots = np.frombuffer(bytearray(raw), dtype=[("bucket", "<u4"), ("count", "<u4"), ("frauds", "<u4"), ("sum", "<f8")])
    slots["count"][np.flatnonzero(slots["count"])[0]] += 1

    assert wrong(audit(msgspec.structs.replace(run, rings={**run.rings, key: slots.tobytes()}))) == {"counter_errors": 1}


def test_an_entity_that_nobody_of_ours_moved_is_a_counter_error() -> None:
    run = an_honest_run()
    logs = {**run.logs, f"log:{FEATURES.layouts['card'].id}:card:stranger": b"\0" * FEATURES.layouts["card"].size}

    assert wrong(audit(msgspec.structs.replace(run, logs=logs))) == {"counter_errors": 1}


def test_a_vector_that_is_not_that_of_the_log_is_found() -> None:
    run = an_honest_run()
    last = run.books.rows[-1]
    other = np.frombuffer(last.vector, "<f4").copy()
    other[0] += 1
    rows = [*run.books.rows[:-1], msgspec.structs.replace(last, vector=other.tobytes())]

    assert wrong(audit(msgspec.structs.replace(run, books=Recorded(run.books.ledger, rows, run.books.labels)))) == {
        "vector_errors": 1
    }


def test_a_letter_of_an_innocent_and_a_poison_without_one_are_told_apart() -> None:
    run = an_honest_run()
    innocent = next(item for item in run.sent.values() if item.kind == "payment")
    letters = [*run.letters[:-1], Letter("transactions:raw", "9-9", "max_retries", {b"data": innocent.body})]

    found = wrong(audit(msgspec.structs.replace(run, letters=letters)))

    assert found == {"dead_letter_innocents": 1, "dead_letter_missing": 1}


def test_two_letters_of_one_entry_are_one_too_many() -> None:
    run = an_honest_run()

    assert wrong(audit(msgspec.structs.replace(run, letters=[*run.letters, run.letters[0]])))["dead_letter_doubled"] >= 1


def test_a_flagged_transaction_that_nobody_was_told_of_is_missing_and_one_told_twice_is_counted() -> None:
    run = an_honest_run()
    first, second = sorted(run.emitted.flagged)[:2]
    alerts = {**run.alerts, second: 2}
    del alerts[first]

    assert wrong(audit(msgspec.structs.replace(run, alerts=alerts))) == {"alerts_missing": 1, "alerts_doubled": 1}


def test_a_label_that_is_not_stored_is_lost() -> None:
    run = an_honest_run()
    books = Recorded(run.books.ledger, run.books.rows, set(list(run.books.labels)[:-1]))

    assert wrong(audit(msgspec.structs.replace(run, books=books))) == {"labels_lost": 1}


def test_what_was_in_hand_when_a_history_was_lost_may_be_counted_once_and_not_twice() -> None:
    run = an_honest_run()
    old = next(item.key for item in run.sent.values() if item.kind == "payment")
    once = msgspec.structs.replace(run, history=run.history - {old}, rewritten={old})
    key, raw = next((key, raw) for key, raw in run.logs.items() if ":user:" in key and old in sent_by(run, key))

    twice = msgspec.structs.replace(once, logs={**run.logs, key: raw + raw[: FEATURES.layouts["user"].size]})

    assert wrong(audit(once)) == {}
    assert wrong(audit(twice))["counter_errors"] == 1


def sent_by(run: Evidence, key: str) -> list[str]:
    user = key.rsplit(":", 1)[1]
    return [item.key for item in run.sent.values() if item.kind == "payment" and f'"{user}"'.encode() in item.body]
