"""
Decisions by chance, each executed again from its record: how many come out bit for bit, and across how many changes.
"""

import time

import msgspec

from fraudstream.adapters.postgres_search import DecisionSearch
from fraudstream.app.explain import Explanation, Verdict, explain
from fraudstream.app.shelf import Shelf
from fraudstream.domain.decision import Decision

#: Decisions that are executed again together.
_TOGETHER = 1000
#: Decisions that did not come out the same and are told one by one.
_TOLD = 20


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """
    What came of it. ``rule_sets``, ``models`` and ``list_versions`` are how many different ones made the decisions.

    ``not_same`` are the first of those that differ or cannot be executed.
    """

    decisions: int
    same: int
    differs: int
    not_at_hand: int
    flagged: int
    degraded: int
    rule_sets: int
    models: int
    list_versions: int
    seconds: float
    not_same: list[Explanation]


async def verify(search: DecisionSearch, shelf: Shelf, *, sample: int) -> Verified:
    """
    Draw so many decisions and execute them again, in batches of those that were made with the same things.

    Raises:
        DecisionStoreUnavailable: The database does not answer.
    """
    started = time.monotonic()
    ids = await search.sample(sample)
    counts = dict.fromkeys(Verdict, 0)
    not_same: list[Explanation] = []
    seen: list[Decision] = []
    for at in range(0, len(ids), _TOGETHER):
        decisions = list((await search.whole(ids[at : at + _TOGETHER])).values())
        for one in await explain(decisions, shelf):
            counts[one.verdict] += 1
            if one.verdict is not Verdict.SAME and len(not_same) < _TOLD:
                not_same.append(one)
        seen += decisions
    return Verified(
        decisions=len(seen),
        same=counts[Verdict.SAME],
        differs=counts[Verdict.DIFFERS],
        not_at_hand=counts[Verdict.NOT_AT_HAND],
        flagged=sum(one.flagged for one in seen),
        degraded=sum(bool(one.degraded) for one in seen),
        rule_sets=len({one.rule_set for one in seen if one.rule_set}),
        models=len({one.model for one in seen if one.model}),
        list_versions=len({pair for one in seen for pair in one.lists.items()}),
        seconds=round(time.monotonic() - started, 3),
        not_same=not_same,
    )
