"""
A model's trees read in another process are those that are read here.
"""

from pathlib import Path

import numpy as np
import pytest

from fraudstream.app.model_reader import prepared_apart
from fraudstream.scoring.load import load_manifest
from fraudstream.scoring.shapley import contributions, prepare
from fraudstream.scoring.trees import UnreadableTrees

MODELS = Path(__file__).parents[3] / "models"


def test_another_process_finds_the_same_reasons() -> None:
    raw = (MODELS / "fraud.onnx").read_bytes()
    columns = len(load_manifest(MODELS).features)
    matrix = np.random.default_rng(1).random((20, columns)).astype(np.float32) * 10

    found = prepared_apart(raw)

    assert found.answers is not None
    assert found.answers.contributions(matrix).tobytes() == prepare(raw).answers.contributions(matrix).tobytes()
    assert np.allclose(found.answers.contributions(matrix), contributions(found.paths, matrix))


def test_trees_that_cannot_be_read_are_refused_with_the_reason() -> None:
    with pytest.raises(UnreadableTrees, match="0 tree ensembles"):
        prepared_apart(b"")
