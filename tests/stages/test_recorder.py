import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.decision_codec import decode_decision, encode_decision
from fraudstream.domain.errors import DecisionStoreUnavailable
from fraudstream.domain.limits import MAX_BODY_BYTES
from fraudstream.fleet.ports import Delivery, Letter
from fraudstream.stages.recorder import MAX_AT_ONCE, Recorder
from tests.support.builders import a_decision, a_delivery, a_delivery_of, a_transaction
from tests.support.stores import MemoryDecisionStore

PAN = "4111111111111111"


def ids(decisions: list[Decision]) -> set[str]:
    return {each.transaction.transaction_id for each in decisions}


@pytest.fixture
def store() -> MemoryDecisionStore:
    return MemoryDecisionStore()


@pytest.fixture
async def postgres_store(database: str) -> AsyncIterator[PostgresDecisionStore]:
    store = PostgresDecisionStore(database)
    yield store
    await store.close()


async def test_every_decision_of_every_entry_is_recorded(store: MemoryDecisionStore) -> None:
    decisions = [a_decision() for _ in range(7)]
    batch = [a_delivery_of(decisions[:4]), a_delivery_of(decisions[4:])]

    handled = await Recorder(store).work(batch)

    assert list(store.decisions.values()) == decisions
    assert list(handled.done) == [delivery.entry_id for delivery in batch]
    assert not handled.letters


async def test_a_second_delivery_records_nothing_and_is_done(store: MemoryDecisionStore) -> None:
    delivery = a_delivery_of([a_decision()])
    await Recorder(store).work([delivery])
    before = dict(store.decisions)

    handled = await Recorder(store).work([msgspec.structs.replace(delivery, deliveries=2)])

    assert store.decisions == before
    assert (list(handled.done), list(handled.letters)) == ([delivery.entry_id], [])


async def test_a_refused_decision_leaves_a_letter_with_itself_alone(store: MemoryDecisionStore) -> None:
    decisions = [a_decision() for _ in range(3)]
    bad = decisions[1].transaction.transaction_id
    store.poison[bad] = "22003: out of range"
    delivery = a_delivery_of(decisions)

    handled = await Recorder(store).work([delivery])

    assert ids(list(store.decisions.values())) == ids(decisions) - {bad}
    assert list(handled.done) == [delivery.entry_id]
    (letter,) = handled.letters
    assert (letter.entry_id, letter.part, letter.reason, letter.error) == (
        delivery.entry_id,
        bad,
        "sink_rejected",
        "22003: out of range",
    )
    assert list(letter.fields) == [bad.encode()]
    assert decode_decision(letter.fields[bad.encode()]) == decisions[1]


BROKEN = {
    b"{": "decode_error",
    b'{"schema": "fraudstream.decision/1"}': "schema_invalid",
    b"\xff\xfe": "decode_error",
    b"[" * 100_000: "schema_invalid",
    encode_decision(a_decision(a_transaction(transaction_id="broken"), schema="fraudstream.decision/2")): "schema_invalid",
    encode_decision(a_decision(a_transaction(transaction_id="other"))): "schema_invalid",
    encode_decision(a_decision(a_transaction(transaction_id="broken"))).replace(b"00Z", b"00"): "schema_invalid",
}


@pytest.mark.parametrize(("body", "reason"), BROKEN.items(), ids=range(len(BROKEN)))
async def test_what_is_no_decision_leaves_a_letter_and_its_neighbours_are_recorded(
    store: MemoryDecisionStore, body: bytes, reason: str
) -> None:
    good = a_decision()
    name = good.transaction.transaction_id.encode()
    delivery = a_delivery({b"broken": body, name: encode_decision(good)})

    handled = await Recorder(store).work([delivery])

    assert list(store.decisions.values()) == [good]
    assert list(handled.done) == [delivery.entry_id]
    assert [(letter.part, letter.reason) for letter in handled.letters] == [("broken", reason)]


async def test_while_the_store_is_away_nothing_is_done_and_nothing_is_dead(store: MemoryDecisionStore) -> None:
    store.away = True

    with pytest.raises(DecisionStoreUnavailable):
        await Recorder(store).work([a_delivery_of([a_decision()]), a_delivery({b"broken": b"{"})])


async def test_a_batch_larger_than_one_transaction_is_recorded_whole(store: MemoryDecisionStore) -> None:
    decision = a_decision()
    count = MAX_AT_ONCE + 7
    decisions = [
        msgspec.structs.replace(
            decision, transaction=msgspec.structs.replace(decision.transaction, transaction_id=f"many_{number}")
        )
        for number in range(count)
    ]

    await Recorder(store).work([a_delivery_of(decisions)])

    assert len(store.decisions) == count


def _letter_text(letter: Letter) -> bytes:
    return b"|".join((letter.part.encode(), letter.error.encode(), *letter.fields, *letter.fields.values()))


@pytest.mark.parametrize(
    "fields",
    [
        {b"t": b'{"card": "%s"' % PAN.encode()},
        {b"t": json.dumps({"a": [{"b": f"paid by {PAN}", PAN: int(PAN)}]}).encode()},
        {b"t": b"\xff" + PAN.encode()},
        {PAN.encode(): b"{}"},
        {f"id {PAN}".encode(): b"{}"},
        {b"t": encode_decision(a_decision(a_transaction(transaction_id="x", metadata={"model": PAN, "n": [int(PAN)]})))},
    ],
    ids=range(6),
)
async def test_no_clear_card_number_is_in_a_letter(store: MemoryDecisionStore, fields: dict[bytes, bytes]) -> None:
    worked = await Recorder(store).work([a_delivery(fields)])
    given_up = await Recorder(store).give_up(a_delivery(fields), "ended")

    assert worked.letters
    assert given_up.letters
    for letter in (*worked.letters, *given_up.letters):
        assert b"41111111" not in _letter_text(letter)
        assert b"[PAN" in _letter_text(letter)


async def test_the_letter_of_a_whole_decision_can_be_read_back_though_its_numbers_pass_for_cards(
    store: MemoryDecisionStore,
) -> None:
    at_ms = next(at for at in range(1_768_000_000_000, 1_768_000_001_000) if _passes_luhn(at))
    decision = a_decision(a_transaction(occurred_at_ms=at_ms, transaction_id="49927398716000000"))
    store.poison[decision.transaction.transaction_id] = "no"

    handled = await Recorder(store).work([a_delivery_of([decision])])

    (letter,) = handled.letters
    assert decode_decision(letter.fields[letter.part.encode()]) == decision


def _passes_luhn(number: int) -> bool:
    digits = [int(digit) for digit in str(number)][::-1]
    return sum(sum(divmod(digit * 2, 10)) if place % 2 else digit for place, digit in enumerate(digits)) % 10 == 0


async def test_two_names_that_are_masked_alike_leave_a_letter_each(store: MemoryDecisionStore) -> None:
    twin = next(number for number in range(4_000_000_000_001_111, 5_000_000_000_000_000, 10_000) if _passes_luhn(number))
    delivery = a_delivery({b"card %d" % number: b"{" for number in (int(PAN), twin)})

    handled = await Recorder(store).work([delivery])

    assert {name for letter in handled.letters for name in letter.fields} == {b"card [PAN *1111]"}
    assert len({letter.part for letter in handled.letters}) == 2


async def test_a_huge_broken_decision_keeps_its_first_64_kib(store: MemoryDecisionStore) -> None:
    handled = await Recorder(store).work([a_delivery({b"huge": b"x" * 10**6})])

    (letter,) = handled.letters
    assert len(letter.fields[b"huge"]) == MAX_BODY_BYTES


async def test_giving_up_leaves_a_letter_for_each_decision(store: MemoryDecisionStore) -> None:
    decisions = [a_decision(), a_decision(outcome=Outcome.BLOCK)]
    delivery = a_delivery_of(decisions)

    handled = await Recorder(store).give_up(delivery, "handed out 6 times without an end")

    assert list(handled.done) == [delivery.entry_id]
    assert {letter.part for letter in handled.letters} == ids(decisions)
    assert {letter.reason for letter in handled.letters} == {"max_retries"}
    assert [len(letter.fields) for letter in handled.letters] == [1, 1]


@pytest.mark.parametrize("fields", [None, {}])
async def test_giving_up_an_empty_entry_leaves_a_letter_all_the_same(
    store: MemoryDecisionStore, fields: dict[bytes, bytes] | None
) -> None:
    delivery = Delivery(entry_id=b"1-1", fields=fields, deliveries=6)

    handled = await Recorder(store).give_up(delivery, "ended")

    assert [letter.entry_id for letter in handled.letters] == [b"1-1"]
    assert list(handled.done) == [b"1-1"]


async def test_a_poison_row_among_2000_in_postgres_is_one_letter(postgres_store: PostgresDecisionStore) -> None:
    decisions = [a_decision() for _ in range(2_000)]
    decisions[77] = a_decision(a_transaction(amount_minor=2**63))
    batch = [a_delivery_of(decisions[start : start + 125]) for start in range(0, 2_000, 125)]

    handled = await Recorder(postgres_store).work(batch)
    again = await Recorder(postgres_store).work(batch)

    assert list(handled.done) == [delivery.entry_id for delivery in batch]
    assert [(letter.part, letter.reason) for letter in handled.letters] == [
        (decisions[77].transaction.transaction_id, "sink_rejected")
    ]
    assert again == handled
    assert await postgres_store.find(decisions[78].transaction.transaction_id) == decisions[78]
    assert await postgres_store.find(decisions[77].transaction.transaction_id) is None
