"""
The registry of models as a folder on disk: one folder per model, named by the hash of its bytes, written once.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fraudstream.domain.errors import IncompatibleModel
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE


class ModelRegistry(Protocol):
    """
    Where the bytes of models are kept, by the SHA-256 of the model itself. What is there is never changed.
    """

    @property
    def place(self) -> str:
        """
        What people call it.
        """
        ...

    def models(self) -> list[str]:
        """
        Return the models that are there, sorted; none where there is no registry yet.
        """
        ...

    def read(self, model: str) -> tuple[bytes, bytes]:
        """
        Return the bytes of a model and of its manifest, unchecked. Blocks.

        Raises:
            IncompatibleModel: It is not there, or cannot be read.
        """
        ...

    def files(self, model: str) -> dict[str, bytes]:
        """
        Return every file of a model by name, unchecked. Blocks.

        Raises:
            IncompatibleModel: It is not there, or cannot be read.
        """
        ...

    def write(self, model: str, files: Mapping[str, bytes]) -> None:
        """
        Keep the files of a model, whole or not at all as far as others can see; again is harmless. Blocks.

        Raises:
            IncompatibleModel: The registry cannot be written to.
        """
        ...


class ModelFolder:
    """
    ``ModelRegistry`` in a folder, which every worker that scores must see: a shared disk, or a volume.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    @property
    def place(self) -> str:
        """
        The folder's path.
        """
        return str(self._path)

    def models(self) -> list[str]:
        """
        Return what is there.
        """
        return sorted(path.parent.name for path in self._path.glob(f"*/{MODEL_FILE}") if not path.parent.name.startswith("."))

    def read(self, model: str) -> tuple[bytes, bytes]:
        """
        Return model and manifest.
        """
        folder = self._path / model
        try:
            return (folder / MODEL_FILE).read_bytes(), (folder / MANIFEST_FILE).read_bytes()
        except OSError as exc:
            raise IncompatibleModel(not_there(model, self.place, exc.strerror or type(exc).__name__)) from exc

    def files(self, model: str) -> dict[str, bytes]:
        """
        Return what its folder holds.
        """
        self.read(model)
        return {path.name: path.read_bytes() for path in (self._path / model).iterdir() if path.is_file()}

    def write(self, model: str, files: Mapping[str, bytes]) -> None:
        """
        Write into a folder of another name and rename it.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".", dir=self._path))
            for name, body in files.items():
                (draft / name).write_bytes(body)
            draft.chmod(0o755)  # others must read what a temporary folder keeps to its owner
            if self._holds(model, files):
                shutil.rmtree(draft)
                return
            shutil.rmtree(self._path / model, ignore_errors=True)  # what is there is damaged: equal names mean equal bytes
            draft.replace(self._path / model)
        except OSError as exc:
            raise IncompatibleModel(
                f"the model registry {self.place} cannot be written to ({exc.strerror or exc}); name another with"
                " FRAUDSTREAM_MODEL_REGISTRY"
            ) from exc

    def _holds(self, model: str, files: Mapping[str, bytes]) -> bool:
        folder = self._path / model
        return all((folder / name).is_file() and (folder / name).read_bytes() == body for name, body in files.items())


def not_there(model: str, place: str, why: str) -> str:
    """
    Say that a model is missing, and what to do.
    """
    return (
        f"model {model[:12]} cannot be read from the registry {place} ({why}); every worker must see the folder that models are"
        " pushed to: set FRAUDSTREAM_MODEL_REGISTRY, or push it again"
    )
