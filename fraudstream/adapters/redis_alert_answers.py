"""
What people do with alert groups: look, say what they are, snooze; and with those that could not be delivered.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_alert_rows import channels_of, fields_of, group_of, shown_of
from fraudstream.adapters.redis_alerts import JOURNAL_LENGTH, KEPT_S
from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import JOURNAL, LABELS, UNDELIVERABLE, Keys
from fraudstream.adapters.redis_scripts import ALERT_MARK, ALERT_RESEND, Argument, Call, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.alert import Answer
from fraudstream.domain.decision import LabelValue
from fraudstream.domain.moments import moment
from fraudstream.stages.alert_policy import POLICIES
from fraudstream.stages.alert_ports import AlertGroup, Shown

#: What a label says of the payments of a group, by the answer; one that is taken back leaves them unsure.
_LABELS: Mapping[Answer, LabelValue] = {
    Answer.FRAUD: LabelValue.FRAUD,
    Answer.LEGITIMATE: LabelValue.LEGITIMATE,
    Answer.OPEN: LabelValue.UNSURE,
}


class Actor(msgspec.Struct, frozen=True):
    """
    Who acts, and from where: what the audit log keeps.
    """

    name: str
    origin: str


class Mark(StrEnum):
    """
    What became of something that a person said.
    """

    DONE = "done"
    SAME = "same"  #: it was said before
    ABSENT = "absent"  #: there is no such group (any more)


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of it; ``by`` is who had said so before, ``labels`` how many payments were labelled.
    """

    mark: Mark
    by: str = ""
    labels: int = 0


class KnownGroup(msgspec.Struct, frozen=True, kw_only=True):
    """
    A group, and what each channel knows of it.
    """

    group: AlertGroup
    shown: Mapping[str, Shown]


class Snooze(msgspec.Struct, frozen=True, kw_only=True):
    """
    A rule about which nobody is told until then; for one entity, or for all where ``entity`` is empty.
    """

    rule_id: str
    until_ms: int
    entity: str = ""
    entity_id: str = ""

    @property
    def scope(self) -> str:
        """
        What the alerter compares with.
        """
        return f"{self.rule_id}|{self.entity}|{self.entity_id}"


class Undelivered(msgspec.Struct, frozen=True, kw_only=True):
    """
    One letter of ``alerts:undeliverable``.
    """

    letter_id: str
    channel: str
    alert_id: str
    words: Mapping[str, str]


class RedisAlertAnswers:
    """
    The desk of those who answer. Every method raises ``StreamUnavailable`` when Redis is away.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = plain(client)
        self._keys = keys
        self._journal = keys.stream(JOURNAL)
        self._undeliverable = keys.stream(UNDELIVERABLE)

    async def recent(self, most: int) -> list[KnownGroup]:
        """
        Return the groups with the youngest payments, the youngest first.
        """
        with translated("alerts"):
            ids = await self._client.execute_command("ZREVRANGE", self._keys.alerts("recent"), 0, most - 1)
        found = [await self.get(one.decode()) for one in ids]
        return [one for one in found if one is not None]

    async def get(self, alert_id: str) -> KnownGroup | None:
        """
        Return one group or digest; None when there is none of this id.
        """
        with translated("alert"):
            flat = await self._client.execute_command("HGETALL", self._keys.alert_group(alert_id))
        if not flat:
            return None
        fields = fields_of(flat)
        return KnownGroup(group=group_of(fields), shown={name: shown_of(fields, name) for name in channels_of(fields)})

    async def members(self, alert_id: str, most: int) -> list[str]:
        """
        Return the transaction ids of a group, in their order.
        """
        with translated("members"):
            found = await self._client.execute_command("LRANGE", self._keys.alert_members(alert_id), 0, most - 1)
        return [member.decode().split(" ", 3)[3] for member in found]

    async def group_of(self, transaction_id: str) -> str | None:
        """
        Return the id of the group that a transaction is in; None where it is not known (any more).
        """
        with translated("alertof"):
            found = await self._client.execute_command("GET", self._keys.alert_of(transaction_id))
        return found.decode() if found else None

    async def answer(self, alert_id: str, answer: Answer, actor: Actor, *, source: str, at_ms: int) -> Marked:
        """
        Say what a group is, and label its payments so; ``Answer.OPEN`` takes it back. The messages about it say so soon after.

        A second call with the same answer changes nothing.
        """
        label = _LABELS[answer].value
        words = {"kind": "answer", "origin": actor.origin, "label": label, "detail": answer.value or "taken back"}
        return await self._mark(
            alert_id, ("answer", answer.value, "answered_by"), actor, words, label=label, source=source, at_ms=at_ms
        )

    async def acknowledge(self, alert_id: str, actor: Actor) -> Marked:
        """
        Say that somebody looks after a group.
        """
        words = {"kind": "acknowledge", "origin": actor.origin}
        return await self._mark(alert_id, ("acknowledged", "1", "acknowledged_by"), actor, words)

    async def snooze_alert(self, alert_id: str, until_ms: int, actor: Actor, *, reason: str) -> Marked:
        """
        Tell nobody of the rule of a group about the entity of the group until then.
        """
        known = await self.get(alert_id)
        if known is None or not known.group.bearing.rule_id:
            return Marked(mark=Mark.ABSENT)
        bearing = known.group.bearing
        snooze = Snooze(rule_id=bearing.rule_id, entity=bearing.entity, entity_id=bearing.entity_id, until_ms=until_ms)
        words = {"kind": "snooze", "origin": actor.origin, "reason": reason, **_snooze_words(snooze)}
        return await self._mark(alert_id, ("snoozed_until", str(until_ms), "snoozed_by"), actor, words, snooze=snooze)

    async def snooze(self, snooze: Snooze, actor: Actor, *, reason: str, noted: bool = True) -> None:
        """
        Tell nobody of a rule until then; ``noted`` in the journal, unless somebody else has done that.
        """
        words = {"kind": "snooze", "actor": actor.name, "origin": actor.origin, "reason": reason, **_snooze_words(snooze)}
        add: list[Argument] = ["XADD", self._journal, "MAXLEN", "~", JOURNAL_LENGTH, "*", *_flat(words)]
        with translated("snooze"):
            held: Sequence[Argument] = ("ZADD", self._keys.alerts("snoozes"), snooze.until_ms, snooze.scope)
            await run(self._client, [held, add] if noted else [held])

    async def wake(self, snooze: Snooze) -> bool:
        """
        End a snooze before its time; False when there was none.
        """
        with translated("wake"):
            return bool(await self._client.execute_command("ZREM", self._keys.alerts("snoozes"), snooze.scope))

    async def snoozes(self, now_ms: int) -> list[Snooze]:
        """
        Return what is snoozed now; what is over is forgotten.
        """
        key = self._keys.alerts("snoozes")
        with translated("snoozes"):
            _, flat = await run(self._client, [("ZREMRANGEBYSCORE", key, "-inf", now_ms), ("ZRANGE", key, 0, -1, "WITHSCORES")])
        return [_snooze(scope.decode(), int(float(until))) for scope, until in zip(flat[::2], flat[1::2], strict=True)]

    async def seen_before(self, token: str, ttl_s: int) -> bool:
        """
        Say whether a request came before, and remember that it came.
        """
        key = f"{self._keys.alerts('request')}:{token}"
        with translated("request"):
            return await self._client.execute_command("SET", key, "1", "NX", "EX", ttl_s) is None

    async def undelivered(self, most: int) -> list[Undelivered]:
        """
        Return what could not be delivered, the youngest first.
        """
        with translated("undeliverable"):
            found = await self._client.execute_command("XREVRANGE", self._undeliverable, "+", "-", "COUNT", most)
        return [_undelivered(entry_id.decode(), fields_of(flat)) for entry_id, flat in found]

    async def undelivered_one(self, letter_id: str) -> Undelivered | None:
        """
        Return one letter.
        """
        with translated("undeliverable"):
            found = await self._client.execute_command("XRANGE", self._undeliverable, letter_id, letter_id)
        return _undelivered(found[0][0].decode(), fields_of(found[0][1])) if found else None

    async def take_out(self, letter: Undelivered, actor: Actor, *, again: bool, reason: str = "") -> bool:
        """
        Take a letter out, to be told ``again`` on its channel or for good; False when nothing could be done.

        The second call for the same letter finds it gone. What is told again may become undeliverable again.
        """
        keys = (
            self._undeliverable,
            self._keys.alert_group(letter.alert_id),
            self._keys.alert_members(letter.alert_id),
            self._keys.alert_due(letter.channel),
            self._journal,
        )
        kind = "resend" if again else "discard"
        words = {"kind": kind, "actor": actor.name, "origin": actor.origin, "reason": reason, "detail": letter.letter_id}
        head = (letter.letter_id, letter.channel, letter.alert_id, letter.words.get("from", 0), int(again), KEPT_S * 1000)
        with translated("resend"):
            (reply,) = await run(self._client, [Call(ALERT_RESEND, keys, (*head, JOURNAL_LENGTH, *_flat(words)))])
        return bool(reply == b"A")

    async def _mark(
        self,
        alert_id: str,
        said: tuple[str, str, str],
        actor: Actor,
        words: Mapping[str, str],
        *,
        snooze: Snooze | None = None,
        label: str = "",
        source: str = "",
        at_ms: int = 0,
    ) -> Marked:
        """
        Set a field of a group; ``said`` is the field, its value, and the field of who said it.
        """
        field, value, by = said
        keys = (
            self._keys.alert_group(alert_id),
            self._journal,
            self._keys.alerts("snoozes"),
            self._keys.stream(LABELS),
            self._keys.alert_members(alert_id),
        )
        arguments: list[Argument] = [
            alert_id, field, value, self._keys.prefix("alertdue"), JOURNAL_LENGTH, snooze.scope if snooze else "",
            snooze.until_ms if snooze else 0, label, source, moment(at_ms).isoformat(), by, actor.name, len(POLICIES),
            *POLICIES, *_flat(words),
        ]  # fmt: skip
        with translated("alert_mark"):
            (reply,) = await run(self._client, [Call(ALERT_MARK, keys, arguments)])
        if reply[0] == b"X":
            return Marked(mark=Mark.ABSENT)
        if reply[0] == b"S":
            return Marked(mark=Mark.SAME, by=reply[1].decode())
        return Marked(mark=Mark.DONE, labels=int(reply[2]))


def _snooze_words(snooze: Snooze) -> dict[str, str]:
    return {
        "rule_id": snooze.rule_id,
        "entity": snooze.entity,
        "entity_id": snooze.entity_id,
        "until": str(snooze.until_ms),
    }


def _snooze(scope: str, until_ms: int) -> Snooze:
    rule_id, entity, entity_id = scope.split("|", 2)
    return Snooze(rule_id=rule_id, entity=entity, entity_id=entity_id, until_ms=until_ms)


def _undelivered(letter_id: str, words: Mapping[str, str]) -> Undelivered:
    return Undelivered(letter_id=letter_id, channel=words.get("channel", ""), alert_id=words.get("alert_id", ""), words=words)


def _flat(words: Mapping[str, str]) -> Sequence[str]:
    return [one for pair in words.items() for one in pair]
