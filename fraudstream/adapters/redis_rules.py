"""
Rule sets in Redis: texts that never change, a pointer to the one in force, and the history of both.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import RULES_ACTIVE, RULES_APPLIED, RULES_EXPECTED, RULES_LOG, rules_body
from fraudstream.adapters.redis_scripts import Argument, Call, Script, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import InvalidRule, RuleSetRefused


def _script(name: str) -> Script:
    text = (Path(__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_PUSH, _ACTIVATE = _script("push_rules"), _script("activate_rules")
#: Silence after which a worker is forgotten.
_FORGET_MS = 3_600_000
#: Entries of one read of the history.
_PAGE = 500


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which rule set is in force. ``rule_set`` is its SHA-256, empty for the file that the settings name.

    ``seq`` counts the changes; ``actor`` made this one, ``author`` pushed the text. ``at_ms`` is by the clock of Redis.
    """

    seq: int = 0
    rule_set: str = ""
    kind: str = ""
    actor: str = ""
    author: str = ""
    at_ms: int = 0
    reason: str = ""


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """
    The text of one rule set, and who pushed it first, when (milliseconds), and why. ``name`` is the file that it came from.
    """

    rule_set: str
    text: str
    author: str
    at_ms: int
    reason: str
    name: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """
    One line of the history: ``kind`` is push, activate, rollback, disable or trip; ``seq`` is 0 for a push.
    """

    at_ms: int
    kind: str
    rule_set: str
    actor: str
    reason: str
    seq: int


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """
    How often a rule fired in its backtest: ``rate`` is a share in [0, 1] of so many ``payments``.
    """

    rule_id: str
    rate: float
    payments: int
    actor: str
    at_ms: int


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one worker judges by, told now and then. ``rule_set`` is a SHA-256; ``in_force`` is what the pointer said then, empty
    for the file of the settings. ``behind_s`` is for how long the worker has not followed, with the reason in ``problem``.
    """

    worker: str
    rule_set: str
    in_force: str
    lists: dict[str, str]
    at_ms: int
    behind_s: float = 0.0
    problem: str = ""


class RedisRuleSets:
    """
    The rule sets of a fleet; every name has the same hash tag, so that each script touches one slot.
    """

    def __init__(self, client: Redis) -> None:
        self._client = plain(client)

    async def pointer(self) -> Pointer:
        """
        Return which set is in force; one that names none, with ``seq`` 0, when there never was any.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("rules"):
            (flat,) = await run(self._client, [("HGETALL", RULES_ACTIVE)])
        return msgspec.convert(_fields(flat), Pointer, strict=False)

    async def body(self, rule_set: str) -> Body:
        """
        Return a set whose text has the hash that it is called by.

        Raises:
            InvalidRule: It is not there, or is not what its hash says.
            StreamUnavailable: Redis did not answer.
        """
        with translated("rules"):
            (flat,) = await run(self._client, [("HGETALL", rules_body(rule_set))])
        if not flat:
            raise InvalidRule(f"rule set {rule_set[:12]} is not in Redis")
        body = msgspec.convert({**_fields(flat), "rule_set": rule_set}, Body, strict=False)
        if hashlib.sha256(body.text.encode()).hexdigest() != rule_set:
            raise InvalidRule(f"rule set {rule_set[:12]} is damaged: its text has another hash")
        return body

    async def push(self, rule_set: str, text: str, *, author: str, reason: str, name: str) -> bool:
        """
        Keep a text under its hash and note it in the history; return whether it is new. Again is harmless.

        Raises:
            StreamUnavailable: Redis did not answer; the text may be there, and changes nothing.
        """
        call = Call(_PUSH, (rules_body(rule_set), RULES_LOG), (rule_set, text, author, reason, name))
        with translated("rules"):
            (new,) = await run(self._client, [call])
        return bool(new)

    async def activate(self, seen: Pointer, rule_set: str, *, kind: str, actor: str, reason: str) -> int:
        """
        Point the fleet at a set, in one step with the history, and return the new ``seq``.

        Args:
            seen: The pointer that the change was decided on.
            rule_set: SHA-256, or empty for the file of the settings.
            kind: ``activate``, ``rollback``, ``disable`` or ``trip``.
            actor: Who does it.
            reason: Why, for the history.

        Raises:
            RuleSetRefused: Somebody else changed the rules meanwhile, or there is no such set; nothing is changed.
            StreamUnavailable: Redis did not answer; look at the pointer before trying again.
        """
        body = rules_body(rule_set) if rule_set else RULES_ACTIVE
        call = Call(_ACTIVATE, (RULES_ACTIVE, RULES_LOG, body), (seen.seq, rule_set, kind, actor, reason))
        with translated("rules"):
            (seq,) = await run(self._client, [call])
        if seq == -1:
            raise RuleSetRefused("somebody else changed the rules in force meanwhile; look again: fraudstream rules history")
        if seq == -2:
            raise RuleSetRefused(f"rule set {rule_set[:12]} is not in Redis; push it first")
        return int(seq)

    async def expect(self, rates: Mapping[str, Expected]) -> None:
        """
        Note how often rules fired in a backtest, by fingerprint; what was noted of the same rule before is replaced.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        words = [word for name, told in rates.items() for word in (name, msgspec.json.encode(told))]
        if words:
            with translated("rules"):
                await run(self._client, [("HSET", RULES_EXPECTED, *words)])

    async def expected(self) -> dict[str, Expected]:
        """
        Return how often rules fired in their backtests, by fingerprint.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("rules"):
            (flat,) = await run(self._client, [("HGETALL", RULES_EXPECTED)])
        return {name: msgspec.json.decode(told, type=Expected) for name, told in _fields(flat).items()}

    async def tell(self, applied: Applied) -> None:
        """
        Note what a worker judges by, over what it told before.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("rules"):
            await run(self._client, [("HSET", RULES_APPLIED, applied.worker, msgspec.json.encode(applied))])

    async def applied(self, *, now_ms: int, live_ms: int) -> list[Applied]:
        """
        Return what each worker judges by that told it lately, by name; those that have been silent for an hour are forgotten.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("rules"):
            (flat,) = await run(self._client, [("HGETALL", RULES_APPLIED)])
            told = [msgspec.json.decode(one, type=Applied) for one in flat[1::2]]
            gone = [one.worker for one in told if one.at_ms < now_ms - _FORGET_MS]
            if gone:
                await run(self._client, [("HDEL", RULES_APPLIED, *gone)])
        return sorted((one for one in told if one.at_ms >= now_ms - live_ms), key=lambda one: one.worker)

    async def history(self) -> list[Entry]:
        """
        Return everything that ever happened to the rules, the oldest first.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        entries: list[Entry] = []
        begin: Argument = "-"
        while True:
            with translated("rules"):
                (page,) = await run(self._client, [("XRANGE", RULES_LOG, begin, "+", "COUNT", _PAGE)])
            entries += [_entry(entry_id, flat) for entry_id, flat in page]
            if len(page) < _PAGE:
                return entries
            begin = b"(" + page[-1][0]


def _fields(flat: Sequence[bytes]) -> dict[str, str]:
    texts = [value.decode() for value in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _entry(entry_id: bytes, flat: Sequence[bytes]) -> Entry:
    at_ms = int(entry_id.partition(b"-")[0])
    return msgspec.convert({**_fields(flat), "at_ms": at_ms}, Entry, strict=False)
