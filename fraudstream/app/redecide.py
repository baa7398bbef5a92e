"""
Letters of transactions that got a fallback decision: decided again from the kept vector, beside the first decision.
"""

from contextlib import AsyncExitStack

import msgspec

from fraudstream.adapters.postgres_audit import AuditEntry, PostgresAudit
from fraudstream.adapters.postgres_search import DecisionSearch
from fraudstream.app.desk import open_desk
from fraudstream.app.explain import redecide
from fraudstream.app.letter_text import shown_letter
from fraudstream.app.letters import Actor, Selection
from fraudstream.app.shelf import Shelf
from fraudstream.domain.decision import Decision
from fraudstream.domain.errors import InvalidSettings
from fraudstream.settings import Settings


class Redecided(msgspec.Struct, frozen=True, kw_only=True):
    """
    One letter's transaction decided again: ``before`` and ``after`` are outcomes, ``problem`` says why there is no second one.
    """

    letter_id: str
    transaction_id: str | None
    before: str = ""
    after: str = ""
    recorded: bool = False
    problem: str = ""


async def redecide_letters(settings: Settings, actor: Actor, selection: Selection, *, execute: bool) -> list[Redecided]:
    """
    Decide the transactions of letters again; with ``execute`` each answer is recorded as a superseding decision and audited.

    No counter moves, the first decision stays, and so does the letter.

    Raises:
        InvalidSettings: No database is named: the kept vectors stand there.
    """
    if settings.postgres_url is None:
        raise InvalidSettings("the kept vectors stand in the database; set POSTGRES_URL or give --postgres-url")
    shelf = Shelf(settings)
    done: list[Redecided] = []
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_desk(settings, actor))
        search = await DecisionSearch.connect(settings.postgres_url)
        stack.push_async_callback(search.close)
        audit = await PostgresAudit.connect(settings.postgres_url)
        stack.push_async_callback(audit.close)
        async for one in opened.desk.assessed(selection, now_ms=opened.now_ms):
            owner = one.transaction_id
            shown = shown_letter(one.letter)["transaction_id"]
            first = None if owner is None else (await search.whole([owner])).get(owner)
            if first is None:
                says = "no decision is on record: replay it instead"
                done.append(Redecided(letter_id=one.letter.letter_id, transaction_id=shown, problem=says))
                continue
            second, problem = await redecide(first, shelf, now_ms=opened.now_ms)
            if second is not None and execute:
                await audit.supersede(second, cause=f"dead letter {one.letter.letter_id}", entry=_entry(actor, first, second))
            done.append(
                Redecided(
                    letter_id=one.letter.letter_id,
                    transaction_id=shown,
                    before=first.outcome.value,
                    after="" if second is None else second.outcome.value,
                    recorded=second is not None and execute,
                    problem=problem,
                )
            )
    return done


def _entry(actor: Actor, first: Decision, second: Decision) -> AuditEntry:
    return AuditEntry(
        actor=actor.name,
        action="dlq.redecide",
        succeeded=True,
        origin=actor.origin,
        resource=f"superseding_decisions/{first.transaction.transaction_id}",
        detail={
            "before": first.outcome.value,
            "after": second.outcome.value,
            "rule_set": second.rule_set,
            "model": second.model,
        },
    )
