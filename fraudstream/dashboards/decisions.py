"""
Decisions and model: what is being stopped, why, and has the model moved?
"""

from fraudstream.dashboards import limits
from fraudstream.dashboards.overview import DECIDED
from fraudstream.dashboards.panels import (
    TARGETS,
    Board,
    Panel,
    Step,
    bars,
    by,
    heatmap,
    largest,
    of,
    quantiles,
    quiet,
    rate,
    rise,
    table,
)

_UP_TO_HALF = 'le="0.5"'
_STOPPED = by("outcome", rate("decisions_total", 'outcome!="approve"'))

DECISIONS = Board(
    "decisions.json",
    "fraudstream-decisions",
    "Fraudstream / Decisions and model",
    "What is being stopped, why, and has the model moved?",
    [
        ("Decisions", [
            Panel("Outcomes", "Decisions per second, by outcome.", "eps", [(by("outcome", rate("decisions_total")), "{{outcome}}")]),
            Panel("Challenged, reviewed, blocked", "Share of all decisions. Compare with the same hour yesterday.", "percentunit",
                  [(f"{_STOPPED} / on () group_left () {DECIDED}", "{{outcome}}")]),
            Panel("Blocks by channel of payment", "Per second. One channel alone is an attack or a release.", "eps",
                  quiet([(by("channel", rate("decisions_total", 'outcome="block"')), "{{channel}}")])),
            Panel("Degraded, by reason", "Share of decisions made without the opinion of a group.", "percentunit",
                  [(f"{by('reason', rate('decisions_degraded_total'))} / on () group_left () clamp_min({DECIDED}, 0.001)",
                    "{{reason}}")],
                  steps=[Step(limits.DEGRADED, "red", "FraudstreamModelFallback")]),
            Panel("Alerts raised", "By severity, before anything is folded.", "eps",
                  [(by("severity", rate("alerts_raised_total")), "{{severity}}")]),
            Panel("Labels received", "What became known later, by what it says.", "eps",
                  [(by("label", rate("feedback_labels_total")), "{{label}}")]),
        ]),
        ("Rules", [
            bars("Most hit rules", "Hits in the selected range.", "short",
                 f"topk(10, {by('rule_id', rise('rule_hits_total'))})", "{{rule_id}}"),
            Panel("Hits by action", "Per second. Rules in shadow have no part in this.", "eps",
                  [(by("action", rate("rule_hits_total")), "{{action}}")]),
            Panel("Rule errors", "Rows on which a rule could not be evaluated and was passed over.", "eps",
                  quiet([(by("rule_id", rate("rule_errors_total")), "{{rule_id}}")])),
            Panel("Overridden blocks", "Allow rules that let through what another rule would have blocked.", "eps",
                  quiet([(by("rule_id", rate("rule_overrides_total")), "{{rule_id}}")])),
            table("Rule sets in force", "Version per worker; more than one for long is a change that did not reach everybody.",
                  [(by("version, instance", of("ruleset_info"), fold="max"), "")]),
            table("Rules put in shadow", "Trips of the guard, in the selected range.",
                  [(f"{by('rule_id', rise('rule_trips_total'))} > 0", "")]),
        ]),
        ("Model", [
            heatmap("Score distribution", "Decisions per score bucket. A band that moves overnight is drift or a broken feature.",
                    "none", "model_score_ratio"),
            Panel("Scores over one half", "Share of scored decisions above 0.5. Steady, but for attacks.", "percentunit",
                  [((f"1 - {by('model', rate('model_score_ratio_bucket', _UP_TO_HALF))} / "
                    f"{by('model', rate('model_score_ratio_count'))}"), "{{model}}")]),
            Panel("Inference time", "Per batch, reasons of flagged rows included.", "s",
                  quantiles("stage_duration_seconds", 'stage="model"')),
            Panel("Verdicts of the model that are missing", "Per second: deadline (nobody answered), or error (it raised).", "eps",
                  quiet([(by("reason", rate("decisions_degraded_total", 'reason=~"model_.+"')), "{{reason}}")]), width=12),
            table("Loaded models", "Model, version and role per worker.",
                  [(largest("instance, model, version, role", "model_info"), "")], width=12),
        ]),
        ("Drift and shadows", [
            Panel("Score drift (PSI)", "Population stability index of the last hour against training: 0.1 is moderate, 0.25 major.",
                  "none", [(largest("model", "model_score_psi"), "{{model}}")],
                  steps=[Step(0.1, "yellow", why="moderate"), Step(limits.DRIFT, "red", "FraudstreamModelDrift")]),
            bars("Features that moved most", "Population stability index of each feature, the largest now.", "none",
                 f"topk(10, {largest('feature', 'model_feature_psi')})", "{{feature}}"),
            Panel("Shadow against champion", "Rows per second by how a shadow would have ended them; it decides nothing.", "eps",
                  quiet([(by("model, result", rate("shadow_rows_total", 'result!="same"')), "{{model}} {{result}}")])),
        ]),
        ("What labels say", [
            Panel("Model: precision and recall", "Of decisions of 30 days whose truth is known: scores from the mildest band on.",
                  "percentunit", [(largest("model", "model_precision_ratio"), "precision {{model}}"),
                                  (largest("model", "model_recall_ratio"), "recall {{model}}")]),
            Panel("Decisions: precision and recall", "The same for the outcome, rules included.",
                  "percentunit", [(largest("model", "decision_precision_ratio"), "precision {{model}}"),
                                  (largest("model", "decision_recall_ratio"), "recall {{model}}")]),
            Panel("Decisions whose truth is known", "What the ratios stand on; below some twenty frauds they say little.",
                  "none", [(largest("model, label", "model_labelled_decisions"), "{{model}} {{label}}")]),
        ]),
    ],
    TARGETS,
)  # fmt: skip
