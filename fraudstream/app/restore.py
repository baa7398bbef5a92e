"""
``fraudstream restore``: an archive into another system, every member proven before anything is touched.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import msgspec

from fraudstream.adapters.archive import ArchiveReader
from fraudstream.adapters.postgres_audit import AuditEntry, PostgresAudit
from fraudstream.adapters.postgres_migrations import migrate, migrations_folder
from fraudstream.adapters.postgres_records import PostgresRecords, Table, differing, table_of
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_parts import RedisPart, pieces
from fraudstream.app.backup import PARTS, database
from fraudstream.app.connections import address
from fraudstream.app.demo import Progress
from fraudstream.app.letters import Actor
from fraudstream.app.model_registry import open_registry
from fraudstream.domain.errors import DamagedArchive, NotAllowed
from fraudstream.scoring.manifest import MODEL_FILE, sha256_hex
from fraudstream.settings import Settings


class RestorePlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which ``parts`` are put back; with ``force`` over what is there; with ``dry_run`` nothing is.

    ``expected`` is the SHA-256 of the manifest, where it was noted elsewhere.
    """

    parts: tuple[str, ...] = PARTS
    force: bool = False
    dry_run: bool = False
    expected: str = ""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was put back, by part: keys, models, and rows by table; ``about`` is what the archive says of itself.

    ``in_the_way`` is what was there before, by part.
    """

    archive: str
    made_at: str
    dry_run: bool
    about: dict[str, dict[str, Any]]
    in_the_way: dict[str, str]
    restored: dict[str, dict[str, int]]


async def restore(settings: Settings, plan: RestorePlan, source: Path, actor: Actor, progress: Progress) -> Restored:
    """
    Prove an archive, look at the target, and put the parts back, each in one step; may be called again with ``force``.

    Raises:
        DamagedArchive: A member is not what was written, or this version is too old for it; nothing was touched.
        NotAllowed: The target is not empty.
        TransientError: Redis or the database did not answer: the part under way is not there, those before it are.
    """
    with ArchiveReader(source) as archive:
        if plan.expected and not archive.sha256.startswith(plan.expected.lower()):
            raise DamagedArchive(f"{source} is archive {archive.sha256[:16]}…, not {plan.expected[:16]}…")
        progress.step("comparing every member with the manifest")
        archive.verify(lambda done, total: progress.count("bytes proven", done, total))
        work = _Restore(settings, archive, actor, progress)
        parts = tuple(one for one in PARTS if one in plan.parts and one in archive.manifest.about)
        in_the_way = await work.look(parts)
        if in_the_way and not (plan.force or plan.dry_run):
            found = "; ".join(f"{part}: {what}" for part, what in in_the_way.items())
            raise NotAllowed(f"the target is not empty ({found}); give --force to mean it, or name other parts with --only")
        return Restored(
            archive=archive.sha256,
            made_at=archive.manifest.made_at,
            dry_run=plan.dry_run,
            about={part: archive.manifest.about[part] for part in parts},
            in_the_way=in_the_way,
            restored={} if plan.dry_run else {part: await work.put(part) for part in parts},
        )


class _Restore:
    """
    One proven archive over one target.
    """

    def __init__(self, settings: Settings, archive: ArchiveReader, actor: Actor, progress: Progress) -> None:
        self._settings = settings
        self._archive = archive
        self._actor = actor
        self._progress = progress

    async def look(self, parts: tuple[str, ...]) -> dict[str, str]:
        """
        Return what is there already, by part in words.

        Raises:
            DamagedArchive: The archive was made by a version that knows more than this one.
        """
        found: dict[str, str] = {}
        async with connected(address(self._settings), connections=2) as client:
            for part in parts:
                if part != "records" and (there := await RedisPart(client, part).present()):
                    found[part] = ", ".join(there)
        if "records" in parts:
            self._refuse_newer()
            records = await PostgresRecords.connect(database(self._settings))
            try:
                rows = await records.filled()
            finally:
                await records.close()
            if rows:
                found["records"] = ", ".join(f"{count:,} rows of {table}" for table, count in rows.items())
        return found

    def _refuse_newer(self) -> None:
        known = {path.name for path in migrations_folder().glob("*.sql")}
        newer = sorted(set(self._archive.manifest.about["records"]["migrations"]) - known)
        if newer:
            raise DamagedArchive(f"the records were written by a newer version: this one does not know {', '.join(newer)}")

    async def put(self, part: str) -> dict[str, int]:
        """
        Put one part back, whole or not at all; return how much of what.
        """
        self._progress.step(f"restoring the {part}")
        if part == "records":
            return await self._records()
        async with connected(address(self._settings), connections=2) as client:
            if part != "models":
                return {"keys": await self._keys(RedisPart(client, part), part)}
            models = self._objects()  # before the pointer names them
            return {"keys": await self._keys(RedisPart(client, part), part), "models": models}

    async def _keys(self, there: RedisPart, part: str) -> int:
        member = next(one for one in self._archive.manifest.of(part) if one.name.endswith(".keys.gz"))
        with self._archive.open(member) as file:
            return await there.replace(pieces(file))

    def _objects(self) -> int:
        files: dict[str, dict[str, bytes]] = {}
        for member in self._archive.manifest.of("models"):
            _, *inside = member.name.split("/")
            if len(inside) == 2:  # models/<model>/<file>
                with self._archive.open(member) as file:
                    files.setdefault(inside[0], {})[inside[1]] = file.read()
        registry = open_registry(self._settings)
        for number, (model, found) in enumerate(sorted(files.items()), 1):
            if sha256_hex(found[MODEL_FILE]) != model:
                raise DamagedArchive(f"models/{model}/{MODEL_FILE} has another SHA-256 than its name")
            registry.write(model, found)
            self._progress.count("models", number, len(files))
        return len(files)

    async def _records(self) -> dict[str, int]:
        url = database(self._settings)
        await migrate(url)
        about = self._archive.manifest.about["records"]
        records = await PostgresRecords.connect(url)
        try:
            unknown = differing(about["columns"], await records.columns())
            if unknown:
                raise DamagedArchive(
                    f"the tables here have no {', '.join(unknown)}; restore with the version that wrote the archive"
                )
            added = await records.restore(about["columns"], self._rows(), self._told())
        finally:
            await records.close()
        await self._noted(url, sum(added.values()))
        return added

    async def _rows(self) -> AsyncIterator[tuple[Table, IO[bytes]]]:
        for member in self._archive.manifest.of("records"):
            with self._archive.open(member) as file:
                yield table_of(member.name), file

    def _told(self) -> Any:
        total = sum(one.items for one in self._archive.manifest.of("records"))
        done = 0

        def told(_table: str, added: int) -> None:
            nonlocal done
            done += added
            self._progress.count("rows", done, total)

        return told

    async def _noted(self, url: str, rows: int) -> None:
        audit = await PostgresAudit.connect(url)
        try:
            await audit.write(
                AuditEntry(
                    actor=self._actor.name, action="restore", succeeded=True, origin=self._actor.origin, resource="records",
                    detail={"archive": self._archive.sha256, "rows": rows},
                )
            )  # fmt: skip
        finally:
            await audit.close()
