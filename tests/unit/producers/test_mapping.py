import json
from pathlib import Path

import pytest

from fraudstream.domain.errors import InvalidSource
from fraudstream.domain.transaction_codec import _Wire
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.mapping import WIRE_FIELDS, load_mapping
from fraudstream.producers.translate import Translator

_BANK = """
[fields]
transaction_id = "id"
amount = { column = "cents", scale = 0.01 }
timestamp = { column = "hours", start = 2018-04-01T00:00:00Z, unit_s = 3600 }
currency = { constant = "EUR" }
card_id = { column = "pan", token = true }
user_id = { column = "customer", prefix = "user_" }
type = { column = "kind", words = { P = "payment", T = "transfer" } }
merchant = { column = "to", starting = "M" }

[truth]
column = "bad"
words = ["x"]
scenario = "how"
"""
_ROW = {
    "id": 7,
    "cents": "1250",
    "hours": 2,
    "pan": "4111 1111 1111 1111",
    "customer": 9,
    "kind": "P",
    "to": "C5",
    "bad": "X",
    "how": "mule",
}


def _mapping(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bank.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _translated(tmp_path: Path, **changes: object) -> Labelled:
    translator = Translator(load_mapping(_mapping(tmp_path, _BANK)), card_key=b"key")
    return translator.labelled({**_ROW, **changes}, 1)


def test_a_mapping_file_scales_counts_replaces_and_names(tmp_path: Path) -> None:
    body = json.loads(_translated(tmp_path).body)

    card = body.pop("card_id")
    assert body == {
        "transaction_id": "7",
        "amount": "12.50",
        "timestamp": 1522548000,
        "currency": "EUR",
        "user_id": "user_9",
        "type": "payment",
    }
    assert card.startswith("card_")


def test_a_value_that_does_not_start_as_told_is_absent(tmp_path: Path) -> None:
    with_merchant = json.loads(_translated(tmp_path, to="M5").body)

    assert with_merchant["merchant"] == "M5"


def test_the_truth_has_words_of_its_own(tmp_path: Path) -> None:
    guilty, innocent = _translated(tmp_path), _translated(tmp_path, bad="no")

    assert (guilty.fraud, guilty.scenario, innocent.fraud) == (True, "mule", False)


def test_a_token_needs_a_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="card_id"):
        Translator(load_mapping(_mapping(tmp_path, _BANK)))


def test_all_problems_of_a_mapping_are_named_at_once(tmp_path: Path) -> None:
    text = """
        [fields]
        colour = "c"
        amount = {}
        currency = { column = "c", scale = 2 }
        user_id = { column = "u", assume_utc = true }
    """

    with pytest.raises(InvalidSource) as refusal:
        load_mapping(_mapping(tmp_path, text))

    said = str(refusal.value)
    for problem in ("'transaction_id' is missing", "'timestamp' is missing", "'colour' is no field", "'amount' needs one of"):
        assert problem in said
    assert "'currency' is no number" in said
    assert "'user_id' is no time" in said


@pytest.mark.parametrize(
    "text",
    [
        "[fields",
        "[fields]\namount = { colum = 'x' }",
        "fields = 3",
        '[fields]\ntransaction_id="i"\namount="a"\ntimestamp = { column = "t", start = 2018-04-01T00:00:00 }',
        '[fields]\ntransaction_id="i"\namount="a"\ntimestamp = { column = "t", unit_s = 0 }',
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSource, match=r"bank\.toml"):
        load_mapping(_mapping(tmp_path, text))


def test_the_fields_are_those_that_the_fleet_reads(tmp_path: Path) -> None:

    assert {*WIRE_FIELDS} == {*_Wire.__struct_fields__}
