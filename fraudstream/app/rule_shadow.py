"""
Rules in shadow: what they have done, and whether that is enough to give them a say.
"""

from datetime import timedelta

import msgspec

from fraudstream.adapters.postgres_shadow import ShadowHit, ShadowRecord, shadow_records
from fraudstream.domain.errors import InvalidSettings, RuleSetRefused
from fraudstream.settings import Settings
from fraudstream.training.intervals import Share, wilson


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a rule must have shown in shadow: hits, days between the first and the last of them, and the share of labelled hits
    that were fraud.
    """

    hits: int = 20
    days: float = 0.0
    precision: float = 0.0


async def shadow_of(settings: Settings, rule_id: str | None, *, newest: int = 0) -> tuple[list[ShadowRecord], list[ShadowHit]]:
    """
    Return what rules have done in shadow; see ``shadow_records``.

    Raises:
        InvalidSettings: No database is named.
        DecisionStoreUnavailable: It does not answer.
    """
    if settings.postgres_url is None:
        raise InvalidSettings("hits of rules in shadow stand in the database; set POSTGRES_URL or give --postgres-url")
    return await shadow_records(settings.postgres_url, rule_id, newest=newest)


async def pass_gate(settings: Settings, rule_id: str, gate: Gate) -> ShadowRecord:
    """
    Return what a rule has shown in shadow, if that is enough.

    Raises:
        RuleSetRefused: It is not; the text says what is missing.
        InvalidSettings: No database is named.
        DecisionStoreUnavailable: It does not answer.
    """
    records, _ = await shadow_of(settings, rule_id)
    if not records:
        raise RuleSetRefused(f"{rule_id} has no hit in shadow on record; give --anyway to promote it unseen")
    (found,) = records
    missing = _missing(found, gate)
    if missing:
        raise RuleSetRefused(f"{rule_id} has shown too little in shadow: {'; '.join(missing)}; give --anyway to mean it")
    return found


def precision_of(record: ShadowRecord) -> Share:
    """
    Return the share of fraud among the hits that somebody has labelled.
    """
    return wilson(record.frauds, record.frauds + record.legitimate)


def _missing(found: ShadowRecord, gate: Gate) -> list[str]:
    span, share = found.last - found.first, precision_of(found).share
    missing = []
    if found.hits < gate.hits:
        missing.append(f"{found.hits} hits of {gate.hits}")
    if span < timedelta(days=gate.days):
        missing.append(f"{span / timedelta(days=1):.1f} days of {gate.days:g}")
    if gate.precision and (share is None or share < gate.precision):
        seen = "none is labelled" if share is None else f"{share:.0%} of the labelled hits were fraud"
        missing.append(f"{seen}, {gate.precision:.0%} are asked for")
    return missing
