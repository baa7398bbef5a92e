"""
The manifest beside a model: what it expects, where it came from, and the hash of the bytes that it speaks for.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fraudstream.domain.errors import IncompatibleModel
from fraudstream.scoring.reference import Reference

#: Version of the manifest; a reader refuses another.
MANIFEST_SCHEMA = "fraudstream.model/1"
#: Names inside a model folder.
MODEL_FILE, MANIFEST_FILE = "fraud.onnx", "fraud.json"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """
    One column of the matrix: the feature's name, unit and sentence, as its definition has them.
    """

    name: str
    unit: str
    description: str = ""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """
    A measured figure and the 95 % interval around it (bootstrap).
    """

    value: float
    low: float
    high: float


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the model learned from.

    ``first`` and ``last`` are the event times (RFC 3339) of the training rows; ``label_delay_s`` is what lies between them and
    the rows that the metrics were measured on. ``command`` rebuilds the model; ``packages`` are the versions it was built with.
    """

    source: str
    first: str
    last: str
    rows: int
    frauds: int
    label_delay_s: int
    seed: int
    command: str
    packages: Mapping[str, str]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """
    The straight line that the ensemble's log-odds were put through; it stands inside the ONNX graph already.
    """

    slope: float
    intercept: float


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """
    Scores from which on the model itself asks for each outcome, as training found them by cost.
    """

    challenge: float
    review: float
    block: float


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """
    What ``fraud.json`` holds.

    ``sha256`` is that of the ONNX bytes, and the identity of the model. ``features`` are the columns in order, of feature set
    ``feature_set``. ``parity`` is the largest difference in probability between the trained and the exported model.
    ``reference`` is what drift is held against; a model without it is served and not watched.
    """

    schema: str = MANIFEST_SCHEMA
    version: str
    sha256: str
    feature_set: str
    features: tuple[Column, ...]
    dtype: str = "float32"
    training: Training
    calibration: Calibration
    metrics: Mapping[str, Interval]
    thresholds: Thresholds
    parity: float
    reference: Reference | msgspec.UnsetType = msgspec.UNSET

    @property
    def feature_names(self) -> tuple[str, ...]:
        """
        The columns' names in order.
        """
        return tuple(column.name for column in self.features)


def encode_manifest(manifest: Manifest) -> bytes:
    """
    Write a manifest as indented JSON; equal manifests give equal bytes.
    """
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"


def decode_manifest(raw: bytes, path: Path) -> Manifest:
    """
    Read what ``encode_manifest`` wrote.

    Raises:
        IncompatibleModel: Not JSON, a field is missing or mistyped, or it is of another schema.
    """
    try:
        schema = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get("schema", msgspec.Raw(b'"none"'))
        if bytes(schema) != msgspec.json.encode(MANIFEST_SCHEMA):
            raise IncompatibleModel(
                f"{path}: the manifest is of schema {bytes(schema).decode()}, this version reads {MANIFEST_SCHEMA};"
                " train it anew"
            )
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as exc:
        raise IncompatibleModel(f"{path}: the manifest cannot be read ({exc}); restore it from the model's source") from exc


def sha256_hex(model: bytes) -> str:
    """
    Return the identity of a model: the SHA-256 of its ONNX bytes in lower-case hex.
    """
    return hashlib.sha256(model).hexdigest()
