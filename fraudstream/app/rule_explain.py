"""
Why rules fired on a recorded transaction, and which of them nearly did.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from fraudstream.adapters.postgres_search import DecisionSearch
from fraudstream.app.list_files import ListFiles
from fraudstream.app.shelf import Shelf
from fraudstream.domain.decision import Decision
from fraudstream.domain.errors import InvalidSettings
from fraudstream.domain.evidence import RuleHit
from fraudstream.features.definitions import FeatureSet
from fraudstream.rules.load import load_rules, read_rules
from fraudstream.rules.near import NearMiss, near_misses
from fraudstream.rules.ruleset import RuleSet
from fraudstream.settings import Settings


class RulesExplained(msgspec.Struct, frozen=True, kw_only=True):
    """
    The rules on one recorded transaction, evaluated on the vector that was decided on.

    ``rule_set`` are the rules that were asked, ``where`` says in words where they come from, ``outcome`` is what was decided at
    the time. Values in explanations are masked where they are personal. ``errors`` are rules that failed on it.
    """

    transaction_id: str
    outcome: str
    rule_set: str
    where: str
    hits: tuple[RuleHit, ...]
    shadow_hits: tuple[RuleHit, ...]
    near_misses: tuple[NearMiss, ...]
    errors: tuple[str, ...]
    notes: tuple[str, ...]


async def explain_rules(
    settings: Settings, transaction_id: str, *, rules: Path | None, archives: Sequence[Path] = ()
) -> RulesExplained | None:
    """
    Return what rules say of a recorded transaction; None when there is no such decision.

    Args:
        settings: Name the database, Redis and the current files.
        transaction_id: Of a decision on record.
        rules: A rule file; the rules that decided when not given.
        archives: Folders with older rules, lists and definitions.

    Raises:
        InvalidSettings: No database is named, or what was decided on is not at hand.
        InvalidRule: The file cannot be used.
        DecisionStoreUnavailable: The database does not answer.
    """
    if settings.postgres_url is None:
        raise InvalidSettings("decisions are looked up in the database; set POSTGRES_URL or give --postgres-url")
    search = await DecisionSearch.connect(settings.postgres_url)
    try:
        decision = (await search.whole([transaction_id])).get(transaction_id)
    finally:
        await search.close()
    if decision is None:
        return None
    shelf = Shelf(settings, archives)
    features = shelf.features(decision.feature_set)
    if features is None or len(decision.vector) != 4 * len(features.names):
        raise InvalidSettings(
            f"the vector of {transaction_id} cannot be read: its feature set {decision.feature_set} is not at hand"
        )
    asked, where, notes = await _rules(settings, shelf, decision, features, rules)
    vector = np.frombuffer(decision.vector, "<f4").astype(np.float32)
    (found,) = asked.evaluate([decision.transaction], vector[np.newaxis])
    fired = {hit.rule_id for hit in (*found.hits, *found.shadow_hits)}
    near = [one for one in near_misses(asked, decision.transaction, vector) if one.rule_id not in fired]
    return RulesExplained(
        transaction_id=transaction_id,
        outcome=decision.outcome.value,
        rule_set=asked.id,
        where=where,
        hits=found.hits,
        shadow_hits=found.shadow_hits,
        near_misses=tuple(near),
        errors=found.errors,
        notes=tuple(notes),
    )


async def _rules(
    settings: Settings, shelf: Shelf, decision: Decision, features: FeatureSet, file: Path | None
) -> tuple[RuleSet, str, list[str]]:
    """
    Return the rules to ask, where they come from, and what is not as it was.
    """
    if file is not None:
        lists, rates = ListFiles(settings).read()
        rules = load_rules(read_rules(file), features=features.names, lists=lists, rates=rates, name=str(file))
        return rules, str(file), []
    await shelf.bring([decision.rule_set], [decision.lists])
    found = shelf.rules(decision.rule_set, decision.lists, features)
    if found is not None and found[0].id == decision.rule_set:
        return found[0], "the rules that decided", found[1]
    if found is None:
        raise InvalidSettings(f"rule set {decision.rule_set[:12]} is not at hand; name one with --rules")
    return found[0], "the rules of the settings", found[1]
