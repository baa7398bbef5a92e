"""
The dead letters of ``transactions:dlq``: read in pages, put back, corrected beside the original, taken out.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import DECISIONS, DLQ, RAW, Keys
from fraudstream.adapters.redis_scripts import Argument, Call, Script, run
from fraudstream.adapters.redis_stream import plain

#: Letters of one read: a letter holds up to 64 KiB a field.
_PAGE = 100
#: What a letter says of itself, in front of the fields of its entry; see ``RedisTransactionStream.bury``.
_HEAD = ("source", "entry_id", "group", "consumer", "deliveries", "reason", "error", "left_out", "edited_from")
#: The consumer that a corrected copy names, which no worker can be called.
_EDITOR = "dlq-edit"

_TEXT = (Path(__file__).parent / "lua" / "replay_letter.lua").read_text(encoding="utf-8")
_REPLAY = Script(_TEXT, hashlib.sha1(_TEXT.encode(), usedforsecurity=False).hexdigest())


class Place(StrEnum):
    """
    Where Redis says that a transaction stands: no record, seen and not decided, decided within the horizon.
    """

    ABSENT = "absent"
    IN_WORK = "in_work"
    DECIDED = "decided"


class StoredLetter(msgspec.Struct, frozen=True, kw_only=True):
    """
    One dead letter as it stands in the stream.

    ``fields`` are those of the entry that was given up, as far as they were kept. ``left_out`` says in words what was not.
    ``edited_from`` is the letter that this one is a corrected copy of, empty for an original.
    """

    letter_id: str
    source: str
    entry_id: str
    group: str
    consumer: str
    deliveries: int
    reason: str
    error: str
    fields: Mapping[bytes, bytes]
    left_out: str = ""
    edited_from: str = ""

    @property
    def dead_at_ms(self) -> int:
        """
        When the letter was written, in milliseconds by the clock of Redis.
        """
        return int(self.letter_id.partition("-")[0])


class RedisLetters:
    """
    The dead letters of one partition.

    Args:
        client: Any client; its replies are read as they are on the wire.
        keys: Names of the partition.
        record_ttl_s: How long a decided transaction that is replayed stays known at least: the deduplication horizon and more.
    """

    def __init__(self, client: Redis, keys: Keys, *, record_ttl_s: int) -> None:
        self._client = plain(client)
        self._keys = keys
        self._dlq = keys.stream(DLQ)
        self._record_ttl_ms = record_ttl_s * 1000

    @property
    def name(self) -> str:
        """
        The name of the stream.
        """
        return self._dlq

    async def read(self, since_ms: int = 0) -> AsyncIterator[StoredLetter]:
        """
        Yield the letters written since a time, oldest first.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        start = str(since_ms)
        while True:
            with translated("XRANGE"):
                page = await self._client.execute_command("XRANGE", self._dlq, start, "+", "COUNT", _PAGE)
            for letter_id, flat in page:
                yield _letter(letter_id, flat)
            if len(page) < _PAGE:
                return
            start = f"({page[-1][0].decode()}"

    async def get(self, letter_id: str) -> StoredLetter | None:
        """
        Return one letter; None when there is none of this id.
        """
        with translated("XRANGE"):
            found = await self._client.execute_command("XRANGE", self._dlq, letter_id, letter_id)
        return _letter(*found[0]) if found else None

    async def places(self, transaction_ids: Sequence[str]) -> list[Place]:
        """
        Return where each transaction stands.
        """
        with translated("GETRANGE"):
            marks = await run(self._client, [("GETRANGE", self._keys.txn(one), 0, 0) for one in transaction_ids])
        return [{b"": Place.ABSENT, b"D": Place.DECIDED}.get(mark, Place.IN_WORK) for mark in marks]

    async def replay(self, letter: StoredLetter, *, to: str, transaction_id: str | None, decided: bool) -> str | None:
        """
        Put a letter's entry on a stream and take the letter out, in one step; a second call finds nothing to do.

        Args:
            letter: As read.
            to: Stream; the letter's own source, unless somebody wants a look at it elsewhere.
            transaction_id: Whose decision the entry must not double; it stays known for another horizon.
            decided: Refuse if the transaction is not known as decided any more: the entry would be decided again.

        Returns:
            The id of the new entry; None when the letter is gone or the refusal applies, and nothing was changed.
        """
        deduplicated = transaction_id is not None and to == self._keys.stream(RAW)
        txn = self._keys.txn(transaction_id) if transaction_id is not None and deduplicated else self._dlq
        keys = (self._dlq, to, self._keys.dead(letter.source, self._part(letter, transaction_id)), txn)
        words: list[Argument] = [letter.letter_id, "1" if decided and deduplicated else "0", self._record_ttl_ms]
        for name, value in letter.fields.items():
            words += [name, value]
        with translated("replay"):
            (reply,) = await run(self._client, [Call(_REPLAY, keys, words)])
        return None if reply in (b"K", b"X") else reply.decode()

    async def add_copy(self, letter: StoredLetter, fields: Mapping[bytes, bytes]) -> str:
        """
        Write a corrected copy of a letter beside it and return the copy's id.
        """
        words: list[Argument] = ["source", letter.source, "entry_id", letter.entry_id, "group", letter.group]
        words += ["consumer", _EDITOR, "deliveries", letter.deliveries, "reason", letter.reason, "error", letter.error]
        words += ["edited_from", letter.letter_id]
        for name, value in fields.items():
            words += [f"entry.{name.decode()}".encode() if name.decode(errors="replace") in _HEAD else name, value]
        with translated("XADD"):
            copied: bytes = await self._client.execute_command("XADD", self._dlq, "*", *words)
        return copied.decode()

    async def discard(self, letter_id: str) -> bool:
        """
        Take a letter out for good; False when it is gone already.
        """
        with translated("XDEL"):
            return bool(await self._client.execute_command("XDEL", self._dlq, letter_id))

    def _part(self, letter: StoredLetter, transaction_id: str | None) -> str:
        # What was given up is marked by its transaction, and each decision of an entry by its field's name: the mark goes, or a
        # second refusal leaves no letter.
        if letter.source == self._keys.stream(RAW) and letter.reason == "max_retries" and transaction_id is not None:
            return transaction_id
        if letter.source == self._keys.stream(DECISIONS) and len(letter.fields) == 1:
            return next(iter(letter.fields)).decode(errors="replace")
        return letter.letter_id


def _letter(letter_id: bytes, flat: Sequence[bytes]) -> StoredLetter:
    pairs = dict(zip(flat[::2], flat[1::2], strict=True))
    copied = pairs.get(b"consumer") == _EDITOR.encode()
    names = _HEAD if copied else _HEAD[:-1]
    head = {name: pairs.pop(name.encode()).decode(errors="replace") for name in names if name.encode() in pairs}
    return StoredLetter(
        letter_id=letter_id.decode(),
        source=head.get("source", ""),
        entry_id=head.get("entry_id", ""),
        group=head.get("group", ""),
        consumer=head.get("consumer", ""),
        deliveries=int(deliveries) if (deliveries := head.get("deliveries", "")).isdecimal() else 0,
        reason=head.get("reason", ""),
        error=head.get("error", ""),
        fields={_own_name(name): value for name, value in pairs.items()},
        left_out=head.get("left_out", ""),
        edited_from=head.get("edited_from", ""),
    )


def _own_name(name: bytes) -> bytes:
    own = name.removeprefix(b"entry.")
    return own if own.decode(errors="replace") in _HEAD else name
