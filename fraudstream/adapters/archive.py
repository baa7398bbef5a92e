"""
An archive: members under a manifest that says what each must be, as one tar file or as the same members in a folder.

Written under another name and renamed when whole, for its owner's eyes only. Members are read by name and never unpacked.
"""

import gzip
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, Self, cast

import msgspec

from fraudstream.domain.errors import DamagedArchive, InvalidSettings

#: Version of the manifest; a reader refuses another.
ARCHIVE_SCHEMA = "fraudstream.backup/1"
MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_]+(?:[/.-][A-Za-z0-9_]+)*")
_CHUNK = 1 << 20


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """
    One file of an archive as it must be: ``bytes`` and ``sha256`` of it as it is stored, ``items`` (keys, rows, models) in it.
    """

    name: str
    part: str
    sha256: str
    bytes: int
    items: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an archive holds, part by part. ``about`` says of each part what people ask first; it holds no address and no secret.
    """

    schema: str
    version: str
    made_at: str
    about: dict[str, dict[str, Any]]
    members: list[Member]

    def of(self, part: str) -> list[Member]:
        """
        Return the members of a part, in the order in which they were written.
        """
        return [one for one in self.members if one.part == part]


class Sink:
    """
    One member while it is written; ``items`` is counted by who writes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.items = 0
        self.size = 0

    def write(self, data: bytes) -> None:
        """
        Add bytes.
        """
        self._file.write(data)
        self.size += len(data)


class ArchiveWriter:
    """
    Gathers members in a private folder beside the target; ``finish`` gives it its name, and ``close`` removes what has none.

    Args:
        target: A name that ends in ``.tar`` becomes one file, any other a folder.

    Raises:
        InvalidSettings: There is something under that name already, or no place to write to.
    """

    def __init__(self, target: Path) -> None:
        self._target = target.absolute()
        if self._target.exists():
            raise InvalidSettings(f"{target} is there already; name another, or move it away")
        try:
            self._draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=self._target.parent))
        except OSError as exc:
            raise InvalidSettings(f"{target} cannot be written: {exc.strerror}") from exc
        self._packed = self._draft.with_name(f"{self._draft.name}.tar")
        self._members: list[Member] = []

    @contextmanager
    def member(self, name: str, part: str, *, packed: bool = True) -> Iterator[Sink]:
        """
        Lend the next member; with ``packed`` it is compressed.
        """
        path = self._draft / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _private(path) as raw:
            if packed:
                with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0) as file:
                    sink = Sink(cast("IO[bytes]", file))
                    yield sink
            else:
                sink = Sink(raw)
                yield sink
        digest, size = _digest(path.open("rb"))
        self._members.append(Member(name=name, part=part, sha256=digest, bytes=size, items=sink.items))

    def finish(self, *, version: str, made_at: str, about: dict[str, dict[str, Any]]) -> tuple[Manifest, str]:
        """
        Write the manifest and give the archive its name; return the manifest and its SHA-256.
        """
        manifest = Manifest(schema=ARCHIVE_SCHEMA, version=version, made_at=made_at, about=about, members=self._members)
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
        with _private(self._draft / MANIFEST) as file:
            file.write(text)
        if self._target.suffix == ".tar":
            self._pack().replace(self._target)
        else:
            self._draft.rename(self._target)
        _sync_folder(self._target.parent)
        return manifest, hashlib.sha256(text).hexdigest()

    def close(self) -> None:
        """
        Remove what was not finished.
        """
        shutil.rmtree(self._draft, ignore_errors=True)
        self._packed.unlink(missing_ok=True)

    def _pack(self) -> Path:
        """
        Put the manifest and the members into one file, each member leaving the folder as it goes.
        """
        with _private(self._packed) as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name in [MANIFEST, *(one.name for one in self._members)]:
                tar.add(self._draft / name, arcname=name, filter=_anonymous)
                (self._draft / name).unlink()
        return self._packed


class ArchiveReader:
    """
    The members of an archive by name. Nothing is believed before ``verify``.

    Raises:
        InvalidSettings: There is no such file or folder.
        DamagedArchive: It is no archive of ours, or its manifest cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar: tarfile.TarFile | None = None
        self._places: dict[str, tarfile.TarInfo] = {}
        if path.is_file():
            self._tar, self._places = _open_tar(path)
        elif not path.is_dir():
            raise InvalidSettings(f"there is no archive {path}")
        text = self._manifest_text()
        self.sha256 = hashlib.sha256(text).hexdigest()
        self.manifest = _decoded(text, path)

    def verify(self, told: Callable[[int, int], None]) -> None:
        """
        Read every member once and compare it with the manifest.

        Args:
            told: Called after each member with how many bytes were read, of how many.

        Raises:
            DamagedArchive: A member is missing, cut short or not what was written; the text names it.
        """
        total, done = sum(one.bytes for one in self.manifest.members), 0
        for one in self.manifest.members:
            try:
                digest, size = _digest(self._raw(one.name))
            except (OSError, tarfile.TarError, EOFError) as exc:
                raise DamagedArchive(f"{self._path}: {one.name} is cut short or cannot be read ({exc})") from exc
            if size != one.bytes:
                raise DamagedArchive(f"{self._path}: {one.name} is cut short: {size:,} bytes of {one.bytes:,}")
            if digest != one.sha256:
                raise DamagedArchive(f"{self._path}: {one.name} is not what was written: its SHA-256 differs")
            done += size
            told(done, total)

    @contextmanager
    def open(self, member: Member) -> Iterator[IO[bytes]]:
        """
        Lend what a member holds, unpacked.
        """
        with self._raw(member.name) as raw:
            if not member.name.endswith(".gz"):
                yield raw
                return
            with gzip.GzipFile(fileobj=raw, mode="rb") as file:
                yield cast("IO[bytes]", file)

    def close(self) -> None:
        """
        Close the file.
        """
        if self._tar is not None:
            self._tar.close()

    def __enter__(self) -> Self:
        """
        Lend the archive.
        """
        return self

    def __exit__(self, *_: object) -> None:
        """
        Close the file.
        """
        self.close()

    def _manifest_text(self) -> bytes:
        try:
            with self._raw(MANIFEST) as file:
                return file.read()
        except (OSError, tarfile.TarError, EOFError) as exc:
            raise DamagedArchive(f"{self._path}: {MANIFEST} is cut short or cannot be read ({exc})") from exc

    def _raw(self, name: str) -> IO[bytes]:
        """
        Open a member as it is stored.

        Raises:
            DamagedArchive: It is not there, or its name leads elsewhere.
        """
        if _NAME.fullmatch(name) is None:
            raise DamagedArchive(f"{self._path}: {name!r} is no name of a member")
        if self._tar is None:
            path = self._path / name
            if not path.is_file() or path.is_symlink():
                raise DamagedArchive(f"{self._path}: {name} is missing")
            return path.open("rb")
        place = self._places.get(name)
        file = None if place is None else self._tar.extractfile(place)
        if file is None:
            raise DamagedArchive(f"{self._path}: {name} is missing: the archive ends before it")
        return file


def _open_tar(path: Path) -> tuple[tarfile.TarFile, dict[str, tarfile.TarInfo]]:
    try:
        tar = tarfile.open(path, "r:")  # noqa: SIM115 closed by the reader
    except (tarfile.TarError, OSError) as exc:
        raise DamagedArchive(f"{path} is no archive of ours: {exc}") from exc
    places: dict[str, tarfile.TarInfo] = {}
    with suppress(tarfile.TarError, EOFError):  # what is cut off is found missing by name
        while (place := tar.next()) is not None:
            places.setdefault(place.name, place)
    return tar, places


def _decoded(text: bytes, path: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise DamagedArchive(f"{path}: {MANIFEST} is damaged ({exc})") from exc
    if manifest.schema != ARCHIVE_SCHEMA:
        raise DamagedArchive(f"{path}: {MANIFEST} has schema {manifest.schema!r}; this version reads {ARCHIVE_SCHEMA}")
    return manifest


@contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    """
    Lend a new file for its owner alone; it is on disk afterwards.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """
    Take out whose file it was.
    """
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info


def _digest(file: IO[bytes] | BufferedIOBase) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with file:
        while data := file.read(_CHUNK):
            digest.update(data)
            size += len(data)
    return digest.hexdigest(), size


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
