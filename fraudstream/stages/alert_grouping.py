"""
Which flagged payments belong together: those of one rule family about one entity. Pure.
"""

import hashlib
import re

import msgspec

from fraudstream.domain.decision import Decision
from fraudstream.domain.evidence import Action, RuleHit
from fraudstream.domain.transaction import ENTITY_FIELDS

#: In this order an entity is taken where the rule names none: the narrower first.
_ENTITIES = tuple(ENTITY_FIELDS)
_NAMED = re.compile(rf":({'|'.join(_ENTITIES)})_")
#: Families of what no rule decided: the score did, or a part of the evidence was missing.
_MODEL, _DEGRADED = "model", "degraded"


class Bearing(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a flagged payment is about: ``entity`` is card, user, device, merchant, ip, or payment where it names none of them.

    ``rule_id`` is the decisive rule, empty where there was none; ``key`` is the same for all payments that belong together.
    """

    family: str
    rule_id: str
    entity: str
    entity_id: str

    @property
    def key(self) -> str:
        """
        The name of the group, in 32 hexadecimal digits; what it was made from cannot be read from it.
        """
        parts = (self.family, self.entity, self.entity_id)
        basis = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)
        return hashlib.sha256(basis).hexdigest()[:32]

    @property
    def token(self) -> str:
        """
        A name for the entity from which nobody reads it: an id may be an address, of mail or of the network.
        """
        return hashlib.sha256(f"{self.entity}|{self.entity_id}".encode()).hexdigest()[:20] if self.entity_id else ""


def bearing(decision: Decision) -> Bearing:
    """
    Say what a decision is about: the family and entity of the rule that decided, else of whatever did.
    """
    hit = _decisive(decision)
    entity, entity_id = _subject(decision, hit)
    return Bearing(family=_family(decision, hit), rule_id=hit.rule_id if hit else "", entity=entity, entity_id=entity_id)


def _decisive(decision: Decision) -> RuleHit | None:
    """
    The policy puts the decisive rule's reason first; a rule that only adds points decides nothing.
    """
    code = decision.reasons[0].code if decision.reasons else ""
    return next((hit for hit in decision.rule_hits if hit.rule_id == code and hit.action is not Action.SCORE), None)


def _family(decision: Decision, hit: RuleHit | None) -> str:
    if hit is None:
        return _DEGRADED if decision.degraded else _MODEL
    return next((tag for tag in hit.tags if tag not in _ENTITIES), hit.rule_id)


def _subject(decision: Decision, hit: RuleHit | None) -> tuple[str, str]:
    transaction = decision.transaction
    present = {entity: value for entity, field in ENTITY_FIELDS.items() if (value := getattr(transaction, field))}
    for entity in (*_named_by(hit), *_ENTITIES):
        if entity in present:
            return entity, present[entity]
    return "payment", transaction.transaction_id


def _named_by(hit: RuleHit | None) -> tuple[str, ...]:
    """
    Return the entities that a rule is about, first named first: by its tags, then by the features that it looked at.
    """
    if hit is None:
        return ()
    return (*(tag for tag in hit.tags if tag in _ENTITIES), *_NAMED.findall(hit.explanation))
