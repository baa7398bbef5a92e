"""
The model card: what a model is for, what it learned from, how good it is and where it ends, in Markdown.

References:
    Mitchell et al. 2019, Model cards for model reporting.
"""

from pathlib import Path

from fraudstream.scoring.manifest import Interval
from fraudstream.training.dataset import Split
from fraudstream.training.evaluate import Evaluation
from fraudstream.training.figures import CALIBRATION, COST, PRECISION_RECALL, WEEKS, figures, write_figures
from fraudstream.training.recorded import RecordedHistory
from fraudstream.training.train import TrainedModel

CARD_FILE, FIGURES_FOLDER = "README.md", "figures"
#: What every model of this kind cannot do.
_LIMITS = (
    "It knows the kinds of fraud that its history has. Fraud that looks like the owner's own payments is found by chance only.",
    'A payment without history (new card, new device) is judged by little; its reasons say "no history" where that is so.',
    "Amounts are compared in minor units whatever the currency: one currency, or currencies of like size, are assumed.",
    "Countries, addresses and hours count where the definitions use them. Look at who is flagged before and after a change.",
)
#: Features listed by how much they move the score; the rest moves little.
_LISTED = 15


def write_card(trained: TrainedModel, folder: Path) -> None:
    """
    Write the card into a model's folder, and its figures into a folder inside.
    """
    (folder / CARD_FILE).write_text(card(trained), encoding="utf-8")
    write_figures(figures(trained.curves, trained.cost, trained.plan.bands), folder / FIGURES_FOLDER)


def card(trained: TrainedModel) -> str:
    """
    Write the card of a trained model; equal models give equal cards.
    """
    parts = [_head(trained), _data(trained), _figures("Held-out days", trained.held_out)]
    parts += [_figures(f"Unseen: {name}", evaluation) for name, evaluation in trained.unseen.items()]
    parts += [_drawn(), _weeks(trained), _thresholds(trained), _features(trained), _limits(trained), _rebuild(trained)]
    return "\n\n".join(parts) + "\n"


def _head(trained: TrainedModel) -> str:
    manifest, ensemble = trained.manifest, trained.ensemble
    return f"""# Model {manifest.version}

Gives the probability that a payment is fraud, from {len(manifest.features)} features of the payment and of the recent past
of its card, customer, device, merchant and address. For ranking payments and for score bands next to rules; not for
decisions about a person's credit or account.

| | |
| --- | --- |
| SHA-256 of `fraud.onnx` | `{manifest.sha256}` |
| feature set | `{manifest.feature_set}` |
| kind | gradient-boosted trees: {ensemble.trees} trees of depth {ensemble.depth}, learning rate {ensemble.eta} |
| calibration | log-odds x {manifest.calibration.slope} + {manifest.calibration.intercept}, inside the ONNX graph |
| export | largest difference to the trained ensemble on the held-out rows: {manifest.parity:.1e} |"""


def _data(trained: TrainedModel) -> str:
    training, split = trained.manifest.training, trained.split
    days = split.train_days * (1 - split.calibrate_share)
    return f"""## Data

{training.source}.

{training.rows:,} payments with {training.frauds:,} frauds, {training.first} to {training.last}.
Each history is cut by its own time: {_warm_up(split)}{_days(days)} teach,
{_days(split.train_days - days)} calibrate, {_days(split.delay_days)} are left out because their labels would
not be known yet, the rest measures. {_origin(trained)}"""


def _origin(trained: TrainedModel) -> str:
    """
    Return where the values of the features come from.
    """
    if any(isinstance(one, RecordedHistory) for one in trained.plan.sources):
        return "Features are those that the decisions were made from."
    return "Features come from the same kernel that serves, by replay."


def _warm_up(split: Split) -> str:
    return f"{_days(split.warm_up_days)} only fill windows, " if split.warm_up_days else ""


def _days(count: float) -> str:
    return f"{round(count, 1):g} days"


def _figures(title: str, found: Evaluation) -> str:
    bands = "\n".join(
        f"| {band.outcome} | {band.threshold:g} | {band.flagged:.2%} | {_percent(band.precision)} | {_percent(band.recall)} |"
        for band in found.bands
    )
    return f"""## {title}

{found.rows:,} payments, {found.frauds:,} frauds. In brackets the 95 % interval of a bootstrap over cards.

- average precision {_plain(found.average_precision)}
- AUC ROC {_plain(found.auc)}
- mean distance between score and share of frauds {found.calibration_error:.4f}

| flagged from | score | share of payments | precision | recall |
| --- | --- | --- | --- | --- |
{bands}

Frauds found from the first band on, by kind: {_by_kind(found.recall_by_scenario)}.

Honest payments flagged from the first band on, by kind: {_by_kind(found.flagged_by_scenario)}."""


def _drawn() -> str:
    """
    Return the figures as links; the words behind each say what it shows to whoever cannot see it.
    """
    told = {
        PRECISION_RECALL: "Precision by recall, with the thresholds of the table",
        CALIBRATION: "Share of frauds by score: dots on the line mean that scores are chances",
        WEEKS: "Average precision by week, with 95 % intervals",
    }
    return "## Drawn\n\n" + "\n\n".join(f"![{words}]({FIGURES_FOLDER}/{name})" for name, words in told.items())


def _weeks(trained: TrainedModel) -> str:
    rows = "\n".join(
        f"| {name} | {week.first} | {week.rows:,} | {week.frauds:,} | {_plain(week.average_precision)} |"
        for name, found in trained.curves.items()
        for week in found.weeks
    )
    return f"""## By week

| measured on | week from | payments | frauds | average precision |
| --- | --- | --- | --- | --- |
{rows}"""


def _thresholds(trained: TrainedModel) -> str:
    bands, costs, measured = trained.manifest.thresholds, trained.plan.costs, trained.cost
    return f"""## Thresholds by cost

With {costs.missed_fraud:g} lost on a missed fraud, {costs.wrong_block:g} on a wrong block, {costs.review:g} on a review and
{costs.challenge:g} on a challenge that stops {costs.challenge_stops:.0%} of the frauds, the cheapest outcomes are:
challenge from {bands.challenge:g}, review from {bands.review:g}, block from {bands.block:g}.
They are what the manifest suggests; the policy file decides. On the held-out days they cost {1000 * measured.suggested:,.0f}
per 1,000 payments, doing nothing {1000 * measured.nothing:,.0f}. `fraudstream model thresholds` works them out for other
costs, and writes the policy.

![Cost per 1,000 payments by cut-off]({FIGURES_FOLDER}/{COST})"""


def _features(trained: TrainedModel) -> str:
    rows = "\n".join(f"| `{name}` | {moved:.3f} |" for name, moved in list(trained.moved.items())[:_LISTED])
    return f"""## What moves the score

Mean absolute contribution in log-odds (exact Shapley values) over held-out payments.

| feature | moves by |
| --- | --- |
{rows}"""


def _limits(trained: TrainedModel) -> str:
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in (*trained.plan.limits, *_LIMITS))


def _rebuild(trained: TrainedModel) -> str:
    packages = ", ".join(f"{name} {release}" for name, release in trained.manifest.training.packages.items())
    return f"""## Build it again

`{trained.manifest.training.command}` gives the same bytes on x86-64 Linux with {packages}."""


def _plain(found: Interval) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _percent(found: Interval) -> str:
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def _by_kind(shares: dict[str, float]) -> str:
    ordered = sorted(shares.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{name} {share:.1%}" for name, share in ordered) or "not known"
