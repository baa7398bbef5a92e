"""
What a model folder must be before a worker takes it; every refusal says what was found and what to do.
"""

import ast
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fraudstream.domain.errors import IncompatibleModel
from fraudstream.scoring.load import load_manifest, load_model
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE, decode_manifest, encode_manifest, sha256_hex
from tests.support.models import FEATURES, a_manifest, a_model_folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_model_folder(tmp_path_factory.mktemp("model") / "whole")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    for name in (MODEL_FILE, MANIFEST_FILE):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    return tmp_path


def put(folder: Path, model: bytes) -> None:
    (folder / MODEL_FILE).write_bytes(model)
    (folder / MANIFEST_FILE).write_bytes(encode_manifest(a_manifest(model)))


def refusal(folder: Path, names: tuple[str, ...] = FEATURES, **more: str) -> str:
    with pytest.raises(IncompatibleModel) as caught:
        load_model(folder, names, **more)
    return str(caught.value)


def test_whole_model_is_known_by_the_hash_of_its_bytes(folder: Path) -> None:
    model = load_model(folder, FEATURES, feature_set="0123456789abcdef")

    assert model.id == sha256_hex((folder / MODEL_FILE).read_bytes())
    assert model.version == "test-1"
    assert model.feature_names == FEATURES


def test_file_and_folder_name_the_same_model(folder: Path) -> None:
    assert load_model(folder / MODEL_FILE, FEATURES).id == load_model(folder, FEATURES).id


def test_truncated_model_is_refused(folder: Path) -> None:
    raw = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(raw[: len(raw) // 2])

    said = refusal(folder)

    assert f"its {len(raw) // 2} bytes have SHA-256" in said
    assert "cut short, changed" in said
    assert "fraudstream train" in said


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.999])
def test_model_with_one_byte_changed_is_refused(folder: Path, place: float) -> None:
    raw = bytearray((folder / MODEL_FILE).read_bytes())
    raw[int(place * len(raw))] ^= 1
    (folder / MODEL_FILE).write_bytes(raw)

    assert "is not the model that its manifest describes" in refusal(folder)


def test_other_column_order_is_refused_with_the_first_difference(folder: Path) -> None:
    names = (FEATURES[0], FEATURES[2], FEATURES[1], *FEATURES[3:])

    said = refusal(folder, names)

    assert "first at column 2" in said
    assert "expects 'card_count_1h' and the definitions have 'card_seconds_since_last'" in said


def test_missing_and_added_features_are_all_named(folder: Path) -> None:
    names = ("amount", "card_count_2h", *FEATURES[2:5], "brand_new", "hour")

    said = refusal(folder, names)

    assert "the model needs 'card_count_1h' (defined is 'card_count_2h')" in said
    assert "the definitions add 'card_count_2h', 'brand_new'" in said


def test_feature_that_stands_twice_is_refused(folder: Path) -> None:
    assert "name a feature twice" in refusal(folder, (*FEATURES, "hour"))


def test_same_names_with_other_definitions_are_refused(folder: Path) -> None:
    said = refusal(folder, feature_set="fedcba9876543210")

    assert "0123456789abcdef" in said
    assert "fedcba9876543210" in said
    assert "at least one definition changed" in said


@pytest.mark.parametrize("name", [MODEL_FILE, MANIFEST_FILE])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    said = refusal(folder)

    assert f"{folder / name} cannot be read (No such file or directory)" in said
    assert "ML_MODEL_PATH" in said


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": "fraudstream.model/1"}'])
def test_damaged_manifest_is_refused(folder: Path, raw: bytes) -> None:
    (folder / MANIFEST_FILE).write_bytes(raw)

    assert "manifest cannot be read" in refusal(folder)


@pytest.mark.parametrize("raw", [b"{}", b'{"schema": "fraudstream.model/2"}'])
def test_manifest_of_another_schema_is_refused(folder: Path, raw: bytes) -> None:
    (folder / MANIFEST_FILE).write_bytes(raw)

    assert "this version reads fraudstream.model/1" in refusal(folder)


def test_model_of_another_dtype_is_refused(folder: Path) -> None:
    manifest = a_manifest((folder / MODEL_FILE).read_bytes(), dtype="float64")
    (folder / MANIFEST_FILE).write_bytes(encode_manifest(manifest))

    assert "takes float64 features" in refusal(folder)


def test_bytes_that_are_no_model_are_refused_even_with_their_own_hash(folder: Path) -> None:
    put(folder, b"not a model")

    assert "no model that ONNX Runtime can load" in refusal(folder)


def test_model_with_fewer_columns_than_its_manifest_is_refused(folder: Path) -> None:
    model = onnx.load_model_from_string((folder / MODEL_FILE).read_bytes())
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9
    put(folder, model.SerializeToString())

    assert "it must take one float matrix of 6 columns" in refusal(folder)


def test_model_without_probabilities_is_refused(folder: Path) -> None:
    model = onnx.load_model_from_string((folder / MODEL_FILE).read_bytes())
    del model.graph.output[1]
    put(folder, model.SerializeToString())

    assert "it must give a float matrix 'probabilities'" in refusal(folder)


def changed_attribute(folder: Path, name: str, **values: object) -> None:
    model = onnx.load_model_from_string((folder / MODEL_FILE).read_bytes())
    node = model.graph.node[0]
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, *(onnx.helper.make_attribute(name, value) for value in values.values())])
    put(folder, model.SerializeToString())


def test_model_whose_trees_carry_no_cover_is_refused(folder: Path) -> None:
    changed_attribute(folder, "nodes_hitrates")

    assert "no training cover (nodes_hitrates)" in refusal(folder)


def test_model_that_could_score_nan_is_refused(folder: Path) -> None:
    changed_attribute(folder, "base_values", value=[float("nan")])

    assert "a number that is not finite" in refusal(folder)


def test_model_without_a_tree_ensemble_is_refused(folder: Path) -> None:
    weight = numpy_helper.from_array(np.zeros((6, 2), dtype=np.float32), "weight")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["features", "weight"], ["probabilities"])],
        "linear",
        [value("features", onnx.TensorProto.FLOAT, [None, 6])],
        [value("probabilities", onnx.TensorProto.FLOAT, [None, 2])],
        [weight],
    )
    opsets = [onnx.helper.make_opsetid("", 15)]
    put(folder, onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())

    assert "holds 0 tree ensembles where one can be explained" in refusal(folder)


def test_manifest_comes_back_as_it_was_written(folder: Path) -> None:
    manifest = load_manifest(folder)

    assert decode_manifest(encode_manifest(manifest), folder) == manifest
    assert json.loads(encode_manifest(manifest))["schema"] == "fraudstream.model/1"


def test_serving_imports_neither_onnx_nor_xgboost() -> None:
    files = list((Path(__file__).parents[3] / "fraudstream" / "scoring").glob("*.py"))

    imported = {
        name.split(".")[0]
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])])
    }

    assert "onnxruntime" in imported
    assert not imported & {"onnx", "xgboost", "onnxmltools", "sklearn"}
