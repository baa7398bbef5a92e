import msgspec
import pytest

from fraudstream.domain.decision import Label
from fraudstream.domain.errors import DecisionStoreUnavailable
from fraudstream.fleet.ports import Delivery
from fraudstream.stages.labels import Labels
from tests.support.builders import a_delivery, a_label
from tests.support.stores import MemoryDecisionStore


def a_delivery_of(label: Label) -> Delivery:
    return a_delivery({b"data": msgspec.json.encode(label)})


@pytest.fixture
def store() -> MemoryDecisionStore:
    return MemoryDecisionStore()


async def test_labels_are_recorded(store: MemoryDecisionStore) -> None:
    labels = [a_label(), a_label()]
    batch = [a_delivery_of(label) for label in labels]

    handled = await Labels(store).work(batch)

    assert list(store.labels.values()) == labels
    assert (list(handled.done), list(handled.letters)) == ([delivery.entry_id for delivery in batch], [])


async def test_a_second_delivery_records_nothing_and_is_done(store: MemoryDecisionStore) -> None:
    delivery = a_delivery_of(a_label())
    await Labels(store).work([delivery])

    handled = await Labels(store).work([delivery, delivery])

    assert len(store.labels) == 1
    assert (set(handled.done), list(handled.letters)) == ({delivery.entry_id}, [])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "schema_invalid"),
        ({b"data": b"{}"}, "schema_invalid"),
        ({b"data": b"{"}, "decode_error"),
        ({b"data": msgspec.json.encode(a_label(label_id=""))}, "schema_invalid"),
    ],
)
async def test_what_is_no_label_leaves_a_letter_and_its_neighbours_are_recorded(
    store: MemoryDecisionStore, fields: dict[bytes, bytes], reason: str
) -> None:
    bad, good = a_delivery(fields), a_label()

    handled = await Labels(store).work([bad, a_delivery_of(good)])

    assert list(store.labels.values()) == [good]
    assert [(letter.entry_id, letter.reason) for letter in handled.letters] == [(bad.entry_id, reason)]
    assert len(handled.done) == 2


async def test_a_refused_label_leaves_a_letter(store: MemoryDecisionStore) -> None:
    label = a_label()
    store.poison[label.label_id] = "22P05: no such character"
    delivery = a_delivery_of(label)

    handled = await Labels(store).work([delivery])

    (letter,) = handled.letters
    assert (letter.entry_id, letter.reason, letter.error) == (delivery.entry_id, "sink_rejected", "22P05: no such character")
    assert list(handled.done) == [delivery.entry_id]


async def test_while_the_store_is_away_nothing_is_done(store: MemoryDecisionStore) -> None:
    store.away = True

    with pytest.raises(DecisionStoreUnavailable):
        await Labels(store).work([a_delivery_of(a_label())])


async def test_giving_up_leaves_a_letter(store: MemoryDecisionStore) -> None:
    delivery = a_delivery_of(a_label())

    handled = await Labels(store).give_up(delivery, "ended")

    assert [(letter.reason, letter.error) for letter in handled.letters] == [("max_retries", "ended")]
    assert list(handled.done) == [delivery.entry_id]
