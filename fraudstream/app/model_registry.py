"""
From a model in the registry to a model in use: found, compared with what was pushed, checked, and warmed up.
"""

import importlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from fraudstream.adapters.model_folder import ModelFolder, ModelRegistry
from fraudstream.adapters.redis_models import Note
from fraudstream.domain.errors import IncompatibleModel
from fraudstream.domain.steps import Steps, at_once
from fraudstream.features.definitions import FeatureSet
from fraudstream.scoring.load import check_in_steps
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE, decode_manifest
from fraudstream.scoring.model import OnnxModel
from fraudstream.settings import Settings

#: Rows of a made-up batch: as many as a worker reads at once.
_WARM_UP_ROWS = 128


def open_registry(settings: Settings) -> ModelRegistry:
    """
    Return the registry that the settings name.

    Raises:
        IncompatibleModel: It is a URL that leads nowhere.
    """
    url = urlsplit(settings.model_registry)
    if url.scheme in ("", "file"):
        return ModelFolder(Path(unquote(url.path) if url.scheme else settings.model_registry))
    # The file systems of Arrow take 40 MB of every worker: they are loaded where an object store is named, and nowhere else.
    objects = importlib.import_module("fraudstream.adapters.model_objects")
    registry: ModelRegistry = objects.ModelObjects(settings.model_registry)
    return registry


class PushedModels:
    """
    The models of a registry that were made for some features.
    """

    def __init__(self, registry: ModelRegistry, features: FeatureSet) -> None:
        self._registry = registry
        self._features = features

    def read(self, note: Note) -> tuple[bytes, bytes]:
        """
        Return the bytes of a model and of its manifest; blocks for as long as the registry takes.

        Raises:
            IncompatibleModel: They are not there.
        """
        return self._registry.read(note.model)

    def built(self, note: Note, model: bytes, manifest: bytes) -> Steps[OnnxModel]:
        """
        Make a model from what was read, checked and warmed up, in steps of a millisecond or two.

        Raises:
            IncompatibleModel: It was cut short, changed since it was pushed, or does not fit the feature definitions.
        """
        where, features = Path(self._registry.place) / note.model, self._features
        if manifest.decode(errors="replace") != note.manifest:
            raise IncompatibleModel(f"{where / MANIFEST_FILE} is not the manifest that was pushed; push the model again")
        kept = decode_manifest(manifest, where / MANIFEST_FILE)
        if kept.sha256 != note.model:
            raise IncompatibleModel(f"{where / MANIFEST_FILE} speaks for model {kept.sha256[:12]}; push the model again")
        yield
        steps = check_in_steps(model, kept, features.names, feature_set=features.id, path=where / MODEL_FILE)
        loaded = yield from steps
        yield
        return warmed(loaded)


def load_pushed(registry: ModelRegistry, note: Note, features: FeatureSet) -> OnnxModel:
    """
    Load a model that was pushed; blocks for a few hundredths of a second.

    Raises:
        IncompatibleModel: It is missing, cut short, changed since it was pushed, or does not fit the feature definitions.
    """
    models = PushedModels(registry, features)
    return at_once(models.built(note, *models.read(note)))


def warmed(model: OnnxModel) -> OnnxModel:
    """
    Let a model score and explain made-up rows once, so that no payment pays for what is set up at first use.

    Raises:
        IncompatibleModel: Of rows without any history it says something that is no probability.
    """
    matrix = np.zeros((_WARM_UP_ROWS, len(model.feature_names)), dtype=np.float32)
    matrix[::2] = np.nan
    scores = model.score(matrix)
    model.reasons(matrix[:2])
    if not np.isfinite(scores).all():
        raise IncompatibleModel(f"model {model.version} gives no number for a payment without history; train it anew")
    return model
