"""
Changing the models of a running fleet: push, promote, roll back, canary, shadows, each checked before anything is written.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from fraudstream.adapters.model_folder import ModelRegistry
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_models import Entry, Note, Pointer, RedisModels
from fraudstream.app.connections import address
from fraudstream.app.loading import load_rulebook
from fraudstream.app.model_registry import load_pushed, open_registry, warmed
from fraudstream.domain.errors import IncompatibleModel, ModelRefused
from fraudstream.features.definitions import FeatureSet
from fraudstream.scoring.load import check_model, read_model
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE, Manifest, decode_manifest
from fraudstream.settings import Settings

#: What the model that came from no push is called, and how it is asked for.
FROM_FILE, FILE = "the file of the settings", "file"
#: Fewest digits by which a model may be named.
_FEWEST_DIGITS = 6
#: Changes that reach decisions: what a rollback goes back over.
_DECIDING = ("promote", "canary")
_CARD = "README.md"


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """
    A model that can be promoted.
    """

    model: str
    version: str
    new: bool
    place: str


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """
    A model of the registry. ``role`` is champion, canary, shadow or empty; ``problem`` says why it cannot be used, if so.
    """

    model: str
    version: str
    role: str
    author: str
    at_ms: int
    reason: str
    trained_until: str
    metrics: dict[str, float]
    problem: str


class ModelDesk:
    """
    Where people change the models in use.

    Args:
        models: Notes and pointer in Redis.
        registry: The bytes.
        features: Definitions that every model is checked against.
        actor: Who sits here; the name is believed.
    """

    def __init__(self, models: RedisModels, registry: ModelRegistry, features: FeatureSet, actor: str) -> None:
        self._models = models
        self._registry = registry
        self._features = features
        self._actor = actor

    async def push(self, path: Path, *, reason: str) -> Pushed:
        """
        Check a model folder and keep it in the registry; it is not in use yet.

        Raises:
            IncompatibleModel: It is damaged, or does not fit the features; nothing is written.
        """
        raw, manifest_raw = read_model(path)
        folder = path.parent if path.suffix == ".onnx" else path
        manifest = decode_manifest(manifest_raw, folder / MANIFEST_FILE)
        model = warmed(
            check_model(raw, manifest, self._features.names, feature_set=self._features.id, path=folder / MODEL_FILE)
        )
        known = await self._models.note(model.id)
        manifest_raw = manifest_raw if known is None else known.manifest.encode()
        card = folder / _CARD
        files = {MODEL_FILE: raw, MANIFEST_FILE: manifest_raw, **({_CARD: card.read_bytes()} if card.is_file() else {})}
        self._registry.write(model.id, files)
        new = await self._models.push(model.id, manifest_raw, author=self._actor, reason=reason)
        return Pushed(model=model.id, version=model.version, new=new, place=self._registry.place)

    async def promote(self, what: str, *, reason: str) -> Pointer:
        """
        Make a model the champion. A canary ends with that; a shadow that becomes champion is no shadow any more.

        Args:
            what: A version, first digits of a hash, or ``file`` for the file of the settings.
            reason: Why, for the history.

        Raises:
            IncompatibleModel: There is no such model, it is damaged, or it does not fit the features of today.
            ModelRefused: It is the champion already, or somebody else was faster.
        """
        seen = await self._models.pointer()
        model = "" if what == FILE else await self._usable(what)
        if seen.champion == model and not seen.canary:
            raise ModelRefused(f"{_called(model)} is the champion already")
        shadows = tuple(one for one in seen.shadows if one != model)
        return await self._point(seen, reason, "promote", champion=model, canary="", share=0.0, shadows=shadows)

    async def rollback(self, *, reason: str) -> Pointer:
        """
        Undo the last promotion or canary; again and again, down to the file of the settings. Shadows stay.

        Raises:
            IncompatibleModel: What would come back is damaged or does not fit any more.
            ModelRefused: There is nothing to undo, or somebody else was faster.
        """
        seen = await self._models.pointer()
        stack = _stack(await self._models.history())
        if not stack:
            raise ModelRefused(f"nothing to roll back: {FROM_FILE} is in use")
        before = stack[-2] if len(stack) > 1 else Pointer()
        for model in (before.champion, before.canary):
            if model:
                await self._usable(model)
        return await self._point(
            seen, reason, "rollback", champion=before.champion, canary=before.canary, share=before.share, shadows=seen.shadows
        )

    async def canary(self, what: str | None, *, share: float, reason: str) -> Pointer:
        """
        Let a model decide for a share of the cards, always the same ones; None ends it.

        Raises:
            IncompatibleModel: As ``promote``.
            ModelRefused: It is the champion, there is none to end, or somebody else was faster.
        """
        seen = await self._models.pointer()
        model = "" if what is None else await self._usable(what)
        if not model and not seen.canary:
            raise ModelRefused("there is no canary")
        if model and model == seen.champion:
            raise ModelRefused(f"{_called(model)} is the champion already")
        return await self._point(
            seen, reason, "canary", champion=seen.champion, canary=model, share=share if model else 0.0, shadows=seen.shadows
        )

    async def shadow(self, what: str, *, off: bool, reason: str) -> Pointer:
        """
        Let a model score everything and decide nothing, or end that.

        Raises:
            IncompatibleModel: As ``promote``.
            ModelRefused: It is one already, or is none; or somebody else was faster.
        """
        seen = await self._models.pointer()
        model = await self.full(what) if off else await self._usable(what)
        if off != (model in seen.shadows):
            raise ModelRefused(f"{_called(model)} is {'no shadow' if off else 'a shadow already'}")
        shadows = tuple(one for one in seen.shadows if one != model) if off else (*seen.shadows, model)
        return await self._point(
            seen, reason, "shadow", champion=seen.champion, canary=seen.canary, share=seen.share, shadows=shadows
        )

    async def models(self) -> tuple[Pointer, list[Listed]]:
        """
        Return the pointer and every model of the registry, the newest first.
        """
        pointer = await self._models.pointer()
        notes = [note for one in await self._known() if (note := await self._models.note(one)) is not None]
        return pointer, [self._listed(note, pointer) for note in sorted(notes, key=lambda one: -one.at_ms)]

    async def history(self) -> tuple[Pointer, list[Entry]]:
        """
        Return the pointer, and everything that happened, the oldest first.
        """
        return await self._models.pointer(), await self._models.history()

    async def full(self, what: str) -> str:
        """
        Return the model that a version or the first digits of a hash name.

        Raises:
            IncompatibleModel: There is none, or there are several.
        """
        known = await self._known()
        found = [one for one in known if one.startswith(what.lower())] if len(what) >= _FEWEST_DIGITS else []
        if not found:
            found = [one for one in known if (note := await self._models.note(one)) and _version(note) == what]
        if len(found) != 1:
            why = (
                f"several models are called {what!r}: {', '.join(one[:12] for one in found)}"
                if found
                else f"no model is {what!r}"
            )
            raise IncompatibleModel(f"{why}; name one by its hash (at least {_FEWEST_DIGITS} digits): fraudstream model list")
        return found[0]

    async def _usable(self, what: str) -> str:
        model = await self.full(what)
        note = await self._models.note(model)
        assert note is not None, "what is known has a note"
        await asyncio.to_thread(load_pushed, self._registry, note, self._features)
        return model

    async def _known(self) -> list[str]:
        return sorted({entry.champion for entry in await self._models.history() if entry.kind == "push"})

    async def _point(
        self, seen: Pointer, reason: str, kind: str, *, champion: str, canary: str, share: float, shadows: Sequence[str]
    ) -> Pointer:
        wanted = Pointer(
            champion=champion,
            canary=canary,
            share=share,
            shadows=tuple(shadows),
            kind=kind,
            actor=self._actor,
            reason=reason,
        )
        return msgspec.structs.replace(wanted, seq=await self._models.point(seen, wanted))

    def _listed(self, note: Note, pointer: Pointer) -> Listed:
        manifest = _manifest(note)
        problem = ""
        try:
            load_pushed(self._registry, note, self._features)
        except IncompatibleModel as exc:
            problem = str(exc)
        return Listed(
            model=note.model,
            version=manifest.version,
            role=_role(note.model, pointer),
            author=note.author,
            at_ms=note.at_ms,
            reason=note.reason,
            trained_until=manifest.training.last,
            metrics={name: one.value for name, one in manifest.metrics.items()},
            problem=problem,
        )


@asynccontextmanager
async def open_model_desk(settings: Settings, actor: str) -> AsyncIterator[ModelDesk]:
    """
    Lend the desk for the models of the fleet on the Redis that the settings name.
    """
    features = load_rulebook(settings).features
    async with connected(address(settings), connections=2) as client:
        yield ModelDesk(RedisModels(client), open_registry(settings), features, actor)


def _manifest(note: Note) -> Manifest:
    return decode_manifest(note.manifest.encode(), Path(note.model))


def _version(note: Note) -> str:
    return _manifest(note).version


def _role(model: str, pointer: Pointer) -> str:
    if model == pointer.champion:
        return "champion"
    if model == pointer.canary:
        return "canary"
    return "shadow" if model in pointer.shadows else ""


def _called(model: str) -> str:
    return model[:12] or FROM_FILE


def _stack(history: Sequence[Entry]) -> list[Entry]:
    """
    Return the changes that a rollback goes back over, the present state last.
    """
    stack: list[Entry] = []
    for entry in history:
        if entry.kind == "rollback":
            stack = stack[:-1]
        elif entry.kind in _DECIDING:
            stack.append(entry)
    return stack
