"""
What people ask of the decisions on record: one with all its evidence, many by what they are, and each executed again.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fraudstream.adapters.decision_files import decision_file
from fraudstream.adapters.postgres_audit import AuditEntry, PostgresAudit
from fraudstream.adapters.postgres_search import Criteria, DecisionSearch
from fraudstream.app.decision_text import masked_value, shown_decision, shown_row
from fraudstream.app.explain import Explanation, explain
from fraudstream.app.letters import Actor
from fraudstream.app.shelf import Shelf
from fraudstream.app.verify import Verified, verify
from fraudstream.domain.decision import Decision
from fraudstream.domain.errors import ConfigurationError, InvalidSettings, NotAllowed
from fraudstream.settings import Settings

#: Decisions that are executed again together.
_TOGETHER = 1000


class CaseRoom:
    """
    The decisions on record, for people.

    Args:
        search: Where they stand.
        audit: Where a look at personal data is noted.
        actor: Who looks.
        may_unmask: Whether the actor may see personal data.
    """

    def __init__(self, search: DecisionSearch, audit: PostgresAudit, actor: Actor, *, may_unmask: bool = True) -> None:
        self._may_unmask = may_unmask
        self._search = search
        self._audit = audit
        self._actor = actor

    async def show(
        self, transaction_id: str, settings: Settings, archives: Sequence[Path], *, unmask: bool
    ) -> dict[str, Any] | None:
        """
        Return a decision with its features, its second execution and what came after it; None when there is none.
        """
        found = (await self._search.whole([transaction_id])).get(transaction_id)
        if found is None:
            return None
        if unmask:
            await self._unmasked("decisions.show", f"decisions/{transaction_id}")
        shown = shown_decision(found, unmask=unmask)
        return {**shown, **await _executed(found, settings, archives), **await self._search.aftermath(transaction_id)}

    async def search(self, criteria: Criteria, *, limit: int, unmask: bool) -> list[dict[str, Any]]:
        """
        Return decisions, the newest first.
        """
        if unmask:
            await self._unmasked("decisions.search", "decisions")
        return [shown_decision(one, unmask=unmask) async for one in self._search.search(criteria, limit=limit)]

    async def export(self, criteria: Criteria, path: str, form: str, stdout: Any, *, limit: int | None, unmask: bool) -> int:
        """
        Write decisions to a file as they come, the newest first, and return how many.
        """
        if unmask:
            await self._unmasked("decisions.export", "decisions")
        count = 0
        with decision_file(path, form, stdout) as file:
            async for one in self._search.search(criteria, limit=limit):
                file.write(shown_row(one, unmask=unmask))
                count += 1
        return count

    async def explain(
        self, transaction_ids: Sequence[str], shelf: Shelf, *, sample: int | None
    ) -> AsyncIterator[Explanation | str]:
        """
        Yield each decision executed again, in the order asked for; the bare id where there is no decision.
        """
        wanted = list(dict.fromkeys(transaction_ids)) or await self._search.sample(sample or 0)
        for at in range(0, len(wanted), _TOGETHER):
            some = wanted[at : at + _TOGETHER]
            whole = await self._search.whole(some)
            explained = {one.transaction_id: one for one in await explain(list(whole.values()), shelf)}
            for each in some:
                yield explained.get(each, each)

    async def verify(self, shelf: Shelf, *, sample: int) -> Verified:
        """
        Execute decisions by chance again, and count.
        """
        return await verify(self._search, shelf, sample=sample)

    async def _unmasked(self, action: str, resource: str) -> None:
        entry = AuditEntry(
            actor=self._actor.name, action=action, succeeded=self._may_unmask, origin=self._actor.origin, resource=resource,
            detail={"unmask": True},
        )  # fmt: skip
        await self._audit.write(entry)
        if not self._may_unmask:
            raise NotAllowed(f"{self._actor.name} may not see personal data (FRAUDSTREAM_UNMASK_ACTORS)")


async def _executed(decision: Decision, settings: Settings, archives: Sequence[Path]) -> dict[str, Any]:
    """
    Return the second execution of one decision, or why the current files let there be none.
    """
    try:
        (explained,) = await explain([decision], Shelf(settings, archives))
    except ConfigurationError as exc:
        return {"features": {}, "execution": {"verdict": "not_at_hand", "notes": [str(exc)], "differences": []}}
    return {"features": explained.features, "execution": shown_explanation(explained)}


def shown_explanation(explained: Explanation) -> dict[str, Any]:
    """
    Return a second execution for people; differing evidence is masked like all evidence.
    """
    return {
        "transaction_id": explained.transaction_id,
        "verdict": explained.verdict.value,
        "notes": list(explained.notes),
        "differences": [
            {"field": one.field, "recorded": masked_value(one.field, one.recorded), "again": masked_value(one.field, one.again)}
            for one in explained.differences
        ],
    }


@asynccontextmanager
async def open_case_room(settings: Settings, actor: Actor) -> AsyncIterator[CaseRoom]:
    """
    Lend the decisions on record.

    Raises:
        InvalidSettings: No database is named.
        DecisionStoreUnavailable: It does not answer.
    """
    if settings.postgres_url is None:
        raise InvalidSettings("decisions are looked up in the database; set POSTGRES_URL or give --postgres-url")
    async with AsyncExitStack() as stack:
        search = await DecisionSearch.connect(settings.postgres_url)
        stack.push_async_callback(search.close)
        audit = await PostgresAudit.connect(settings.postgres_url)
        stack.push_async_callback(audit.close)
        may = not settings.unmask_actors or actor.name in settings.unmask_actors
        yield CaseRoom(search, audit, actor, may_unmask=may)
