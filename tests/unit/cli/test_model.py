"""
The commands about models, on the shipped model and on a small history.
"""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from typer.testing import CliRunner

from fraudstream.cli.model import model_app
from fraudstream.decision.policy import parse_policy
from fraudstream.producers.synthetic import demo_plan, generate

MODELS = Path(__file__).parents[3] / "models"


def run(*arguments: str | Path):
    return CliRunner().invoke(model_app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Write a day and more of the synthetic world as JSON Lines with its truth.
    """
    path = tmp_path_factory.mktemp("history") / "payments.jsonl"
    world = generate(msgspec.structs.replace(demo_plan(5, end_ms=1_740_960_000_000), transactions=3_000))
    lines = [json.dumps({**json.loads(one.body), "is_fraud": one.fraud}) for one in world]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_info_names_the_shipped_model_by_its_hash() -> None:
    manifest = json.loads((MODELS / "fraud.json").read_text())

    told = json.loads(run("info", MODELS, "--json").stdout)

    assert told["schema"] == "fraudstream.model_info/1"
    assert told["data"] == manifest
    assert manifest["sha256"] in run("info", MODELS).stdout


def test_info_of_nothing_says_what_is_missing(tmp_path: Path) -> None:
    found = run("info", tmp_path)

    assert found.exit_code == 3
    assert "fraud.json cannot be read" in found.output


def test_card_is_the_one_beside_the_model() -> None:
    assert run("card", MODELS).stdout.strip() == (MODELS / "README.md").read_text().strip()


def test_thresholds_become_a_policy_that_the_worker_reads(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"

    found = run("thresholds", "--missed-fraud", "200", "--review", "10", "--challenge", "4", "--output", policy)

    assert found.exit_code == 0
    bands = parse_policy(policy.read_bytes())
    # A question pays from p * 200 = 4 + p * 40, a review from 4 + p * 40 = 10, a block from (1 - p) * 60 = 10.
    assert (bands.challenge_from, bands.review_from) == pytest.approx((0.025, 0.15), abs=0.0015)
    assert bands.block_from == pytest.approx(1 - 10 / 60, abs=0.0015)


def test_evaluate_measures_on_every_labelled_row(history: Path) -> None:
    found = run("evaluate", MODELS, "--transactions", history, "--features", MODELS / "default.features", "--json", "--quiet")

    assert found.exit_code == 0, found.output
    measured = json.loads(found.stdout)["data"]["evaluation"]
    truth = [json.loads(line)["is_fraud"] for line in history.read_text().splitlines()]
    assert (measured["rows"], measured["frauds"]) == (len(truth), sum(truth))
    assert measured["average_precision"]["value"] > 3 * sum(truth) / len(truth)


def test_figures_of_a_history_are_written(history: Path, tmp_path: Path) -> None:
    asked = ["--transactions", history, "--features", MODELS / "default.features", "--figures", tmp_path, "--quiet"]

    found = run("evaluate", MODELS, *asked)

    assert found.exit_code == 0, found.output
    drawn = {path.name: ET.parse(path).getroot() for path in tmp_path.iterdir()}
    assert sorted(drawn) == ["calibration.svg", "cost.svg", "precision-recall.svg", "weeks.svg"]


def test_cost_curve_is_drawn_where_there_is_a_history(history: Path, tmp_path: Path) -> None:
    figure = tmp_path / "cost.svg"
    asked = ["--model", MODELS, "--features", MODELS / "default.features", "--figure", figure, "-q"]

    assert run("thresholds", "--transactions", history, *asked).exit_code == 0
    without = run("thresholds", *asked)

    assert "3,000 payments" in figure.read_text()
    assert without.exit_code == 2
    assert "a curve is drawn of a history" in without.output


def test_benchmark_draws_the_weeks_that_it_tested(history: Path, tmp_path: Path) -> None:
    definitions = tmp_path / "few.features"
    definitions.write_text("feature amount_minor = amount feature night = hour(timestamp) <= 6")
    days = ["--train-start", "2025-02-18", "--train-days", "5", "--delay-days", "1", "--test-days", "5"]

    found = run("benchmark", "--transactions", history, "--features", definitions, *days, "--figures", tmp_path / "out", "-q")

    assert found.exit_code == 0, found.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["precision-recall.svg", "weeks.svg"]
    assert "24 Feb" in (tmp_path / "out" / "weeks.svg").read_text()


def test_a_model_compared_with_itself_is_the_same(history: Path) -> None:
    features = MODELS / "default.features"

    found = run("compare", MODELS, MODELS, "--transactions", history, "--features", features, "--json", "-q")

    both = json.loads(found.stdout)["data"]
    assert both["a"] == both["b"]
    assert both["gain"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_cost_curve_begins_with_doing_nothing(history: Path) -> None:
    features = MODELS / "default.features"

    found = run("thresholds", "--transactions", history, "--model", MODELS, "--features", features, "--json", "-q")

    curve = json.loads(found.stdout)["data"]["curve"]
    assert curve["nothing"] == pytest.approx(100 * curve["frauds"] / curve["rows"], abs=1e-4)
    flagged = [point["flagged"] for point in curve["points"]]
    assert flagged == sorted(flagged, reverse=True)


def test_benchmark_refuses_labels_that_nobody_has_yet(tmp_path: Path, history: Path) -> None:
    early = tmp_path / "early.features"
    early.write_text('entity merchant log feature told = count() by merchant delayed 1d where label = "fraud"')

    found = run("benchmark", "--transactions", history, "--features", early, "--train-start", "2018-07-25")

    assert found.exit_code == 3
    assert "told (delayed 86400 s)" in found.output


def test_benchmark_refuses_what_is_no_day(history: Path) -> None:
    found = run("benchmark", "--transactions", history, "--features", MODELS / "default.features", "--train-start", "july")

    assert found.exit_code == 2
    assert "is no day" in found.output
