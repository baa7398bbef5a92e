"""
What must never be kept (verification codes, PINs, tracks) is in no letter and in no transaction, wherever a producer put it.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.decision_codec import encode_decision
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.stages.intake import letter_for
from fraudstream.stages.recorder import Recorder
from tests.support.builders import NOW_MS, a_decision, a_delivery, a_transaction
from tests.support.stores import MemoryDecisionStore

CODE = "8642097531"
NAMES = st.sampled_from(["cvv", "CVC2", "card_pin", "pin_block", "track1", "Track 2", "security-code"])
CODES = (
    st.just(CODE) | st.just(int(CODE)) | st.just([CODE]) | st.just({"v": {"deep": [int(CODE)]}}) | st.just(f"{CODE} and more")
)
HOLDERS = st.dictionaries(NAMES, CODES, min_size=1, max_size=3)
PLAIN = st.integers(0, 999) | st.sampled_from(["x", "é", 'a"b\\', "{", ""]) | st.none() | st.booleans()
BODIES = st.recursive(
    HOLDERS,
    lambda inner: (
        st.lists(inner | PLAIN, max_size=3)
        | st.dictionaries(st.sampled_from(["note", "a b", "é", "n"]), inner | PLAIN, max_size=3)
    ),
    max_leaves=8,
)


@given(BODIES, st.booleans(), st.sampled_from(["schema_invalid", "decode_error"]))
def test_no_letter_of_a_payment_keeps_one(value: Any, ascii_only: bool, reason: str) -> None:
    body = json.dumps({"transaction_id": "t", "payload": value, "last": 1}, ensure_ascii=ascii_only).encode()

    letter = letter_for(a_delivery({b"data": body, b"cvv": CODE.encode()}), reason, "why")

    assert CODE not in str(letter.fields)
    kept = json.loads(letter.fields[b"data"])
    assert (kept["transaction_id"], kept["last"]) == ("t", 1), "the rest of it is as it was, and JSON"


@given(HOLDERS, st.integers(1, 30))
def test_no_letter_of_what_is_no_json_keeps_one(value: dict[str, Any], cut: int) -> None:
    body = json.dumps(dict.fromkeys(value, CODE)).encode()[:-1] + b", " * cut

    letter = letter_for(a_delivery({b"data": body}), "decode_error", "why")

    assert CODE not in str(letter.fields)


@given(BODIES)
def test_no_transaction_keeps_one(value: Any) -> None:
    body = json.dumps(
        {"transaction_id": "t", "amount": 1, "timestamp": NOW_MS, "metadata": {"any": value}, "extra": value}
    ).encode()

    paid = parse_transaction(body, now_ms=NOW_MS, default_currency="USD")

    assert CODE not in str(paid)


@given(BODIES)
async def test_no_letter_of_a_decision_keeps_one(value: Any) -> None:
    store = MemoryDecisionStore()
    store.poison["t"] = "refused"
    decision = a_decision(a_transaction(transaction_id="t", metadata={"any": value}))

    handled = await Recorder(store).work([a_delivery({b"t": encode_decision(decision)})])

    (letter,) = handled.letters
    assert CODE not in str(letter.fields)
