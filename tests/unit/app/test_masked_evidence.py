"""
What leaves through ``dlq`` and ``decisions``: no card number, e-mail address or phone number, wherever a producer put it.
"""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.adapters.redis_letters import StoredLetter
from fraudstream.app.decision_text import shown_decision, shown_row
from fraudstream.app.letter_text import closed_letter, shown_letter
from fraudstream.domain.decision import Outcome
from fraudstream.domain.evidence import Action, Reason, RuleHit
from fraudstream.domain.transaction import Transaction
from tests.support.builders import a_decision, a_transaction

CARD, EMAIL, PHONE = "4111111111111111", "jane.doe@example.com", "+33 6 12 34 56 78"
SECRETS = st.sampled_from([CARD, "4111 1111 1111 1111", EMAIL, PHONE, f"{EMAIL} {PHONE}", f"call {PHONE}", "harmless"])
VALUES = st.recursive(
    SECRETS | st.integers() | st.just(int(CARD)) | st.none() | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(SECRETS | st.sampled_from(["note", "email"]), inner, max_size=3)
    ),
    max_leaves=10,
)
TEXT_FIELDS = [name for name in Transaction.__struct_fields__ if msgspec.structs.asdict(a_transaction()).get(name) is not None]
TEXT_FIELDS = [name for name in TEXT_FIELDS if isinstance(getattr(a_transaction(), name), str) and name != "currency"]


def leaks(value: Any) -> list[str]:
    """
    Return what can be read in a value that must not be.
    """
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, default=lambda one: one.hex() if isinstance(one, bytes) else str(one))
    )
    return [secret for secret in (CARD, "1111 1111 1111", "jane.doe", "12 34 56") if secret in text]


def a_letter(fields: dict[bytes, bytes], **changes: Any) -> StoredLetter:
    values: dict[str, Any] = {
        "letter_id": "1768478400000-0", "source": "transactions:raw", "entry_id": "1768478399999-0", "group": "fraud-check",
        "consumer": "c:1", "deliveries": 1, "reason": "schema_invalid", "error": "", "fields": fields,
    }  # fmt: skip
    return StoredLetter(**{**values, **changes})


@given(VALUES, SECRETS, SECRETS, st.integers(0, 400))
def test_no_letter_shows_personal_data(value: object, name: str, error: str, cut: int) -> None:
    body = json.dumps({"transaction_id": name, "payload": value}).encode()
    fields = {b"data": body[: -cut or None], name.encode(): name.encode(), b"trace": error.encode() + b"\xff"}

    letter = a_letter(fields, error=error)

    assert leaks(shown_letter(letter)) == []
    assert leaks(msgspec.to_builtins(closed_letter(letter, "open"))) == []


@given(VALUES, SECRETS)
def test_no_letter_of_a_decision_shows_personal_data(value: Any, secret: str) -> None:
    decision = a_decision(a_transaction(transaction_id=secret, merchant=secret, metadata={"any": value}))

    letter = a_letter({secret.encode(): msgspec.json.encode(decision)}, source="transactions:decisions")

    assert leaks(shown_letter(letter)) == []


@given(st.sampled_from(TEXT_FIELDS), SECRETS, VALUES)
def test_no_decision_shows_personal_data(name: str, secret: str, value: Any) -> None:
    paid = a_transaction(**{"metadata": {"any": value, secret: secret}, name: secret})
    hit = RuleHit(rule_id="r", action=Action.BLOCK, reason=secret, explanation=f"x ['{secret}']", tags=(secret,))
    reason = Reason(code="r", text=f"because of {secret}")
    decision = a_decision(paid, outcome=Outcome.BLOCK, rule_hits=(hit,), shadow_hits=(hit,), reasons=(reason,))

    assert leaks(shown_decision(decision)) == []
    assert leaks(shown_row(decision)) == []


@given(st.binary(min_size=8, max_size=400), st.integers(0, 10**12), st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
def test_hashes_vectors_and_amounts_are_never_touched(vector: bytes, amount_minor: int, sha: str) -> None:
    """
    One hash in a hundred holds digits that pass for a card: masked, it would find no rule set and no model again.
    """
    decision = a_decision(
        a_transaction(amount_minor=amount_minor, balance_after_minor=amount_minor), vector=vector, rule_set=sha, model=sha,
        lists={"blocked": sha},
    )  # fmt: skip
    whole = msgspec.to_builtins(decision)

    shown, row = shown_decision(decision), shown_row(decision)

    for name in ("vector", "rule_set", "model", "lists", "feature_set", "score", "occurred_at", "decided_at"):
        assert shown[name] == whole[name]
    assert shown["transaction"]["amount_minor"] == amount_minor
    assert (row["vector"], row["rule_set"], row["balance_after_minor"]) == (vector, sha, amount_minor)
    assert row["lists"] == msgspec.json.encode(decision.lists).decode()


@pytest.mark.parametrize("unmask", [True, False])
def test_a_letter_keeps_its_bytes_only_for_those_who_may_see_them(unmask: bool) -> None:
    letter = a_letter({b"data": b'{"email":"jane.doe@example.com"}\xff'})

    shown = shown_letter(letter, unmask=unmask)

    assert ("fields_base64" in shown) is unmask
    assert bool(leaks(shown)) is unmask
