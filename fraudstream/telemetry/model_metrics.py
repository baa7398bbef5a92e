"""
What the deciding groups tell of the models in use and in shadow.
"""

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import Histogram

from fraudstream.domain.decision import Decision
from fraudstream.telemetry.declaring import Declarer, observe_all
from fraudstream.telemetry.labels import SCORE_BUCKETS, SHADOW_RESULTS


class ModelMetrics:
    """
    Scores, models in use, shadows and drift.
    """

    def __init__(self, new: Declarer) -> None:
        self.model_score_ratio = new.histogram(
            "model_score_ratio",
            "Fraud probability as the model gave it; worry when the shape changes overnight.",
            ("model",),
            (),
            SCORE_BUCKETS,
        )
        self._scores: dict[str, Histogram] = {}
        self.model_info = new.gauge(
            "model_info",
            "1, with a loaded model and its role (champion, canary, shadow); worry when workers differ for long.",
            ("model", "version", "provider", "role"),
        )
        self.model_swaps_total = new.counter("model_swaps_total", "Times that other models were taken over while working.")
        self.model_apply_failures_total = new.counter(
            "model_apply_failures_total",
            "Times that the wanted models could not be taken over and the old ones stayed in use; worry above 0.",
        )
        self.model_swap_stall_seconds = new.gauge(
            "model_swap_stall_seconds",
            "Longest that the worker's loop was held up while it took models over last; worry above 0.05.",
        )
        self.model_score_psi = new.gauge(
            "model_score_psi",
            "Population stability index of the scores of the last hour against training; from 0.1 on look, from 0.25 act.",
            ("model",),
        )
        self.model_feature_psi = new.gauge(
            "model_feature_psi",
            "The same for each feature of a model; one above 0.25 names what moved: the payments, or a producer's mistake.",
            ("model", "feature"),
        )
        self.shadow_score_ratio = new.histogram(
            "shadow_score_ratio",
            "Fraud probability as a shadow gave it, which decides nothing; compare with model_score_ratio.",
            ("model",),
            (),
            SCORE_BUCKETS,
        )
        self.shadow_rows_total = new.counter(
            "shadow_rows_total",
            "Rows by how a shadow would have ended them, by the bands alone; missed ones it did not score.",
            ("model", "result"),
        )

    def know_models(self, models: Iterable[tuple[str, str, str]], provider: str) -> None:
        """
        Start the series of the models in use; only they are shown as loaded from now on.

        Args:
            models: First 12 hex digits of the SHA-256 of each, its version, and its role, one of ``MODEL_ROLES``.
            provider: What executes them.
        """
        self.model_info.clear()
        self.model_score_psi.clear()
        self.model_feature_psi.clear()
        for model, version, role in models:
            self.model_info.labels(model, version, provider, role).set(1)
            if role == "shadow":
                self.shadow_score_ratio.labels(model)
                for result in SHADOW_RESULTS:
                    self.shadow_rows_total.labels(model, result)
            else:
                self._scores_of(model)

    def scored(self, decisions: Iterable[Decision]) -> None:
        """
        Count what the model said of each decision, where it said anything.
        """
        scores: defaultdict[str, list[float]] = defaultdict(list)
        for decision in decisions:
            if decision.probability is not None:
                scores[decision.model].append(decision.probability)
        for model, values in scores.items():
            observe_all(self._scores_of(model[:12]), values)

    def _scores_of(self, model: str) -> Histogram:
        if model not in self._scores:  # a group without a model of its own joins the verdicts of one
            self._scores[model] = self.model_score_ratio.labels(model)
        return self._scores[model]
