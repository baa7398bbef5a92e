"""
From a model folder to a model in use: every doubt is settled here, in words, before the worker reads its first transaction.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import count
from pathlib import Path

import onnxruntime

from fraudstream.domain.errors import IncompatibleModel
from fraudstream.domain.steps import Steps, at_once
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE, Manifest, decode_manifest, sha256_hex
from fraudstream.scoring.model import OnnxModel
from fraudstream.scoring.trees import TreePaths, UnreadableTrees, paths_in_steps

_REBUILD = "train it anew with `fraudstream train`"


def load_model(path: Path, feature_names: Sequence[str], *, feature_set: str | None = None) -> OnnxModel:
    """
    Load a model and check that it is whole, itself, and made for these features.

    Args:
        path: A folder with ``fraud.onnx`` and ``fraud.json``, or an ``.onnx`` file with a ``.json`` of the same name beside it.
        feature_names: The columns that the worker computes, in order.
        feature_set: Id of the definitions that the worker computes them by; None leaves it unchecked.

    Raises:
        IncompatibleModel: A file is missing, cut short or changed, or the features differ; the text says which and what to do.
    """
    model_path, manifest_path = _files(path)
    manifest = decode_manifest(_read(manifest_path), manifest_path)
    return check_model(_read(model_path), manifest, feature_names, feature_set=feature_set, path=model_path)


def check_model(
    model: bytes, manifest: Manifest, feature_names: Sequence[str], *, feature_set: str | None = None, path: Path
) -> OnnxModel:
    """
    Do what ``load_model`` does with bytes that came from elsewhere; ``path`` is what they are called in a refusal.

    Raises:
        IncompatibleModel: As ``load_model`` does.
    """
    return at_once(check_in_steps(model, manifest, feature_names, feature_set=feature_set, path=path))


def check_in_steps(
    model: bytes, manifest: Manifest, feature_names: Sequence[str], *, feature_set: str | None = None, path: Path
) -> Steps[OnnxModel]:
    """
    Do the same in steps of a millisecond or two, for a loop that has payments to decide meanwhile.

    Raises:
        IncompatibleModel: As ``load_model`` does.
    """
    _check_bytes(model, manifest, path)
    _check_features(manifest, feature_names, feature_set, path)
    yield
    return (yield from _opened(model, manifest, path))


def read_model(path: Path) -> tuple[bytes, bytes]:
    """
    Return the bytes of model and manifest as they stand in a folder (or beside an ``.onnx`` file), unchecked.

    Raises:
        IncompatibleModel: One of them cannot be read.
    """
    model_path, manifest_path = _files(path)
    return _read(model_path), _read(manifest_path)


def open_model(model: bytes, manifest: Manifest, *, path: Path = Path("the model")) -> OnnxModel:
    """
    Put a model's bytes to use; ``load_model`` has compared them with manifest and definitions before.

    Raises:
        IncompatibleModel: ONNX Runtime cannot run it, it takes or gives something else, or it cannot give reasons.
    """
    return at_once(_opened(model, manifest, path))


def _opened(model: bytes, manifest: Manifest, path: Path) -> Steps[OnnxModel]:
    session = _session(model, path)
    _check_shape(session, manifest, path)
    yield
    return OnnxModel(manifest, session, (yield from _paths(model, len(manifest.features), path)))


def load_manifest(path: Path) -> Manifest:
    """
    Read the manifest of a model folder (or of an ``.onnx`` file) without loading the model.

    Raises:
        IncompatibleModel: It is missing or cannot be read.
    """
    _, manifest_path = _files(path)
    return decode_manifest(_read(manifest_path), manifest_path)


def _files(path: Path) -> tuple[Path, Path]:
    if path.suffix == ".onnx":
        return path, path.with_suffix(".json")
    return path / MODEL_FILE, path / MANIFEST_FILE


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise IncompatibleModel(
            f"{path} cannot be read ({reason}); a model is an .onnx file with its .json manifest: set ML_MODEL_PATH"
            f" or {_REBUILD}"
        ) from exc


def _check_bytes(model: bytes, manifest: Manifest, path: Path) -> None:
    found = sha256_hex(model)
    if found != manifest.sha256:
        raise IncompatibleModel(
            f"{path} is not the model that its manifest describes: its {len(model)} bytes have SHA-256 {found}, the manifest"
            f" says {manifest.sha256}. It was cut short, changed, or paired with another manifest; restore both"
            f" files or {_REBUILD}"
        )


def _check_features(manifest: Manifest, names: Sequence[str], feature_set: str | None, path: Path) -> None:
    """
    Refuse a model whose columns are not the computed ones; column order is part of the meaning.
    """
    expected = manifest.feature_names
    if manifest.dtype != "float32":
        raise IncompatibleModel(f"{path} takes {manifest.dtype} features; this version computes float32")
    if tuple(names) != expected:
        raise IncompatibleModel(f"{path} does not fit the feature definitions: {_difference(expected, names)}; {_REBUILD}")
    if feature_set is not None and feature_set != manifest.feature_set:
        raise IncompatibleModel(
            f"{path} was trained on feature set {manifest.feature_set}, the definitions are now {feature_set}: the names"
            f" are the same but at least one definition changed; restore the definitions or {_REBUILD}"
        )


def _difference(expected: Sequence[str], names: Sequence[str]) -> str:
    missing = [name for name in expected if name not in names]
    unused = [name for name in names if name not in expected]
    if len(set(names)) < len(names):
        return "the definitions name a feature twice"
    if not missing and not unused:
        at, want, have = next(row for row in zip(count(1), expected, names, strict=False) if row[1] != row[2])
        return f"the order differs, first at column {at}, where the model expects '{want}' and the definitions have '{have}'"
    parts = [f"the model needs {', '.join(_named(name, unused) for name in missing)}"] if missing else []
    if unused:
        parts.append(f"the definitions add {', '.join(repr(name) for name in unused)}")
    return "; ".join(parts)


def _named(name: str, candidates: Sequence[str]) -> str:
    near = get_close_matches(name, candidates, n=1)
    return f"'{name}' (defined is '{near[0]}')" if near else f"'{name}'"


def _session(model: bytes, path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread a worker: processes are what scales, and the order of additions stays the same in every batch.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # ONNX Runtime's own errors share no narrower root
        raise IncompatibleModel(f"{path} is no model that ONNX Runtime can load ({exc}); {_REBUILD}") from exc


def _check_shape(session: onnxruntime.InferenceSession, manifest: Manifest, path: Path) -> None:
    inputs, outputs = session.get_inputs(), {output.name: output.type for output in session.get_outputs()}
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or inputs[0].shape[1:] != [len(manifest.features)]:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise IncompatibleModel(f"{path} takes {found}; it must take one float matrix of {len(manifest.features)} columns")
    if outputs.get("probabilities") != "tensor(float)":
        found = ", ".join(f"{name} {kind}" for name, kind in outputs.items())
        raise IncompatibleModel(f"{path} gives {found}; it must give a float matrix 'probabilities' (converters: zipmap=False)")


def _paths(model: bytes, features: int, path: Path) -> Steps[TreePaths]:
    try:
        paths = yield from paths_in_steps(model)
    except UnreadableTrees as exc:
        raise IncompatibleModel(f"{path} cannot give reasons for its scores: {exc}; {_REBUILD}") from exc
    if paths.feature.max() >= features:
        raise IncompatibleModel(f"{path} splits on column {paths.feature.max() + 1} of {features} features; {_REBUILD}")
    return paths
