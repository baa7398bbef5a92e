"""
A model of one's own history: the plan behind ``fraudstream train --transactions FILE``.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fraudstream.features.load import load_features
from fraudstream.producers.files import read_file
from fraudstream.training.card import write_card
from fraudstream.training.dataset import Progress, Split, silent
from fraudstream.training.train import Ensemble, Source, TrainedModel, TrainingPlan, train


def train_on_history(
    transactions: Sequence[Path],
    features: Path,
    output: Path,
    *,
    mapping: str | None = None,
    version: str = "own-1",
    split: Split = Split(),  # noqa: B008 (frozen)
    ensemble: Ensemble = Ensemble(),  # noqa: B008 (frozen)
    progress: Progress = silent,
) -> TrainedModel:
    """
    Train on labelled transaction files and write model, manifest and card into a folder.

    Args:
        transactions: Files of one history each, rows in the order of event time.
        features: The definitions file.
        output: The model folder; made if missing, files of an earlier model are replaced.
        mapping: How columns are read (``generic``, ``paysim``, ``handbook`` or a mapping file); None finds out.
        version: The name that people will use for the model.
        split: How the history is cut by time.
        ensemble: Size and pace of the trees.
        progress: See ``train``.

    Raises:
        InvalidFeatures: The definitions cannot be used, or read labels before the split's delay.
        InvalidSource: A file cannot be read.
        IncompatibleModel: The history holds too few frauds, or the export failed its comparison.
    """
    trained = train(
        TrainingPlan(
            features=load_features(features.read_text(encoding="utf-8"), name=features.name),
            sources=[Source(path.name, partial(read_file, path, mapping)) for path in transactions],
            split=split,
            ensemble=ensemble,
            version=version,
            command="fraudstream train " + " ".join(f"--transactions {path.name}" for path in transactions),
        ),
        progress,
    )
    trained.write(output)
    write_card(trained, output)
    return trained
