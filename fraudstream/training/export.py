"""
From a trained XGBoost ensemble to ONNX bytes that carry calibration and training cover, and are the same every time.

Written by hand instead of by a converter: a converter leaves out the cover of the nodes, without which there are no exact
reasons, and names the graph by chance, so that no two files are alike.
"""

import json
from typing import Any

import numpy as np
import onnx
import xgboost
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fraudstream.scoring.manifest import Calibration

#: Operator sets that every ONNX Runtime since 1.10 knows.
_OPSET, _ML_OPSET, _IR_VERSION = 15, 3, 8


def export(booster: xgboost.Booster, calibration: Calibration) -> bytes:
    """
    Write a binary ensemble as an ONNX model with input ``features`` and outputs ``label`` and ``probabilities``.

    Args:
        booster: Trained with ``objective=binary:logistic`` and ``base_score=0.5``, so that nothing comes before its trees.
        calibration: Folded into leaves and base value: the graph itself is calibrated, contributions stay exact.

    Returns:
        The model's bytes; equal arguments give equal bytes.

    Raises:
        ValueError: The booster holds something else than scalar-leaf trees with numeric splits on a base score of one half.
    """
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    _require_half(learner)
    trees = learner["gradient_booster"]["model"]["trees"]
    columns = int(learner["learner_model_param"]["num_feature"])
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["features"],
        ["label", "probabilities"],
        name="fraud",
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1],
        post_transform="LOGISTIC",
        base_values=[calibration.intercept],
        **_nodes(trees),
        **_leaves(trees, calibration.slope),
    )
    graph = helper.make_graph(
        [node],
        "fraud",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, columns])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="fraudstream")
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def probabilities(booster: xgboost.Booster, calibration: Calibration, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """
    Return what XGBoost itself, calibrated in double precision, says of each row: the yardstick of the exported model.
    """
    return calibrated(margins(booster, matrix), calibration)


def margins(booster: xgboost.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """
    Return the ensemble's log-odds of each row, not calibrated.
    """
    return np.asarray(booster.predict(xgboost.DMatrix(matrix, nthread=1), output_margin=True), dtype=np.float64)


def calibrated(log_odds: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """
    Return log-odds, put through the straight line of a calibration, as probabilities.
    """
    return np.asarray(1 / (1 + np.exp(-(calibration.slope * log_odds + calibration.intercept))), dtype=np.float64)


def _require_half(learner: dict[str, Any]) -> None:
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    if base != 0.5 or learner["objective"]["name"] != "binary:logistic":
        raise ValueError(f"cannot export {learner['objective']['name']} with base_score {base}: train binary:logistic with 0.5")


def _nodes(trees: list[dict[str, Any]]) -> dict[str, Any]:
    """
    Return the node attributes of all trees in a row; a leaf has no split and leads nowhere.
    """
    rows = [
        {
            "nodes_treeids": tree_id,
            "nodes_nodeids": at,
            "nodes_modes": "LEAF" if left == -1 else "BRANCH_LT",
            "nodes_featureids": 0 if left == -1 else tree["split_indices"][at],
            "nodes_values": 0.0 if left == -1 else tree["split_conditions"][at],
            "nodes_missing_value_tracks_true": 0 if left == -1 else int(tree["default_left"][at]),
            "nodes_truenodeids": max(left, 0),
            "nodes_falsenodeids": max(tree["right_children"][at], 0),
            "nodes_hitrates": tree["sum_hessian"][at],
        }
        for tree_id, tree in enumerate(map(_scalar, trees))
        for at, left in enumerate(tree["left_children"])
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _leaves(trees: list[dict[str, Any]], slope: float) -> dict[str, Any]:
    leaves = [
        (tree_id, at, slope * tree["split_conditions"][at])
        for tree_id, tree in enumerate(trees)
        for at, left in enumerate(tree["left_children"])
        if left == -1
    ]
    trees_of, nodes_of, weights = zip(*leaves, strict=True)
    return {
        "class_treeids": list(trees_of),
        "class_nodeids": list(nodes_of),
        "class_weights": list(weights),
        "class_ids": [0] * len(leaves),
    }


def _scalar(tree: dict[str, Any]) -> dict[str, Any]:
    if any(tree["split_type"]) or tree["categories"]:
        raise ValueError("cannot export categorical splits: give the features as numbers")
    return tree
