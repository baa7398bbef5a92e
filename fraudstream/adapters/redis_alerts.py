"""
The book of alert groups in Redis: every step that must not be half done is one script.
"""

import uuid
from collections.abc import Mapping, Sequence

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_alert_journal import RedisAlertJournal
from fraudstream.adapters.redis_alert_rows import errand_of, fields_of, group_of, storm_of, storm_text
from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import JOURNAL, UNDELIVERABLE, Keys
from fraudstream.adapters.redis_scripts import (
    ALERT_DEFER,
    ALERT_DIGEST,
    ALERT_FOLD,
    ALERT_LOOK,
    ALERT_SETTLE,
    ALERT_STORM,
    Argument,
    Call,
    run,
)
from fraudstream.adapters.redis_stream import plain
from fraudstream.adapters.redis_together import Together
from fraudstream.stages.alert_notice import SEVERITIES
from fraudstream.stages.alert_policy import ChannelPolicy, Fold, Storm
from fraudstream.stages.alert_ports import DigestFacts, Errand, Folded, Raised, Settled, View

#: How long a group is kept after its last payment, in seconds; its buttons work for a day.
KEPT_S = 172_800
#: Most lines of the journal that wait for the database: some days of ordinary alerting.
JOURNAL_LENGTH = 200_000
#: How long a sign of life keeps the lead of a channel, in seconds; looks come every second at least, and every note is a sign.
_LEAD_S = 8.0
#: Most groups of one look, and most that one script call folds.
_LOOKED, _FOLDED = 500, 100
#: Most transactions that one message names.
_NAMED = 500
#: Lines of a digest, and entries of its tables.
_TOP, _ROWS = 10, 8
#: Longest time that one group lives, in seconds: what never falls silent is told anew every day.
_LONGEST_S = 86_400
_REPLIES = {b"N": Folded.OPENED, b"J": Folded.JOINED, b"D": Folded.KNOWN, b"G": Folded.GONE}


class RedisAlerts:
    """
    Everything about alerts on one server, for whoever puts a process together.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def book(self, clock: RedisClock) -> "RedisAlertBook":
        """
        Return the book as one process sees it.
        """
        return RedisAlertBook(self._client, self._keys, clock)

    def journal(self) -> RedisAlertJournal:
        """
        Return what waits for the database.
        """
        return RedisAlertJournal(self._client, self._keys)


class RedisAlertFolder:
    """
    ``AlertFolder`` of one consumer of the alerter group.

    Args:
        client: Any client; its replies are read as they are on the wire.
        stream: The fraud stream.
        group: The consumer group.
        consumer: Us, in that group.
        keys: Names of the partition.
        policies: The channels that every group is told on.
        silence_s: After so long without a payment the next one opens a new group.
        known_s: How long a transaction is known to be in a group.
    """

    def __init__(
        self,
        client: Redis,
        *,
        stream: str,
        group: str,
        consumer: str,
        keys: Keys,
        policies: Mapping[str, ChannelPolicy],
        silence_s: float,
        known_s: float,
    ) -> None:
        self._client = plain(client)
        self._stream = stream
        self._head = (group, consumer)
        self._keys = keys
        self._policies = policies
        self._shared = (keys.alerts("opened"), keys.alerts("recent"), keys.alerts("snoozes"), keys.stream(JOURNAL))
        self._prefixes = (keys.prefix("alertgroup"), keys.prefix("alertmembers"), keys.prefix("alertdue"))
        self._times = (int(known_s * 1000), KEPT_S * 1000, int(silence_s * 1000), _LONGEST_S * 1000)

    async def fold(self, raised: Sequence[Raised]) -> list[Folded]:
        """
        Put each decision into its group; see the port.
        """
        with translated("alert_fold"):
            replies = await run(self._client, [self._call(one) for one in raised])
        return [_REPLIES[reply[0]] for reply in replies]

    def _call(self, one: Raised) -> Call:
        severity = one.alert.severity
        bearing = one.bearing
        words: list[Argument] = [
            *self._head, one.delivery.entry_id, one.transaction_id, one.alert.alert_id, *self._prefixes, *self._times,
            SEVERITIES.index(severity), msgspec.json.encode(one.alert), one.currency, one.amount_minor, repr(one.major),
            one.alert.outcome.value, int(one.alert.decided_at.timestamp() * 1000), bearing.family, bearing.rule_id,
            bearing.entity, bearing.token, one.alert.merchant, JOURNAL_LENGTH,
        ]  # fmt: skip
        for name, policy in self._policies.items():
            words += [name, int(policy.first_wait_s[severity] * 1000), int(policy.gap_s[severity] * 1000)]
        keys = (self._stream, self._keys.alert_of(one.transaction_id), self._keys.alert_open(bearing.key), *self._shared)
        return Call(ALERT_FOLD, keys, words)


class RedisAlertBook:
    """
    ``AlertBook`` as one process sees it.

    Args:
        client: Any client; its replies are read as they are on the wire.
        keys: Names of the partition.
        clock: Is set by every look.
        me: Who leads; a name that no other process has.
    """

    def __init__(self, client: Redis, keys: Keys, clock: RedisClock, *, me: str = "") -> None:
        self._client = plain(client)
        # Messages are told side by side: what they look up and note is asked together.
        self._together = Together(self._client)
        self._keys = keys
        self._clock = clock
        self._me = me or uuid.uuid4().hex
        self._groups = keys.prefix("alertgroup")

    async def look(self, channel: str, *, openings: int) -> View | None:
        """
        Lead, and see what is due; see the port.
        """
        keys = (self._keys.alert_desk(channel), self._keys.alert_due(channel), self._keys.alerts("opened"))
        words = (self._me, int(_LEAD_S * 1000), _LOOKED, openings, self._groups)
        with translated("alert_look"):
            (reply,) = await run(self._client, [Call(ALERT_LOOK, keys, words)])
        self._clock.observe(int(reply[0]))
        if len(reply) == 1:
            return None
        now_ms, storm, opened, after, groups = reply
        return View(
            now_ms=int(now_ms),
            storm=storm_of(storm),
            opened_ms=[int(one) for one in opened],
            due=[errand_of(fields_of(group), channel) for group in groups],
            next_ms=int(float(after)) if after else None,
        )

    async def blow(self, channel: str, storm: Storm | None) -> None:
        """
        Note the weather; see the port.
        """
        keys = (self._keys.alert_desk(channel), self._keys.alert_due(channel), self._keys.alert_digests(channel))
        with translated("alert_storm"):
            await run(self._client, [Call(ALERT_STORM, keys, (self._me, storm_text(storm), self._groups))])

    async def digest(
        self, channel: str, fold: Fold, errands: Sequence[Errand], *, due_ms: int, gap_s: float, life_s: float
    ) -> None:
        """
        Fold groups into a digest; see the port.
        """
        keys = (
            self._keys.alert_desk(channel),
            self._keys.alert_due(channel),
            self._keys.alert_digests(channel),
            self._keys.stream(JOURNAL),
        )
        prefixes = [self._keys.prefix(kind) for kind in ("alertgroup", "alertmembers", "alertfolded", "alerttotals")]
        head = (self._me, channel, fold.value)
        times, gap_ms = (due_ms, int(life_s * 1000), KEPT_S * 1000), int(gap_s * 1000)
        ids = [errand.group.alert_id for errand in errands]
        calls = [
            Call(
                ALERT_DIGEST,
                keys,
                (*head, f"dg_{uuid.uuid4().hex[:20]}", *times, *prefixes, JOURNAL_LENGTH, gap_ms, *ids[at : at + _FOLDED]),
            )
            for at in range(0, len(ids), _FOLDED)
        ]
        with translated("alert_digest"):
            await run(self._client, calls)

    async def facts(self, digest_id: str) -> DigestFacts:
        """
        Return what a digest tells; see the port.
        """
        folded = self._keys.prefix("alertfolded") + digest_id
        totals = self._keys.prefix("alerttotals") + digest_id
        snoozes = self._keys.alerts("snoozes")
        with translated("alert facts"):
            count, ids, counts, scopes = await run(
                self._client,
                [
                    ("ZCARD", folded),
                    ("ZREVRANGE", folded, 0, _TOP - 1),
                    ("ZREVRANGE", totals, 0, -1, "WITHSCORES"),
                    ("ZRANGE", snoozes, self._clock.now_ms(), "+inf", "BYSCORE", "LIMIT", 0, _TOP),
                ],
            )
            groups = await run(self._client, [("HGETALL", self._groups + one.decode()) for one in ids]) if ids else []
        pairs = [(name.decode(), int(float(score))) for name, score in zip(counts[::2], counts[1::2], strict=True)]
        return DigestFacts(
            groups=count,
            top=[group_of(fields_of(group)) for group in groups if group],
            families=_named(pairs, "family|"),
            merchants=_named(pairs, "merchant|"),
            snoozes=[scope.decode() for scope in scopes],
        )

    async def members(self, alert_id: str, first: int, end: int) -> list[str]:
        """
        Return transaction ids; see the port.
        """
        last = min(end, first + _NAMED) - 1
        with translated("alert members"):
            members = await self._together.ask(("LRANGE", self._keys.alert_members(alert_id), first, last))
        return [member.decode().split(" ", 3)[3] for member in members] if last >= first else []

    async def settle(self, channel: str, settled: Settled) -> list[int] | None:
        """
        Note what became of a message; see the port.
        """
        group = settled.errand.group
        keys = self._keys
        names = (
            keys.alert_desk(channel), keys.alert_due(channel), keys.alert_group(group.alert_id),
            keys.alert_members(group.alert_id), keys.stream(JOURNAL), keys.stream(UNDELIVERABLE),
            keys.alert_due(settled.fallback or channel),
        )  # fmt: skip
        journal: list[Argument] = [
            "kind", "digest" if group.digest else "delivery", "action", settled.action, "recipient", settled.recipient,
            "severity", group.severity.value, "attempts", settled.errand.shown.tries + 1, "error", settled.error,
        ]  # fmt: skip
        retry = "" if settled.retry_s is None else int(settled.retry_s * 1000)
        words: list[Argument] = [
            self._me, channel, group.alert_id, group.revision, group.transactions, settled.outcome, settled.place,
            int(settled.gap_s * 1000), SEVERITIES.index(group.severity), settled.reply, retry, settled.fallback,
            JOURNAL_LENGTH, len(journal), *journal,
        ]  # fmt: skip
        for name, value in settled.letter.items():
            words += [name, value]
        with translated("alert_settle"):
            reply = await self._together.ask(Call(ALERT_SETTLE, names, words))
        return None if reply == b"G" else [int(one) for one in reply]

    async def defer(self, channel: str, errand: Errand, delay_s: float, *, counted: bool, fallback: str = "") -> None:
        """
        Try again after a delay; see the port.
        """
        alert_id = errand.group.alert_id
        keys = (
            self._keys.alert_desk(channel),
            self._keys.alert_due(channel),
            self._keys.alert_group(alert_id),
            self._keys.alert_due(fallback or channel),
        )
        words = (self._me, channel, alert_id, int(delay_s * 1000), int(counted), fallback)
        with translated("alert_defer"):
            await self._together.ask(Call(ALERT_DEFER, keys, words))

    async def resign(self, channel: str) -> None:
        """
        Give up the lead; see the port.
        """
        desk = self._keys.alert_desk(channel)
        with translated("resign"):
            if await self._client.execute_command("HGET", desk, "leader") == self._me.encode():
                await self._client.execute_command("HDEL", desk, "leader", "until")


def _named(pairs: Sequence[tuple[str, int]], prefix: str) -> list[tuple[str, int]]:
    return [(name.removeprefix(prefix), count) for name, count in pairs if name.startswith(prefix)][:_ROWS]
