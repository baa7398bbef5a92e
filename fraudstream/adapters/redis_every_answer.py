"""
The desk of those who answer alerts, over every partition: a group is found wherever it is, a snooze holds everywhere.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from fraudstream.adapters.redis_alert_answers import (
    Actor,
    KnownGroup,
    Mark,
    Marked,
    RedisAlertAnswers,
    Snooze,
    Undelivered,
)
from fraudstream.adapters.redis_partitions import Part
from fraudstream.domain.alert import Answer
from fraudstream.domain.errors import InvalidSettings


class RedisEveryAnswers:
    """
    What ``RedisAlertAnswers`` is for one partition; the id of an undeliverable alert says which it is of, as ``17-0@3``.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._answers = [RedisAlertAnswers(part.client, part.keys) for part in parts]

    async def recent(self, most: int) -> list[KnownGroup]:
        """
        Return the groups with the youngest payments, the youngest first.
        """
        every = await asyncio.gather(*(one.recent(most) for one in self._answers))
        groups = [known for some in every for known in some]
        return sorted(groups, key=lambda known: -known.group.last_ms)[:most]

    async def get(self, alert_id: str) -> KnownGroup | None:
        """
        Return one group or digest; None when there is none of this id.
        """
        found = await asyncio.gather(*(one.get(alert_id) for one in self._answers))
        return next((known for known in found if known is not None), None)

    async def members(self, alert_id: str, most: int) -> list[str]:
        """
        Return the transaction ids of a group, in their order.
        """
        found = await asyncio.gather(*(one.members(alert_id, most) for one in self._answers))
        return next(filter(None, found), [])

    async def group_of(self, transaction_id: str) -> str | None:
        """
        Return the id of the group that a transaction is in; None where it is not known (any more).
        """
        found = await asyncio.gather(*(one.group_of(transaction_id) for one in self._answers))
        return next((alert_id for alert_id in found if alert_id is not None), None)

    async def answer(self, alert_id: str, answer: Answer, actor: Actor, *, source: str, at_ms: int) -> Marked:
        """
        Say what a group is; see ``RedisAlertAnswers``.
        """
        owner = await self._owner(alert_id)
        if owner is None:
            return Marked(mark=Mark.ABSENT)
        return await owner.answer(alert_id, answer, actor, source=source, at_ms=at_ms)

    async def acknowledge(self, alert_id: str, actor: Actor) -> Marked:
        """
        Say that somebody looks after a group.
        """
        owner = await self._owner(alert_id)
        return Marked(mark=Mark.ABSENT) if owner is None else await owner.acknowledge(alert_id, actor)

    async def snooze_alert(self, alert_id: str, until_ms: int, actor: Actor, *, reason: str) -> Marked:
        """
        Tell nobody of the rule of a group about the entity of the group until then, in any partition.
        """
        owner = await self._owner(alert_id)
        if owner is None:
            return Marked(mark=Mark.ABSENT)
        marked = await owner.snooze_alert(alert_id, until_ms, actor, reason=reason)
        known = await owner.get(alert_id)
        if marked.mark is Mark.DONE and known is not None:
            bearing = known.group.bearing
            snooze = Snooze(rule_id=bearing.rule_id, entity=bearing.entity, entity_id=bearing.entity_id, until_ms=until_ms)
            others = [one for one in self._answers if one is not owner]
            await asyncio.gather(*(one.snooze(snooze, actor, reason=reason, noted=False) for one in others))
        return marked

    async def snooze(self, snooze: Snooze, actor: Actor, *, reason: str) -> None:
        """
        Tell nobody of a rule until then, in any partition; it is noted once.
        """
        first, *others = self._answers
        await asyncio.gather(*(one.snooze(snooze, actor, reason=reason, noted=False) for one in others))
        await first.snooze(snooze, actor, reason=reason)

    async def wake(self, snooze: Snooze) -> bool:
        """
        End a snooze before its time; False when there was none.
        """
        return any(await asyncio.gather(*(one.wake(snooze) for one in self._answers)))

    async def snoozes(self, now_ms: int) -> list[Snooze]:
        """
        Return what is snoozed now.
        """
        every = await asyncio.gather(*(one.snoozes(now_ms) for one in self._answers))
        return list({snooze.scope: snooze for some in every for snooze in some}.values())

    async def seen_before(self, token: str, ttl_s: int) -> bool:
        """
        Say whether a request came before, and remember that it came.
        """
        return await self._answers[0].seen_before(token, ttl_s)

    async def undelivered(self, most: int) -> list[Undelivered]:
        """
        Return what could not be delivered, the youngest first.
        """
        every = await asyncio.gather(*(one.undelivered(most) for one in self._answers))
        letters = [_outside(number, letter) for number, some in enumerate(every) for letter in some]
        return sorted(letters, key=lambda letter: -int(letter.letter_id.partition("-")[0]))[:most]

    async def undelivered_one(self, letter_id: str) -> Undelivered | None:
        """
        Return one letter.
        """
        number, own = self._split(letter_id)
        letter = await self._answers[number].undelivered_one(own)
        return None if letter is None else _outside(number, letter)

    async def take_out(self, letter: Undelivered, actor: Actor, *, again: bool, reason: str = "") -> bool:
        """
        Take a letter out; see ``RedisAlertAnswers``.
        """
        number, own = self._split(letter.letter_id)
        inside = msgspec.structs.replace(letter, letter_id=own)
        return await self._answers[number].take_out(inside, actor, again=again, reason=reason)

    async def _owner(self, alert_id: str) -> RedisAlertAnswers | None:
        found = await asyncio.gather(*(one.get(alert_id) for one in self._answers))
        return next((one for one, known in zip(self._answers, found, strict=True) if known is not None), None)

    def _split(self, letter_id: str) -> tuple[int, str]:
        own, _, number = letter_id.partition("@")
        if not number.isdecimal() or int(number) >= len(self._answers):
            raise InvalidSettings(f"{letter_id!r} does not say its partition, as 17-0@3; alerts undeliverable list does")
        return int(number), own


def _outside(number: int, letter: Undelivered) -> Undelivered:
    return msgspec.structs.replace(letter, letter_id=f"{letter.letter_id}@{number}")
