"""
The trees of a gradient-boosted model as they stand in its ONNX bytes, unrolled into one path per leaf.

Reasons are computed from the very bytes that are served: there is no second copy of the model to keep in step.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.steps import Steps, at_once
from fraudstream.scoring.protobuf import by_number, floats, integers, submessages, texts

# Field numbers of onnx.proto: ModelProto, GraphProto, NodeProto, AttributeProto.
_GRAPH, _NODE, _OP_TYPE, _ATTRIBUTE = 7, 1, 4, 5
_NAME, _TEXT, _FLOATS, _INTS, _TEXTS = 1, 4, 7, 8, 9

#: The operators that hold trees, and the prefix of the attributes that hold their leaves.
_OPERATORS = {b"TreeEnsembleRegressor": "target", b"TreeEnsembleClassifier": "class"}
#: A cover of nothing would divide by zero; no trained tree comes near it.
_LEAST_SHARE = 1e-12


class UnreadableTrees(ValueError):
    """
    The graph holds no tree ensemble that reasons can be computed for; the text says why.
    """


@dataclass(frozen=True)
class TreePaths:
    """
    One column per leaf of the ensemble, one row (slot) per distinct feature on the way to it.

    ``feature`` is the column of the matrix. The leaf is reached when in every slot ``low`` ≤ value < ``high``, or the value is
    missing and ``missing`` holds. ``share`` in (0, 1] is the part of the training rows that follows the path where it
    asks for this feature. Unused slots let every value through, with share 1. ``leaf`` and ``base`` are in log-odds.
    """

    feature: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    missing: NDArray[np.bool_]
    share: NDArray[np.float64]
    leaf: NDArray[np.float64]
    base: float


class _Slot(NamedTuple):
    """
    What a path asks of one feature; the bounds are exact in float32.
    """

    low: float
    high: float
    missing: bool
    share: float


#: Lets every value through.
_OPEN = _Slot(-math.inf, math.inf, missing=True, share=1.0)


@dataclass(frozen=True)
class _Ensemble:
    """
    The attributes of the operator by name, and the prefix of those that hold its leaves.
    """

    numbers: dict[str, list[float]]
    integers: dict[str, list[int]]
    texts: dict[str, list[str]]
    leaves: str


class _Node(NamedTuple):
    """
    One split: below ``value`` is the side ``yes``. ``cover`` counts the training rows that came here (weighted).
    """

    leaf: bool
    feature: int
    value: float
    missing_is_yes: bool
    cover: float
    yes: int
    no: int


_Path = dict[int, _Slot]
_Trees = dict[int, dict[int, _Node]]


def read_paths(model: bytes) -> TreePaths:
    """
    Read the tree ensemble of an ONNX model; see ``paths_in_steps``.
    """
    return at_once(paths_in_steps(model))


def paths_in_steps(model: bytes) -> Steps[TreePaths]:
    """
    Read the tree ensemble of an ONNX model, in steps of about a millisecond for some thousand nodes.

    Raises:
        UnreadableTrees: There is not exactly one tree ensemble; or it has several outputs, another end than LOGISTIC, splits
            other than < and ≤, no training cover (``nodes_hitrates``), or a number that is not finite.
    """
    try:
        ensemble = yield from _ensemble(model)
    except ValueError as exc:
        raise UnreadableTrees(str(exc)) from exc
    _check(ensemble)
    yield
    trees = _trees(ensemble)
    yield
    weights = _leaf_weights(ensemble)
    paths: list[tuple[_Path, float]] = []
    for tree, nodes in trees.items():
        paths += [(path, weights[tree, node]) for node, path in _walk(nodes, next(iter(nodes)), {})]
        yield
    return (yield from _lay_out(paths, float(sum(ensemble.numbers.get("base_values", [])))))


def _ensemble(model: bytes) -> Steps[_Ensemble]:
    nodes = [node for graph in submessages(model, _GRAPH) for node in submessages(graph, _NODE)]
    found = [(node, _OPERATORS[kind]) for node in nodes for kind in submessages(node, _OP_TYPE) if kind in _OPERATORS]
    if len(found) != 1:
        raise UnreadableTrees(f"it holds {len(found)} tree ensembles where one can be explained")
    ensemble = _Ensemble({}, {}, {}, found[0][1])
    for message in submessages(found[0][0], _ATTRIBUTE):
        yield
        found_in = by_number(message)  # walked once: there is one field for each number of each node
        name = b"".join(texts(found_in[_NAME])).decode()
        ensemble.numbers[name] = floats(found_in[_FLOATS])
        ensemble.integers[name] = integers(found_in[_INTS])
        ensemble.texts[name] = [text.decode() for text in texts(found_in[_TEXTS]) or texts(found_in[_TEXT])]
    return ensemble


def _check(ensemble: _Ensemble) -> None:
    if ensemble.texts.get("post_transform") != ["LOGISTIC"]:
        raise UnreadableTrees("its tree ensemble does not end in the logistic function")
    if len(set(ensemble.integers.get(f"{ensemble.leaves}_ids", []))) != 1:
        raise UnreadableTrees("its tree ensemble does not have exactly one output")
    strange = set(ensemble.texts.get("nodes_modes", [])) - {"BRANCH_LT", "BRANCH_LEQ", "LEAF"}
    if strange:
        raise UnreadableTrees(f"its trees split by {', '.join(sorted(strange))}; only < and <= are read")
    if not any(ensemble.numbers.get("nodes_hitrates", [])):
        raise UnreadableTrees("its trees carry no training cover (nodes_hitrates)")
    if not all(np.isfinite(np.abs(values, dtype=np.float32).sum()) for values in ensemble.numbers.values()):
        raise UnreadableTrees("its tree ensemble holds a number that is not finite")


def _trees(ensemble: _Ensemble) -> _Trees:
    """
    Return tree id -> node id -> node, each tree's root first.
    """
    ints, numbers = ensemble.integers, ensemble.numbers
    missing_is_yes = ints.get("nodes_missing_value_tracks_true") or [0] * len(ints["nodes_nodeids"])
    modes, bounds = ensemble.texts["nodes_modes"], np.array(numbers["nodes_values"], dtype=np.float32)
    above = np.nextafter(bounds, np.float32(np.inf))
    below = np.where([mode == "BRANCH_LEQ" for mode in modes], above, bounds)
    nodes = map(
        _Node,
        [mode == "LEAF" for mode in modes],
        ints["nodes_featureids"],
        below.tolist(),
        map(bool, missing_is_yes),
        numbers["nodes_hitrates"],
        ints["nodes_truenodeids"],
        ints["nodes_falsenodeids"],
    )
    trees: _Trees = {}
    for tree, number, node in zip(ints["nodes_treeids"], ints["nodes_nodeids"], nodes, strict=True):
        trees.setdefault(tree, {})[number] = node
    return trees


def _leaf_weights(ensemble: _Ensemble) -> dict[tuple[int, int], float]:
    ints, prefix = ensemble.integers, ensemble.leaves
    places = zip(ints[f"{prefix}_treeids"], ints[f"{prefix}_nodeids"], strict=True)
    return dict(zip(places, ensemble.numbers[f"{prefix}_weights"], strict=True))


def _walk(nodes: Mapping[int, _Node], at: int, path: _Path) -> Iterator[tuple[int, _Path]]:
    """
    Yield every leaf below a node with what must hold of each feature to come there.
    """
    node = nodes[at]
    if node.leaf:
        yield at, path
        return
    for child, yes in ((node.yes, True), (node.no, False)):
        slot = _narrow(path.get(node.feature, _OPEN), node, yes=yes, share=nodes[child].cover / node.cover)
        yield from _walk(nodes, child, {**path, node.feature: slot})


def _narrow(slot: _Slot, node: _Node, *, yes: bool, share: float) -> _Slot:
    return _Slot(
        low=slot.low if yes else max(slot.low, node.value),
        high=min(slot.high, node.value) if yes else slot.high,
        missing=slot.missing and node.missing_is_yes == yes,
        share=max(slot.share * share, _LEAST_SHARE),
    )


def _lay_out(paths: list[tuple[_Path, float]], base: float) -> Steps[TreePaths]:
    """
    Pad the paths to one width.
    """
    width = max(len(path) or 1 for path, _ in paths)
    padded = [[*path.items(), *[(0, _OPEN)] * (width - len(path))] for path, _ in paths]
    yield
    feature = np.array([[feature for feature, _ in row] for row in padded], dtype=np.int64).T.copy()
    yield
    low = np.array([[slot.low for _, slot in row] for row in padded], dtype=np.float32).T.copy()
    yield
    high = np.array([[slot.high for _, slot in row] for row in padded], dtype=np.float32).T.copy()
    yield
    missing = np.array([[slot.missing for _, slot in row] for row in padded], dtype=np.bool_).T.copy()
    yield
    share = np.array([[slot.share for _, slot in row] for row in padded], dtype=np.float64).T.copy()
    leaf = np.array([value for _, value in paths], dtype=np.float64)
    return TreePaths(feature=feature, low=low, high=high, missing=missing, share=share, leaf=leaf, base=base)
