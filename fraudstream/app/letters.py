"""
What people do with dead letters: look, put back, correct, throw away; every change with a line in the audit log.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from fraudstream.adapters.postgres_audit import AuditEntry, PostgresAudit
from fraudstream.adapters.redis_every import RedisEveryLetters
from fraudstream.adapters.redis_letters import Place, RedisLetters, StoredLetter
from fraudstream.app.letter_edit import Corrected
from fraudstream.app.letter_fate import Assessed, Fate, Standing, assess
from fraudstream.app.letter_text import DATA, closed_letter, json_object, shown_letter, transaction_id_of
from fraudstream.domain.errors import FraudstreamError, NotAllowed
from fraudstream.domain.moments import moment
from fraudstream.telemetry.redact import scrub

#: Letters that are assessed together.
_TOGETHER = 100
_GONE = "somebody else replayed or discarded it, or its transaction is no longer known to Redis"


class Actor(msgspec.Struct, frozen=True):
    """
    Who acts, and from where: what the audit log keeps.
    """

    name: str
    origin: str


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which letters are meant; an empty field means any. ``limit`` counts from the oldest.
    """

    ids: tuple[str, ...] = ()
    reason: str = ""
    source: str = ""
    since_ms: int = 0
    limit: int | None = None

    def takes(self, letter: StoredLetter) -> bool:
        """
        Say whether a letter is meant.
        """
        reason, source = self.reason or letter.reason, self.source or letter.source
        return (reason, source) == (letter.reason, letter.source) and letter.dead_at_ms >= self.since_ms


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of one letter: the id of the new entry, or why there is none; ``lost`` says that a server went away.
    """

    assessed: Assessed
    entry_id: str = ""
    problem: str = ""
    lost: bool = False


class LetterDesk:
    """
    The dead letters of one system.

    Args:
        letters: Where they stand.
        audit: The audit log and what is on record; None where no database is named.
        actor: Who acts.
        currency: Of bodies that name none.
        may_unmask: Whether the actor may see personal data.
    """

    def __init__(
        self,
        letters: RedisLetters | RedisEveryLetters,
        audit: PostgresAudit | None,
        actor: Actor,
        *,
        currency: str,
        may_unmask: bool = True,
    ) -> None:
        self._may_unmask = may_unmask
        self._letters = letters
        self._audit = audit
        self._actor = actor
        self._currency = currency

    @property
    def audited(self) -> bool:
        """
        Whether changes are written to the audit log.
        """
        return self._audit is not None

    async def select(self, selection: Selection, *, until_ms: int | None = None) -> AsyncIterator[StoredLetter]:
        """
        Yield the letters that are meant, oldest first; ids that do not exist are passed over.
        """
        left = selection.limit
        async for letter in self._source(selection):
            if left == 0 or (until_ms is not None and letter.dead_at_ms > until_ms):
                return
            if selection.takes(letter):
                left = None if left is None else left - 1
                yield letter

    async def _source(self, selection: Selection) -> AsyncIterator[StoredLetter]:
        if not selection.ids:
            async for letter in self._letters.read(selection.since_ms):
                yield letter
        for letter_id in selection.ids:
            found = await self._letters.get(letter_id)
            if found is not None:
                yield found

    async def stats(self, by: str, selection: Selection) -> dict[str, int]:
        """
        Count letters by reason, source, group, producer or hour: the most frequent first, hours in order.
        """
        counts = Counter([_key(by, letter) async for letter in self.select(selection)])
        order = sorted(counts) if by == "hour" else sorted(counts, key=lambda key: (-counts[key], key))
        return {key: counts[key] for key in order}

    async def assessed(self, selection: Selection, *, now_ms: int) -> AsyncIterator[Assessed]:
        """
        Yield the letters that are meant and were there at ``now_ms``, each with what a replay of it would come to.
        """
        copies = {letter.edited_from: letter.letter_id async for letter in self._letters.read() if letter.edited_from}
        page: list[StoredLetter] = []
        async for letter in self.select(selection, until_ms=now_ms):
            page.append(letter)
            if len(page) == _TOGETHER:
                for one in await self._assess(page, copies, now_ms):
                    yield one
                page = []
        for one in await self._assess(page, copies, now_ms):
            yield one

    async def _assess(self, page: Sequence[StoredLetter], copies: Mapping[str, str], now_ms: int) -> list[Assessed]:
        owners = [transaction_id_of(letter) for letter in page]
        known = [one for one in owners if one is not None]
        places = dict(zip(known, await self._letters.places(known), strict=True)) if known else {}
        records = await self._audit.decided(known) if self._audit is not None and known else {}
        standings = [
            Standing(
                transaction_id=owner,
                place=places.get(owner or "", Place.ABSENT),
                record=records.get(owner or ""),
                asked=self._audit is not None,
                copy=copies.get(letter.letter_id, ""),
            )
            for letter, owner in zip(page, owners, strict=True)
        ]
        pairs = zip(page, standings, strict=True)
        return [assess(letter, standing, now_ms=now_ms, currency=self._currency) for letter, standing in pairs]

    async def replay(self, selection: Selection, *, to: str | None, per_s: float, now_ms: int) -> AsyncIterator[Replayed]:
        """
        Put back the entries that may be replayed and yield what became of each letter; a server that goes away ends it.

        Args:
            selection: Which letters; those written after ``now_ms`` (by this very replay) are none of them.
            to: Another stream than the letters' own, where no deduplication is asked.
            per_s: Most letters a second.
            now_ms: The clock of Redis.
        """
        loop = asyncio.get_running_loop()
        due = loop.time()
        async for one in self.assessed(selection, now_ms=now_ms):
            if not one.replayable and not (to is not None and one.letter.fields):
                yield Replayed(assessed=one, problem=one.says)
                continue
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due, loop.time() - 1.0) + 1 / per_s
            done = await self._replay(one, to or one.letter.source)
            yield done
            if done.lost:
                return

    async def _replay(self, one: Assessed, target: str) -> Replayed:
        detail = {"to": target, "fate": one.fate.value}
        try:
            entry_id = await self._letters.replay(
                one.letter, to=target, transaction_id=one.transaction_id, decided=one.fate is Fate.DUPLICATE
            )
        except FraudstreamError as exc:
            await self._note("dlq.replay", one.letter, {**detail, "error": scrub(str(exc))}, status=None)
            return Replayed(assessed=one, problem=str(exc), lost=True)
        try:
            await self._note(
                "dlq.replay", one.letter, {**detail, "entry_id": entry_id or ""}, status="replayed" if entry_id else None
            )
        except FraudstreamError as exc:
            return Replayed(assessed=one, entry_id=entry_id or "", problem=f"replayed, but not audited: {exc}", lost=True)
        return Replayed(assessed=one, entry_id=entry_id or "", problem="" if entry_id else _GONE)

    async def discard(self, letter: StoredLetter, *, why: str) -> bool:
        """
        Take a letter out for good; False when it was gone already.
        """
        done = await self._letters.discard(letter.letter_id)
        await self._note("dlq.discard", letter, {"why": scrub(why)}, status="discarded" if done else None)
        return done

    async def edit(self, letter: StoredLetter, corrected: Corrected, *, changed: Sequence[str]) -> str:
        """
        Write the corrected copy beside the original and return its id.
        """
        copied = await self._letters.add_copy(letter, corrected.fields)
        await self._note("dlq.edit", letter, {"copy": copied, "changed": list(changed)}, status="open")
        return copied

    async def unmasked(self, action: str, resource: str) -> None:
        """
        Note, before anything is shown, that somebody asks for personal data.

        Raises:
            NotAllowed: This actor may not see it.
        """
        if self._audit is not None:
            await self._audit.write(self._entry(action, resource, {"unmask": True}, succeeded=self._may_unmask))
        if not self._may_unmask:
            raise NotAllowed(f"{self._actor.name} may not see personal data (FRAUDSTREAM_UNMASK_ACTORS)")

    async def _note(self, action: str, letter: StoredLetter, detail: Mapping[str, Any], *, status: str | None) -> None:
        """
        Write the audit log; ``status`` is what the letter became, None where nothing was changed.
        """
        if self._audit is None:
            return
        owner = shown_letter(letter)["transaction_id"]
        about = {"transaction_id": owner, "reason": letter.reason, "entry": letter.entry_id, **detail}
        entry = self._entry(action, f"{self._letters.name}/{letter.letter_id}", about, succeeded=status is not None)
        await self._audit.write(entry, closed_letter(letter, status) if status in ("replayed", "discarded") else None)

    def _entry(self, action: str, resource: str, detail: dict[str, Any], *, succeeded: bool) -> AuditEntry:
        actor = self._actor
        return AuditEntry(
            actor=actor.name, action=action, succeeded=succeeded, origin=actor.origin, resource=resource, detail=detail
        )


def _key(by: str, letter: StoredLetter) -> str:
    if by == "hour":
        return f"{moment(letter.dead_at_ms):%Y-%m-%dT%H:00Z}"
    if by == "producer":
        said = letter.fields.get(b"producer", b"").decode(errors="replace")
        named = json_object(letter.fields.get(DATA, b"")).get("producer")
        return scrub(said or (named if isinstance(named, str) else "")) or "not named"
    return scrub(str(getattr(letter, by))) or "not named"
