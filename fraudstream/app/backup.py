"""
``fraudstream backup``: rules, lists, models and records of a running system, in one archive.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fraudstream import __version__
from fraudstream.adapters.archive import ArchiveWriter, Manifest, Sink
from fraudstream.adapters.model_folder import ModelRegistry
from fraudstream.adapters.postgres_audit import AuditEntry, PostgresAudit
from fraudstream.adapters.postgres_records import PostgresRecords, Table
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.adapters.redis_models import RedisModels
from fraudstream.adapters.redis_parts import RedisPart, written
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.app.connections import address
from fraudstream.app.demo import Progress
from fraudstream.app.letters import Actor
from fraudstream.app.list_library import versions_in_force
from fraudstream.app.model_registry import open_registry
from fraudstream.domain.errors import IncompatibleModel, InvalidSettings, NotAllowed
from fraudstream.settings import Settings

#: The parts of an archive, in the order in which they are written and put back.
PARTS = ("rules", "lists", "models", "records")


class BackupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    What goes into an archive: which ``parts``, and of the records those from ``since`` on and before ``until``.
    """

    parts: tuple[str, ...] = PARTS
    since: datetime | None = None
    until: datetime | None = None


class BackedUp(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was written. ``archive`` is the SHA-256 of the manifest; ``missing`` are models whose bytes are gone.
    """

    file: str
    archive: str
    bytes: int
    about: dict[str, dict[str, Any]]
    missing: tuple[str, ...] = ()


async def back_up(settings: Settings, plan: BackupPlan, target: Path, actor: Actor, progress: Progress) -> BackedUp:
    """
    Write an archive beside a running fleet, under another name until it is whole; the audit log has a line of it.

    Raises:
        InvalidSettings: The target is there already or cannot be written, or records are asked for and no database is named.
        NotAllowed: Records hold personal data, and this person may not see it.
        TransientError: Redis or the database did not answer; nothing is left behind.
    """
    if "records" in plan.parts:
        await _noted(settings, actor, target)
    writer = ArchiveWriter(target)
    try:
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        work = _Backup(settings, plan, writer, progress)
        about = await work.run()
        manifest, archive = writer.finish(version=__version__, made_at=made_at, about=about)
    finally:
        writer.close()
    return BackedUp(file=str(target), archive=archive, bytes=_size(manifest), about=about, missing=tuple(work.missing))


async def _noted(settings: Settings, actor: Actor, target: Path) -> None:
    """
    Write who takes all personal data along, whether allowed to or not.
    """
    allowed = not settings.unmask_actors or actor.name in settings.unmask_actors
    audit = await PostgresAudit.connect(database(settings))
    try:
        await audit.write(
            AuditEntry(
                actor=actor.name, action="backup", succeeded=allowed, origin=actor.origin, resource="records",
                detail={"file": target.name},
            )
        )  # fmt: skip
    finally:
        await audit.close()
    if not allowed:
        raise NotAllowed(
            f"{actor.name} may not see personal data, and records hold it; leave them out: --only rules,lists,models"
        )


def database(settings: Settings) -> str:
    """
    Return where the records are.

    Raises:
        InvalidSettings: No database is named.
    """
    if settings.postgres_url is None:
        raise InvalidSettings("records are in the database; set POSTGRES_URL, or leave them out: --only rules,lists,models")
    return settings.postgres_url


class _Backup:
    """
    One archive on its way; ``missing`` are models without bytes.
    """

    def __init__(self, settings: Settings, plan: BackupPlan, writer: ArchiveWriter, progress: Progress) -> None:
        self._settings = settings
        self._plan = plan
        self._writer = writer
        self._progress = progress
        self.missing: list[str] = []

    async def run(self) -> dict[str, dict[str, Any]]:
        about: dict[str, dict[str, Any]] = {}
        async with connected(address(self._settings), connections=2) as client:
            for part in (one for one in PARTS if one in self._plan.parts and one != "records"):
                self._progress.step(f"reading the {part}")
                kept = _Kept(RedisRuleSets(client), RedisLists(client), RedisModels(client))
                about[part] = {**await self._part(RedisPart(client, part), part), **await kept.in_force(part)}
        if "records" in self._plan.parts:
            self._progress.step("reading the records")
            about["records"] = await self._records()
        return about

    async def _part(self, kept: RedisPart, part: str) -> dict[str, Any]:
        keys = set[bytes]()
        changes = 0
        with self._writer.member(f"{part}.keys.gz", part) as sink:
            async for piece in kept.read():
                sink.write(written(piece))
                keys.add(piece.key)
                changes += bool(piece.entry)
            sink.items = len(keys)
        fixed = sum(b":body:" in key or b":note:" in key for key in keys)
        if part == "models":
            return {
                "changes": changes,
                "models": self._objects({key.decode().rpartition(":")[2] for key in keys if b":note:" in key}),
            }
        return {"changes": changes, "versions": fixed}

    def _objects(self, noted: Collection[str]) -> int:
        """
        Copy the bytes of every model that was pushed; return how many.
        """
        registry: ModelRegistry = open_registry(self._settings)
        for number, model in enumerate(sorted(noted), 1):
            try:
                files = registry.files(model)
            except IncompatibleModel:
                self.missing.append(model)
                continue
            for name, body in sorted(files.items()):
                with self._writer.member(f"models/{model}/{name}", "models", packed=False) as sink:
                    sink.write(body)
                    sink.items = 1
            self._progress.count("models", number, len(noted))
        return len(noted) - len(self.missing)

    async def _records(self) -> dict[str, Any]:
        records = await PostgresRecords.connect(database(self._settings))
        try:
            migrations = await records.migrations()
            if not migrations:
                raise InvalidSettings("the database has no tables of ours; leave the records out: --only rules,lists,models")
            rows = await records.read(self._plan.since, self._plan.until, self._member)
            return {
                "since": _text(self._plan.since), "until": _text(self._plan.until), "rows": rows,
                "migrations": migrations, "columns": await records.columns(),
            }  # fmt: skip
        finally:
            await records.close()

    def _member(self, table: Table, number: int) -> AbstractContextManager[Sink]:
        self._progress.step(f"reading {table.name}, part {number + 1}")
        return self._writer.member(f"records/{table.name}-{number:05d}.copy.gz", "records")


class _Kept(msgspec.Struct, frozen=True):
    """
    What tells the state of each part.
    """

    rules: RedisRuleSets
    lists: RedisLists
    models: RedisModels

    async def in_force(self, part: str) -> dict[str, Any]:
        """
        Return what people ask first of a part: what it has in force; empty is the file of the settings.
        """
        if part == "rules":
            return {"in_force": (await self.rules.pointer()).rule_set}
        if part == "lists":
            return {"in_force": versions_in_force(await self.lists.pointers())}
        pointer = await self.models.pointer()
        return {"in_force": pointer.champion, "canary": pointer.canary, "shadows": list(pointer.shadows)}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _size(manifest: Manifest) -> int:
    return sum(one.bytes for one in manifest.members)
