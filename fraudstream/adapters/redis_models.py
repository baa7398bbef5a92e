"""
Which models a fleet works with, in Redis: notes that never change, a pointer to those in use, and the history of both.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import MODEL_SHADOWS, MODELS_ACTIVE, MODELS_LOG, model_note
from fraudstream.adapters.redis_scripts import POINT_MODELS, PUSH_MODEL, Argument, Call, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import ModelRefused
from fraudstream.stages.shadow_scoring import ShadowBatch

#: Entries of one read of the history.
_PAGE = 500
#: Batches of shadow scores that are kept: some 250,000 rows of full batches, 20 MB.
_SHADOW_BATCHES = 2_000


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which models are in use, each by the SHA-256 of its bytes.

    ``champion`` decides; empty is the file that the settings name. ``canary`` decides in its place for ``share`` of the cards,
    empty for none. ``shadows`` score and decide nothing. ``seq`` counts the changes; ``at_ms`` is by the clock of Redis.
    """

    seq: int = 0
    champion: str = ""
    canary: str = ""
    share: float = 0.0
    shadows: tuple[str, ...] = ()
    kind: str = ""
    actor: str = ""
    at_ms: int = 0
    reason: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """
        Every model that is named, each once; the file of the settings has no name.
        """
        return tuple(dict.fromkeys(one for one in (self.champion, self.canary, *self.shadows) if one))


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known of a model in the registry: its manifest as it was pushed first, by whom, when (milliseconds) and why.
    """

    model: str
    manifest: str
    author: str
    at_ms: int
    reason: str


class Entry(Pointer, frozen=True, kw_only=True):
    """
    One line of the history: ``kind`` is push, promote, rollback, canary or shadow.

    Of a push ``champion`` is what was pushed, and ``seq`` is 0.
    """


_P = TypeVar("_P", bound=Pointer)


class RedisModels:
    """
    The models of a fleet; every name has the same hash tag, so that each script touches one slot.

    Every method raises ``StreamUnavailable`` when Redis does not answer.
    """

    def __init__(self, client: Redis) -> None:
        self._client = plain(client)

    async def pointer(self) -> Pointer:
        """
        Return which models are in use; the file of the settings alone, with ``seq`` 0, when nobody ever said.
        """
        (flat,) = await self._run([("HGETALL", MODELS_ACTIVE)])
        return _converted(_fields(flat), Pointer)

    async def note(self, model: str) -> Note | None:
        """
        Return what is known of a model; None when it was never pushed.
        """
        (flat,) = await self._run([("HGETALL", model_note(model))])
        return msgspec.convert({**_fields(flat), "model": model}, Note, strict=False) if flat else None

    async def push(self, model: str, manifest: bytes, *, author: str, reason: str) -> bool:
        """
        Note a model that is in the registry; return whether it is new. Again is harmless.
        """
        call = Call(PUSH_MODEL, (model_note(model), MODELS_LOG), (model, manifest, author, reason))
        (new,) = await self._run([call])
        return bool(new)

    async def point(self, seen: Pointer, wanted: Pointer) -> int:
        """
        Say which models the fleet works with, in one step with the history, and return the new ``seq``.

        Args:
            seen: The pointer that the change was decided on.
            wanted: Models, kind, actor and reason; the rest of it is not looked at.

        Raises:
            ModelRefused: Somebody else changed the models meanwhile, or one of them was never pushed; nothing is changed.
        """
        keys = [MODELS_ACTIVE, MODELS_LOG, *map(model_note, wanted.models)]
        args: list[Argument] = [
            seen.seq, wanted.champion, wanted.canary, repr(wanted.share), ",".join(wanted.shadows),
            wanted.kind, wanted.actor, wanted.reason,
        ]  # fmt: skip
        (seq,) = await self._run([Call(POINT_MODELS, keys, args)])
        if seq == -1:
            raise ModelRefused("somebody else changed the models in use meanwhile; look again: fraudstream model history")
        if seq == -2:
            raise ModelRefused(f"not every model of {', '.join(one[:12] for one in wanted.models)} was pushed; push it first")
        return int(seq)

    async def history(self) -> list[Entry]:
        """
        Return everything that ever happened to the models, the oldest first.
        """
        entries: list[Entry] = []
        begin: Argument = "-"
        while True:
            (page,) = await self._run([("XRANGE", MODELS_LOG, begin, "+", "COUNT", _PAGE)])
            entries += [_entry(entry_id, flat) for entry_id, flat in page]
            if len(page) < _PAGE:
                return entries
            begin = b"(" + page[-1][0]

    async def record_shadow(self, batch: ShadowBatch) -> None:
        """
        Keep what a shadow said of one batch beside what was decided with; the oldest batches make room.
        """
        await self._run(
            [
                ("XADD", MODEL_SHADOWS, "MAXLEN", "~", _SHADOW_BATCHES, "*",
                 "shadow", batch.shadow, "ids", msgspec.msgpack.encode(batch.transaction_ids),
                 "scores", batch.scores, "shadow_scores", batch.shadow_scores),
            ]
        )  # fmt: skip

    async def shadow_batches(self, shadow: str) -> list[ShadowBatch]:
        """
        Return the batches that are kept of one shadow, the oldest first.
        """
        found: list[ShadowBatch] = []
        begin: Argument = "-"
        while True:
            (page,) = await self._run([("XRANGE", MODEL_SHADOWS, begin, "+", "COUNT", _PAGE)])
            found += [batch for _, flat in page if (batch := _shadow_batch(flat)).shadow == shadow]
            if len(page) < _PAGE:
                return found
            begin = b"(" + page[-1][0]

    async def _run(self, commands: Sequence[Call | Sequence[Argument]]) -> list[Any]:
        with translated("models"):
            return await run(self._client, commands)


def _fields(flat: Sequence[bytes]) -> dict[str, str]:
    texts = [value.decode() for value in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _converted(fields: dict[str, str], kind: type[_P]) -> _P:
    shadows = tuple(one for one in fields.get("shadows", "").split(",") if one)
    return msgspec.convert({**fields, "shadows": shadows}, kind, strict=False)


def _entry(entry_id: bytes, flat: Sequence[bytes]) -> Entry:
    at_ms = int(entry_id.partition(b"-")[0])
    return _converted({**_fields(flat), "at_ms": str(at_ms)}, Entry)


def _shadow_batch(flat: Sequence[bytes]) -> ShadowBatch:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return ShadowBatch(
        shadow=fields[b"shadow"].decode(),
        transaction_ids=msgspec.msgpack.decode(fields[b"ids"], type=list[str]),
        scores=fields[b"scores"],
        shadow_scores=fields[b"shadow_scores"],
    )
