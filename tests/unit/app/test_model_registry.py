"""
Registries: a folder and an object store keep the same promises.
"""

from pathlib import Path

import pytest

from fraudstream.adapters.model_folder import ModelFolder, ModelRegistry
from fraudstream.adapters.model_objects import ModelObjects
from fraudstream.app.model_registry import open_registry
from fraudstream.domain.errors import IncompatibleModel
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE
from fraudstream.settings import Settings

FILES = {MODEL_FILE: b"onnx", MANIFEST_FILE: b"{}"}


@pytest.fixture(params=["folder", "objects"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> ModelRegistry:
    place = tmp_path / "models here"
    return ModelFolder(place) if request.param == "folder" else ModelObjects(place.as_uri())


def test_what_was_written_is_read_and_listed(registry: ModelRegistry) -> None:
    assert registry.models() == []

    registry.write("b" * 64, FILES)
    registry.write("a" * 64, FILES)
    registry.write("a" * 64, FILES)

    assert registry.models() == ["a" * 64, "b" * 64]
    assert registry.read("a" * 64) == (b"onnx", b"{}")


def test_what_is_not_there_is_said_with_the_place(registry: ModelRegistry) -> None:
    with pytest.raises(IncompatibleModel, match=r"model aaaaaaaaaaaa cannot be read from the registry .*models.here"):
        registry.read("a" * 64)


def test_what_was_damaged_is_mended_by_writing_it_again(registry: ModelRegistry) -> None:
    registry.write("a" * 64, FILES)
    registry.write("a" * 64, {**FILES, MODEL_FILE: b"cut"})
    registry.write("a" * 64, FILES)

    assert registry.read("a" * 64) == (b"onnx", b"{}")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(IncompatibleModel, match="cannot be written to"):
        ModelFolder(tmp_path / "file" / "models").write("a" * 64, FILES)


def test_a_url_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(IncompatibleModel, match="gopher://host/models cannot be used"):
        open_registry(Settings(model_registry="gopher://host/models"))


def test_a_path_and_a_file_url_are_folders(tmp_path: Path) -> None:
    assert open_registry(Settings(model_registry=str(tmp_path))).place == str(tmp_path)
    assert open_registry(Settings(model_registry=tmp_path.as_uri())).place == str(tmp_path)
