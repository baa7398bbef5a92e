"""
The registry of models in an object store, or wherever else a URL of Apache Arrow's file systems leads.
"""

from collections.abc import Mapping

import pyarrow as pa
from pyarrow import fs

from fraudstream.adapters.model_folder import not_there
from fraudstream.domain.errors import IncompatibleModel
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE


class ModelObjects:
    """
    ``ModelRegistry`` under a URL such as ``s3://bucket/models``, ``gs://bucket/models`` or ``file:///srv/models``.

    Credentials are found as the store's own tools find them: environment, profile, instance.

    Raises:
        IncompatibleModel: The URL names no file system that is known here.
    """

    def __init__(self, url: str) -> None:
        self.place = url
        try:
            self._files, self._root = fs.FileSystem.from_uri(url)
        except (pa.ArrowException, OSError, ValueError) as exc:
            raise IncompatibleModel(f"the model registry {url} cannot be used ({exc})") from exc

    def models(self) -> list[str]:
        """
        Return what is there.
        """
        try:
            found = self._files.get_file_info(fs.FileSelector(self._root, recursive=True, allow_not_found=True))
        except OSError as exc:
            raise IncompatibleModel(f"the model registry {self.place} cannot be read ({exc})") from exc
        return sorted(one.path.split("/")[-2] for one in found if one.base_name == MODEL_FILE)

    def read(self, model: str) -> tuple[bytes, bytes]:
        """
        Return model and manifest.
        """
        try:
            return self._bytes(model, MODEL_FILE), self._bytes(model, MANIFEST_FILE)
        except OSError as exc:
            raise IncompatibleModel(not_there(model, self.place, str(exc))) from exc

    def files(self, model: str) -> dict[str, bytes]:
        """
        Return what stands under its name.
        """
        try:
            found = self._files.get_file_info(fs.FileSelector(f"{self._root}/{model}"))
            names = [one.base_name for one in found if one.is_file]
            return {name: self._bytes(model, name) for name in names}
        except OSError as exc:
            raise IncompatibleModel(not_there(model, self.place, str(exc))) from exc

    def write(self, model: str, files: Mapping[str, bytes]) -> None:
        """
        Write the model itself last: what ``models`` lists is whole.
        """
        try:
            self._files.create_dir(f"{self._root}/{model}", recursive=True)
            for name in sorted(files, key=lambda one: one == MODEL_FILE):
                with self._files.open_output_stream(f"{self._root}/{model}/{name}") as stream:
                    stream.write(files[name])
        except OSError as exc:
            raise IncompatibleModel(f"the model registry {self.place} cannot be written to ({exc})") from exc

    def _bytes(self, model: str, name: str) -> bytes:
        with self._files.open_input_stream(f"{self._root}/{model}/{name}") as stream:
            return bytes(stream.read())
