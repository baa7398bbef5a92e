"""
Gradient-boosted trees: how many, how deep, how fast they learn, and what fits how much there is to learn from.
"""

import msgspec
import xgboost

from fraudstream.training.dataset import Dataset, Progress, silent


class Ensemble(msgspec.Struct, frozen=True, kw_only=True):
    """
    Size and pace of the gradient-boosted trees.

    ``row_share`` of the rows is drawn for each tree, and ``split_columns`` of the columns for each split (0 = all), by the
    seed; by default nothing is drawn, and the seed changes nothing.
    """

    trees: int = 100
    depth: int = 4
    eta: float = 0.1
    min_child_weight: float = 5.0
    reg_lambda: float = 5.0
    max_bin: int = 256
    row_share: float = 1.0
    split_columns: int = 0
    seed: int = 1


#: From so many frauds on, larger trees find more than they invent.
_FEW_FRAUDS = 300
#: Chosen on weeks of the Fraud Detection Handbook before its test weeks. With 600 frauds or 4,700 to learn from, trees
#: that are more, flatter or averaged over seeds came out within what weeks differ by. Fine bins, since amounts are.
_LARGE = Ensemble(
    trees=200, depth=5, eta=0.05, min_child_weight=3.0, reg_lambda=5.0, max_bin=8192, row_share=0.7, split_columns=12
)


def suited(frauds: int) -> Ensemble:
    """
    Return the ensemble for so many frauds to learn from: few teach only what is plain.
    """
    return Ensemble() if frauds < _FEW_FRAUDS else _LARGE


def fit(ensemble: Ensemble, rows: Dataset, progress: Progress = silent) -> xgboost.Booster:
    """
    Train the trees on one thread.

    ``base_score`` is fixed at one half: since XGBoost 2 the default is estimated from the data, which costs average precision
    where fraud is rare, and would have to be carried into the export.
    """
    params = {
        "objective": "binary:logistic",
        "base_score": 0.5,
        "tree_method": "hist",
        "max_bin": ensemble.max_bin,
        "max_depth": ensemble.depth,
        "eta": ensemble.eta,
        "min_child_weight": ensemble.min_child_weight,
        "lambda": ensemble.reg_lambda,
        "subsample": ensemble.row_share,
        "colsample_bynode": min(1.0, ensemble.split_columns / rows.matrix.shape[1]) if ensemble.split_columns else 1.0,
        "seed": ensemble.seed,
        "nthread": 1,
        "verbosity": 1,
    }
    data = xgboost.DMatrix(rows.matrix, label=rows.fraud, nthread=1)
    return xgboost.train(params, data, num_boost_round=ensemble.trees, callbacks=[_Told(progress, ensemble.trees)])


class _Told(xgboost.callback.TrainingCallback):
    """
    Passes each finished tree on to the progress.
    """

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total

    def after_iteration(self, model: xgboost.Booster, epoch: int, evals_log: object) -> bool:  # noqa: ARG002
        self._progress("train", epoch + 1, self._total)
        return False
