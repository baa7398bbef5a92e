"""
``fraudstream model``: what a model is, what it is worth, and where its cut-offs should lie.
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.asking import AsJson, columns, plain_text
from fraudstream.cli.entry import exits, print_json

model_app = typer.Typer(help="Models: look at them, measure them, compare them, choose thresholds.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Model folder, or .onnx file with its .json beside it.")]
History = Annotated[Path, typer.Option(help="Labelled history: CSV, JSON Lines or Parquet, in the order of event time.")]
Definitions = Annotated[Path, typer.Option(help="Feature definitions that the model was trained on.")]
Mapping = Annotated[str | None, typer.Option(help="Columns of the history: generic, paysim, handbook, or a file.")]
Since = Annotated[str | None, typer.Option(help="First day to measure, such as 2018-08-08; earlier ones only fill windows.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

_MODEL, _FEATURES = Path("models"), Path("models/default.features")


@model_app.command("benchmark")
@exits
def benchmark_command(
    transactions: History,
    features: Annotated[Path, typer.Option(help="Feature definitions.")],
    train_start: Annotated[str, typer.Option(help="First days of training (UTC), with commas: one fold each.")],
    train_days: Annotated[int, typer.Option(help="Days of training.", min=1)] = 7,
    delay_days: Annotated[int, typer.Option(help="Days between training and test: what labels take.", min=0)] = 7,
    test_days: Annotated[int, typer.Option(help="Days of test.", min=1)] = 7,
    mapping: Mapping = None,
    figures: Annotated[Path | None, typer.Option(help="Folder to write figures to, as SVG.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Train and test by weeks as the Fraud Detection Handbook does, through our own features and the exported ONNX model.

    Example: fraudstream model benchmark --transactions tx.parquet --features my.features --train-start 2018-07-25,2018-08-01
    """
    import msgspec

    from fraudstream.cli.progress import progress
    from fraudstream.features.load import load_features
    from fraudstream.producers.files import read_file
    from fraudstream.settings import locate
    from fraudstream.training.benchmark import BenchmarkPlan, scored_folds, span_ms, summary
    from fraudstream.training.dataset import build, require_delay

    starts = [day_of(text, "--train-start") for text in train_start.split(",")]
    plan = BenchmarkPlan(train_starts=starts, train_days=train_days, delay_days=delay_days, test_days=test_days)
    file = locate(features)
    definitions = load_features(_text_of(file), name=file.name)
    require_delay(definitions, delay_days * 86_400)
    with progress(quiet=quiet) as shown:
        count = _counted(shown)
        rows = build(definitions, read_file(transactions, mapping), span_ms=span_ms(plan), progress=count)
        folds = list(scored_folds(definitions, rows, plan, progress=count))
    found = summary([one.fold for one in folds])
    if figures is not None:
        _draw_benchmark(folds, file.name, figures)
    if as_json:
        print_json("fraudstream.model_benchmark/1", msgspec.to_builtins(found))
        return
    lines = [(one.train_start, one.rows, one.frauds, one.auc, one.ap, one.cp100) for one in found.folds]
    mean = ("mean", "", "", found.mean.auc, found.mean.ap, found.mean.cp100)
    typer.echo(columns(("train from", "rows", "frauds", "AUC", "AP", "CP@100"), [*lines, mean]))


def _draw_benchmark(folds: list[Any], name: str, folder: Path) -> None:
    """
    Draw what all folds together came to.
    """
    import numpy as np

    from fraudstream.training.benchmark import stack
    from fraudstream.training.curves import curves
    from fraudstream.training.figures import benchmark_figures, write_figures

    found = curves(stack([one.tested for one in folds]), np.concatenate([one.scores for one in folds]))
    write_figures(benchmark_figures(name, found), folder)


@model_app.command("info")
@exits
def info_command(path: Folder = _MODEL, as_json: AsJson = False) -> None:
    """
    Say what a model is: version, hash, features, training, figures; and check that it can be loaded.

    Example: fraudstream model info models
    """
    import msgspec

    from fraudstream.scoring.load import load_manifest, load_model
    from fraudstream.settings import locate

    manifest = load_manifest(locate(path))
    load_model(locate(path), manifest.feature_names)
    if as_json:
        print_json("fraudstream.model_info/1", msgspec.to_builtins(manifest))
        return
    learned, bands = manifest.training, manifest.thresholds
    rows = [
        ("version", manifest.version),
        ("SHA-256", manifest.sha256),
        ("features", f"{len(manifest.features)} of set {manifest.feature_set}"),
        ("trained on", learned.source),
        ("rows", f"{learned.rows:,}, {learned.frauds:,} frauds, {learned.first} to {learned.last}"),
        ("label delay", f"{learned.label_delay_s / 86_400:g} days"),
        ("thresholds", f"challenge {bands.challenge:g}, review {bands.review:g}, block {bands.block:g}"),
        ("parity", f"{manifest.parity:g}"),
        *((name, f"{one.value:.4f} ({one.low:.4f} to {one.high:.4f})") for name, one in manifest.metrics.items()),
        ("build again", learned.command),
    ]
    typer.echo("\n".join(plain_text(f"{name.ljust(14)}{value}") for name, value in rows))


@model_app.command("card")
@exits
def card_command(path: Folder = _MODEL) -> None:
    """
    Print the model's card.

    Example: fraudstream model card models
    """
    from fraudstream.settings import locate

    folder = locate(path)
    card = (folder.parent if folder.suffix == ".onnx" else folder) / "README.md"
    typer.echo(plain_text(_text_of(card)))


@model_app.command("evaluate")
@exits
def evaluate_command(
    transactions: History,
    path: Folder = _MODEL,
    features: Definitions = _FEATURES,
    mapping: Mapping = None,
    since: Since = None,
    figures: Annotated[Path | None, typer.Option(help="Folder to write figures to, as SVG.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Score a labelled history with a model and say how much of its fraud it finds.

    Example: fraudstream model evaluate --transactions payments.parquet
    """
    import msgspec

    judged, rows, scores = _scored(path, features, transactions, mapping, since, quiet=quiet)
    if figures is not None:
        _draw_evaluation(path, transactions.name, rows, scores, figures)
    if as_json:
        print_json("fraudstream.model_evaluate/1", msgspec.to_builtins(judged))
        return
    found = judged.evaluation
    typer.echo(f"model {judged.version}, {judged.model[:12]}: {found.rows:,} rows, {found.frauds:,} frauds")
    typer.echo(f"average precision {_around(found.average_precision)}, AUC {_around(found.auc)}")
    lines = [
        (band.outcome, band.threshold, f"{band.flagged:.3%}", _around(band.precision), _around(band.recall))
        for band in found.bands
    ]
    typer.echo(columns(("from", "score", "flagged", "precision", "recall"), lines))


def _draw_evaluation(path: Path, name: str, rows: Any, scores: Any, folder: Path) -> None:
    """
    Draw a model on one history, with the thresholds of its manifest and the usual costs.
    """
    from fraudstream.scoring.load import load_manifest
    from fraudstream.settings import locate
    from fraudstream.training.calibration import Costs
    from fraudstream.training.curves import curves
    from fraudstream.training.figures import figures, write_figures
    from fraudstream.training.judge import FINE_CURVE, cost_curve

    bands = load_manifest(locate(path)).thresholds
    cost = cost_curve(rows, scores, Costs(), bands, at_scores=FINE_CURVE)
    write_figures(figures({name: curves(rows, scores)}, cost, bands), folder)


@model_app.command("compare")
@exits
def compare_command(
    first: Annotated[Path, typer.Argument(metavar="A", help="Model folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Model folder.")],
    transactions: History,
    features: Definitions = _FEATURES,
    features_b: Annotated[Path | None, typer.Option(help="Definitions of B where they are others.")] = None,
    mapping: Mapping = None,
    since: Since = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Score the same labelled history with two models and put their figures beside each other.

    Example: fraudstream model compare models candidate --transactions payments.parquet
    """
    import msgspec

    from fraudstream.training.judge import gain

    one, rows, scores = _scored(first, features, transactions, mapping, since, quiet=quiet)
    other, _, others = _scored(second, features_b or features, transactions, mapping, since, quiet=quiet)
    gained = gain(rows, scores, others)
    if as_json:
        both = {"a": one, "b": other, "gain": gained}
        print_json("fraudstream.model_compare/1", msgspec.to_builtins(both))
        return
    lines = [
        (name, _around(getattr(one.evaluation, field)), _around(getattr(other.evaluation, field)))
        for name, field in (("average precision", "average_precision"), ("AUC", "auc"))
    ]
    typer.echo(columns(("", f"A {one.version} {one.model[:12]}", f"B {other.version} {other.model[:12]}"), lines))
    typer.echo(f"B gains {_around(gained)} in average precision on the same rows; intervals are 95 %, drawn over cards.")


@model_app.command("thresholds")
@exits
def thresholds_command(
    missed_fraud: Annotated[float, typer.Option(help="Cost of an approved fraud.", min=0)] = 100.0,
    wrong_block: Annotated[float, typer.Option(help="Cost of a blocked good payment.", min=0)] = 60.0,
    review: Annotated[float, typer.Option(help="Cost of one look by an analyst.", min=0)] = 15.0,
    challenge: Annotated[float, typer.Option(help="Cost of one question to a customer.", min=0)] = 6.0,
    challenge_stops: Annotated[float, typer.Option(help="Share of frauds that a question stops.", min=0, max=1)] = 0.8,
    transactions: Annotated[Path | None, typer.Option(help="Labelled history to measure the costs on.")] = None,
    model: Annotated[Path, typer.Option(help="Model folder.")] = _MODEL,
    features: Definitions = _FEATURES,
    output: Annotated[Path | None, typer.Option(help="Policy file to write (FRAUDSTREAM_POLICY).")] = None,
    figure: Annotated[Path | None, typer.Option(help="SVG file to draw the curve to, with --transactions.")] = None,
    mapping: Mapping = None,
    since: Since = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Find the scores from which on each outcome is the cheapest, show what cut-offs cost, and write the decision policy.

    Example: fraudstream model thresholds --missed-fraud 250 --review 8 --output policy.json
    """
    import msgspec

    from fraudstream.decision.policy import DecisionPolicy
    from fraudstream.training.calibration import Costs, thresholds
    from fraudstream.training.figures import cost_figure
    from fraudstream.training.judge import FINE_CURVE, cost_curve

    if figure is not None and transactions is None:
        raise typer.BadParameter("a curve is drawn of a history: give --transactions too", param_hint="--figure")
    costs = Costs(
        missed_fraud=missed_fraud, wrong_block=wrong_block, review=review, challenge=challenge, challenge_stops=challenge_stops
    )
    bands = thresholds(costs)
    policy = DecisionPolicy(challenge_from=bands.challenge, review_from=bands.review, block_from=bands.block)
    curve = None
    if transactions is not None:
        _, rows, scores = _scored(model, features, transactions, mapping, since, quiet=quiet)
        curve = cost_curve(rows, scores, costs, bands)
        if figure is not None:
            figure.write_text(cost_figure(cost_curve(rows, scores, costs, bands, at_scores=FINE_CURVE)), encoding="utf-8")
    if output is not None:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(policy), indent=2) + b"\n")
    if as_json:
        print_json(
            "fraudstream.model_thresholds/1", {"policy": msgspec.to_builtins(policy), "curve": msgspec.to_builtins(curve)}
        )
        return
    _print_curve(curve, costs)
    typer.echo(f"challenge from {bands.challenge:g}, review from {bands.review:g}, block from {bands.block:g}")
    if output is not None:
        typer.echo(f"wrote {output}; use it with FRAUDSTREAM_POLICY={output}")


def _print_curve(curve: Any, costs: Any) -> None:
    """
    Print what cut-offs cost on a history, or without one what each outcome costs at each chance of fraud.
    """
    if curve is not None:
        typer.echo(f"mean cost per payment over {curve.rows:,} payments, {curve.frauds:,} frauds")
        lines = [(f"{one.score:g}", f"{one.flagged:.3%}", one.cost_of_review, one.cost_of_block) for one in curve.points]
        typer.echo(columns(("from score", "flagged", "all reviewed", "all blocked"), lines))
        typer.echo(f"nothing done: {curve.nothing:g}; the bands below: {curve.suggested:g}")
        return
    import numpy as np

    outcomes = ("approve", "challenge", "review", "block")
    chances = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
    table = np.stack([costs.of(outcome, chances) for outcome in outcomes], axis=1)
    expected = [
        (f"{chance:g}", *(f"{cost:.2f}" for cost in row)) for chance, row in zip(chances.tolist(), table.tolist(), strict=True)
    ]
    typer.echo("expected cost by chance of fraud")
    typer.echo(columns(("chance", *outcomes), expected))


def _scored(path: Path, features: Path, transactions: Path, mapping: str | None, since: str | None, *, quiet: bool) -> Any:
    from fraudstream.cli.progress import progress
    from fraudstream.settings import locate
    from fraudstream.training.judge import scored

    first = None if since is None else day_of(since, "--since")
    with progress(quiet=quiet) as shown:
        return scored(locate(path), locate(features), [transactions], mapping=mapping, since=first, progress=_counted(shown))


def _counted(shown: Any) -> Callable[[str, int, int], None]:
    def count(step: str, done: int, total: int) -> None:
        shown.count(step, done, total or None)

    return count


def _around(found: Any) -> str:
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def day_of(text: str, option: str) -> date:
    """
    Read a day.
    """
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day; write for example 2018-07-25", param_hint=option) from None


def _text_of(path: Path) -> str:
    from fraudstream.domain.errors import InvalidSettings

    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise InvalidSettings(f"{path} cannot be read ({exc.strerror or type(exc).__name__})") from None
