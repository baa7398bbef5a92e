"""
Between a decision and its row: the same fields, transaction and decision side by side.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.evidence import Fallback, Reason, RuleHit
from fraudstream.domain.transaction import Transaction

#: Columns of view ``decisions`` in the order of ``row_of``. ``occurred_at`` is the transaction's ``occurred_at_ms``.
COLUMNS = (
    "transaction_id",
    "amount_minor",
    "currency",
    "occurred_at",
    "user_id",
    "card_id",
    "merchant",
    "merchant_category",
    "device_id",
    "ip",
    "email",
    "country",
    "latitude",
    "longitude",
    "channel",
    "type",
    "counterparty_id",
    "balance_before_minor",
    "balance_after_minor",
    "counterparty_balance_before_minor",
    "counterparty_balance_after_minor",
    "metadata",
    "schema",
    "outcome",
    "score",
    "probability",
    "points",
    "reasons",
    "rule_hits",
    "degraded",
    "feature_set",
    "vector",
    "rule_set",
    "lists",
    "model",
    "received_at",
    "decided_at",
)
#: Columns of ``rule_shadow_hits``, in the order of ``shadow_rows_of``.
SHADOW_COLUMNS = ("transaction_id", "rule_id", "rule_set", "hit", "decided_at")

_encoder = msgspec.json.Encoder()
_any_decoder: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_lists_decoder = msgspec.json.Decoder(dict[str, str])
_reasons_decoder = msgspec.json.Decoder(tuple[Reason, ...])
_hits_decoder = msgspec.json.Decoder(tuple[RuleHit, ...])
_hit_decoder = msgspec.json.Decoder(RuleHit)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def row_of(decision: Decision) -> tuple[object, ...]:
    """
    Return the values of ``COLUMNS``; an empty collection is a NULL.
    """
    paid = decision.transaction
    return (
        paid.transaction_id,
        paid.amount_minor,
        paid.currency,
        decision.occurred_at,
        paid.user_id,
        paid.card_id,
        paid.merchant,
        paid.merchant_category,
        paid.device_id,
        paid.ip,
        paid.email,
        paid.country,
        paid.latitude,
        paid.longitude,
        paid.channel,
        paid.type,
        paid.counterparty_id,
        paid.balance_before_minor,
        paid.balance_after_minor,
        paid.counterparty_balance_before_minor,
        paid.counterparty_balance_after_minor,
        _json(paid.metadata),
        decision.schema,
        decision.outcome,
        decision.score,
        decision.probability,
        decision.points,
        _json(decision.reasons),
        _json(decision.rule_hits),
        decision.degraded,
        decision.feature_set,
        decision.vector,
        decision.rule_set,
        _json(decision.lists),
        decision.model,
        decision.received_at,
        decision.decided_at,
    )


def shadow_rows_of(decision: Decision) -> list[tuple[object, ...]]:
    """
    Return what rules in shadow would have done, as rows of a table of their own.
    """
    return [
        (
            decision.transaction.transaction_id,
            hit.rule_id,
            decision.rule_set,
            _encoder.encode(hit).decode(),
            decision.decided_at,
        )
        for hit in decision.shadow_hits
    ]


def _json(value: object) -> str | None:
    return _encoder.encode(value).decode() if value else None


def decision_of(row: Mapping[str, Any], shadow_hits: tuple[str, ...] = ()) -> Decision:
    """
    Return the decision that a row of view ``decisions`` was made from.

    Args:
        row: Values by column name.
        shadow_hits: JSON of each shadow hit of the transaction.
    """
    paid = {name: row[name] for name in Transaction.__struct_fields__ if name in row.keys() and name != "metadata"}  # noqa: SIM118 a Record iterates over values
    kept = ("schema", "score", "probability", "points", "feature_set", "vector", "rule_set", "model")
    return Decision(
        transaction=Transaction(
            **paid,
            occurred_at_ms=(row["occurred_at"] - _EPOCH) // timedelta(milliseconds=1),
            metadata=None if row["metadata"] is None else _any_decoder.decode(row["metadata"]),
        ),
        **{name: row[name] for name in kept},
        outcome=Outcome(row["outcome"]),
        reasons=_reasons_decoder.decode(row["reasons"] or b"[]"),
        rule_hits=_hits_decoder.decode(row["rule_hits"] or b"[]"),
        shadow_hits=tuple(map(_hit_decoder.decode, shadow_hits)),
        degraded=tuple(map(Fallback, row["degraded"])),
        lists=_lists_decoder.decode(row["lists"] or b"{}"),
        occurred_at=row["occurred_at"],
        received_at=row["received_at"],
        decided_at=row["decided_at"],
    )
