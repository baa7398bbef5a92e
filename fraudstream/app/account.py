"""
How well a run did: what was flagged against the truth that the producer kept.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fraudstream.training.metrics import average_precision


def detection(scores: Sequence[tuple[str, bool, float]], truth: Mapping[str, bool | None]) -> dict[str, float | None]:
    """
    Compare what was flagged with the truth that the producer kept; all None where there is no label.
    """
    known = [(truth[one], flagged, score) for one, flagged, score in scores if truth.get(one) is not None]
    labels = np.array([fraud for fraud, _, _ in known], dtype=bool)
    if not labels.any():
        return {"precision": None, "recall": None, "average_precision": None}
    flagged = np.array([one for _, one, _ in known], dtype=bool)
    caught = int((labels & flagged).sum())
    return {
        "precision": round(caught / int(flagged.sum()), 4) if flagged.any() else None,
        "recall": round(caught / int(labels.sum()), 4),
        "average_precision": round(
            float(average_precision(labels, np.array([score for _, _, score in known], dtype=np.float64))), 4
        ),
    }
