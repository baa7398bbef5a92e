"""
Negative controls: ways of doing it that look right and are not. The proof must fail on each, or it proves nothing.

They replace scripts and methods in the processes of a chaos run, before anything is read; nothing else can reach them.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fraudstream.adapters import redis_janitor, redis_stream, redis_touch, redis_verdicts
from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.adapters.redis_scripts import Script
from fraudstream.adapters.redis_stream import RedisTransactionStream
from fraudstream.domain.errors import ConfigurationError
from fraudstream.fleet.hands import Hands
from fraudstream.fleet.ports import Delivery
from fraudstream.fleet.worker import Worker


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """
    One way of breaking the protocol in a process of the chaos.

    ``harm`` says in words what is wrong with it, ``shows`` names the figures of the report one of which must tell.
    ``settings`` are given to the workers beside; with ``trims`` they trim their streams themselves. ``needs`` are changes of
    the profile without which it would do no harm.
    """

    break_it: Callable[[], None]
    harm: str
    shows: tuple[str, ...]
    settings: dict[str, str] = {}
    trims: bool = False
    needs: dict[str, Any] = {}


def _rewrite(module: Any, name: str, *changes: tuple[str, str]) -> None:
    """
    Replace passages of a script of the product.

    Raises:
        ConfigurationError: A passage is not there: the script has changed, and the control must follow it.
    """
    script: Script = getattr(module, name)
    text = script.text
    for old, new in changes:
        if old not in text:
            raise ConfigurationError(f"the control does not fit {name.lower()}.lua any more: it lacks {old!r}")
        text = text.replace(old, new)
    setattr(module, name, Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()))


_LOOKED_AT = "local v = moved[txn] or stood[i]"


def _always_touches() -> None:
    """
    Let no group look at the records instead of touching: what is wrong with the script would seldom be seen.
    """
    redis_touch.RedisEntityStore.looks_first = False


def _naive_setnx() -> None:
    _always_touches()
    _rewrite(
        redis_touch,
        "TOUCH",
        (
            _LOOKED_AT,
            """local v = 'D'
    if call('SET', 'naive:' .. group .. txn, '1', 'NX', 'EX', 3600) then v = moved[txn] or stood[i] end""",
        ),
    )


def _no_deduplication() -> None:
    _always_touches()
    _rewrite(
        redis_touch,
        "TOUCH",
        ("~= txn then", "~= KEYS[k] then"),
        ("txns[#txns + 1] = KEYS[k] end", "txns[#txns + 1] = KEYS[k] .. ':' .. entry(#txns + 1) end"),
    )
    _rewrite(
        redis_verdicts,
        "COMPLETE",
        ("txns[i] = KEYS[4 + i] end", "txns[i] = KEYS[4 + i] .. ':' .. ARGV[a + 3 * (i - 1)] end"),
    )


def _no_owner_last_wins() -> None:
    _rewrite(
        redis_verdicts,
        "COMPLETE",
        ("  if mine[id] then", "  if true then"),
        (
            "    elseif s == 'D' or s == me then r = 'U'\n",
            """    elseif s == me or (s == 'D' and emission == '') then
      call('SET', txn, record)
      moved[txn], r = record, 'O'
""",
        ),
        ("elseif sub(emission, 1, 8) == sub(v, 2, 9) then", "elseif s == 'D' or sub(emission, 1, 8) == sub(v, 2, 9) then"),
    )


def _touch_without_record() -> None:
    again = "\n      shift(k, txn, at)\n      "
    _always_touches()
    _rewrite(
        redis_touch,
        "TOUCH",
        ("elseif s == 'T' then out[i] = 't'", f"elseif s == 'T' then{again}out[i] = 't'"),
        ("else out[i] = v end", f"else{again}out[i] = v end"),
    )


def _no_write_id_check() -> None:
    _rewrite(redis_verdicts, "COMPLETE", ("elseif sub(emission, 1, 8) == sub(v, 2, 9) then", "elseif true then"))


def _both_unasked() -> None:
    _rewrite(
        redis_verdicts,
        "COMPLETE",
        ("  if mine[id] then", "  if mine[id] or both ~= '' then"),
        ("if s == 'T' or s == 'L' then r = decide(", "if true then r = decide("),
    )


def _unsafe_trim() -> None:
    _rewrite(
        redis_janitor,
        "TRIM",
        ("local id = p[1] > 0 and p[2] or f['last-delivered-id']", "local id = f['last-delivered-id']"),
        ("'MINID', '~', safe", "'MINID', '=', safe"),
    )


def _client_retries() -> None:
    def reader(self: RedisAddress, tag: str = "") -> Any:
        del tag
        options = {name: value for name, value in self.options().items() if name != "retry_on_error"}
        return type(self.commands(1)).from_url(self.url, single_connection_client=True, **options)

    RedisAddress.reader = reader  # type: ignore[method-assign]
    RedisTransactionStream.stranded = _nothing  # type: ignore[assignment, method-assign]


def _no_step_in() -> None:
    Worker._step_in = _nothing  # type: ignore[assignment, method-assign]  # noqa: SLF001 from outside, on purpose


async def _nothing(*_: object) -> list[Delivery]:
    return []


def _acknowledged_before_sent() -> None:
    read = RedisTransactionStream.read

    async def hasty(self: RedisTransactionStream, count: int, block_ms: int) -> list[Delivery]:
        found: list[Delivery] = await read(self, count, block_ms)
        if self.group == "alerter":
            entry_ids: Sequence[bytes] = [one.entry_id for one in found]
            await self.acknowledge(entry_ids)
        return found

    RedisTransactionStream.read = hasty  # type: ignore[method-assign]


def _deaths_condemn() -> None:
    _rewrite(
        redis_stream,
        "CLAIM",
        ("math.max(deliveries, math.min(deliveries + 1, tonumber(ARGV[7])))", "deliveries + 1"),
    )
    once = Hands._once  # noqa: SLF001 from outside, on purpose

    async def harsh(self: Hands, batch: Sequence[Delivery]) -> None:
        if batch[0].fields is not None and batch[0].deliveries > 1:
            await self._give_up(batch[0], "its worker died")
        else:
            await once(self, batch)

    Hands._once = harsh  # type: ignore[method-assign]  # noqa: SLF001 likewise


CONTROLS: dict[str, Control] = {
    "naive-setnx": Control(
        break_it=_naive_setnx,
        harm="SETNX, then the work: who dies in between is taken for a duplicate when he comes again",
        shows=("lost",),
    ),
    "no-deduplication": Control(
        break_it=_no_deduplication,
        harm="every entry is a transaction of its own, whatever its id",
        shows=("doubled", "counter_errors"),
    ),
    "no-owner-check": Control(
        break_it=_no_owner_last_wins,
        harm="whoever comes last wins, owner of the entry or not",
        shows=("doubled", "lost", "keys_left"),
    ),
    "touch-without-record": Control(
        break_it=_touch_without_record,
        harm="entity states move at every delivery",
        shows=("counter_errors",),
    ),
    "no-write-id-check": Control(
        break_it=_no_write_id_check,
        harm="a decision is emitted without asking whether it was made from the verdict that stands",
        shows=("lost", "doubled", "dead_letter_innocents", "vector_errors"),
        settings={"FRAUDSTREAM_FOLLOW_MS": "0"},  # or the model waits for the rules, and seldom are both at it at once
    ),
    "both-unasked": Control(
        break_it=_both_unasked,
        harm="who decides for both groups asks neither whose the entries are nor whether they are decided",
        shows=("doubled",),
        needs={"groups": (*("fraud-check,ml-scoring",) * 3, "recorder", "alerter", "labels")},
    ),
    "unsafe-trim": Control(
        break_it=_unsafe_trim,
        harm="streams are trimmed up to what was handed out, finished or not",
        shows=("lost", "dead_letter_innocents"),
        settings={"FRAUDSTREAM_JANITOR_INTERVAL_S": "0.2"},
        trims=True,
    ),
    "client-retries": Control(
        break_it=_client_retries,
        harm="lost replies are left to the retries of the client, and nobody looks for what they leave behind",
        shows=("pending",),
        needs={"sigkill": 0, "stops": 0, "crash_hits": 0, "read_lost": 12, "sigterm": 0, "redis_kill": 0},
    ),
    "no-step-in": Control(
        break_it=_no_step_in,
        harm="nobody steps in for a group that is gone",
        shows=("late_without_model",),
        needs={"model_stops": 1, "whole": 0.2},
    ),
    "acknowledged-before-sent": Control(
        break_it=_acknowledged_before_sent,
        harm="an entry of the fraud stream is acknowledged before people are told",
        shows=("alerts_missing",),
    ),
    "deaths-condemn": Control(
        break_it=_deaths_condemn,
        harm="whatever a worker held that died is held against it",
        shows=("dead_letter_innocents",),
        settings={"FRAUDSTREAM_MAX_DELIVERIES": "1"},
    ),
}
