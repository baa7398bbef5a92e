"""
How a decision on record is shown: masked, unless somebody may see it.
"""

from typing import Any

import msgspec

from fraudstream.adapters.postgres_rows import COLUMNS, row_of
from fraudstream.domain.decision import Decision
from fraudstream.telemetry.redact import redact_value

#: Numbers, times and hashes of our own: digits in them are no card, and a hash that was masked finds nothing again.
_OUR_NAMES = (
    "amount_minor currency occurred_at occurred_at_ms latitude longitude balance_before_minor balance_after_minor "
    "counterparty_balance_before_minor counterparty_balance_after_minor schema outcome score probability points degraded "
    "feature_set vector rule_set lists model received_at decided_at"
)
_OURS = frozenset(_OUR_NAMES.split())


def shown_decision(decision: Decision, *, unmask: bool = False) -> dict[str, Any]:
    """
    Return a decision as JSON for people, in the form of the wire; personal data masked unless told otherwise.
    """
    whole: dict[str, Any] = msgspec.to_builtins(decision)
    if unmask:
        return {**whole, "masked": False}
    paid = {name: masked_value(name, value) for name, value in whole.pop("transaction").items()}
    return {"transaction": paid, **{name: masked_value(name, value) for name, value in whole.items()}, "masked": True}


def shown_row(decision: Decision, *, unmask: bool = False) -> dict[str, Any]:
    """
    Return a decision as a row of view ``decisions``; lists and objects are JSON text.
    """
    row: dict[str, Any] = dict(zip(COLUMNS, row_of(decision), strict=False))
    row["degraded"] = msgspec.json.encode(decision.degraded).decode()
    row["outcome"] = decision.outcome.value
    if unmask:
        return row
    for name in ("metadata", "reasons", "rule_hits"):
        if row[name] is not None:
            row[name] = msgspec.json.encode(redact_value(name, msgspec.json.decode(row[name]))).decode()
    texts = [name for name, value in row.items() if isinstance(value, str) and name not in _OURS]
    return {
        **row,
        **{name: masked_value(name, row[name]) for name in texts if name not in ("metadata", "reasons", "rule_hits")},
    }


def masked_value(name: str, value: Any) -> Any:
    """
    Return the value of one field of a decision for people.
    """
    return value if name in _OURS or value is None else redact_value(name, value)
