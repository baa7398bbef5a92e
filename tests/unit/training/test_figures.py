"""
The figures of a card: right where they can be counted by hand, and the same every time.
"""

import re
from datetime import date
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from fraudstream.scoring.manifest import Thresholds
from fraudstream.training.calibration import Costs
from fraudstream.training.chart import Axis, Dot, Dots, Line, draw
from fraudstream.training.curves import Curves, calibration_groups, curves, precision_recall, weeks
from fraudstream.training.dataset import DAY_MS, Dataset
from fraudstream.training.figures import COST, PRECISION_RECALL, WEEKS, figures
from fraudstream.training.judge import FINE_CURVE, cost_curve
from fraudstream.training.metrics import average_precision

MONDAY_MS = 1_735_862_400_000 + 3 * DAY_MS
BANDS = Thresholds(challenge=0.5, review=0.75, block=0.93)
SQUARE = Axis(label="x", low=0, high=10, ticks=((0, "none"), (10, "all")))
_SVG = "{http://www.w3.org/2000/svg}"


def some_rows(count: int = 4000) -> tuple[Dataset, np.ndarray]:
    """
    Return rows of sixteen days whose scores are chances.
    """
    rng = np.random.default_rng(5)
    scores = rng.beta(0.3, 3, count).astype(np.float32)
    rows = Dataset(
        matrix=scores[:, None],
        fraud=rng.random(count) < scores,
        occurred_ms=(MONDAY_MS + np.sort(rng.random(count)) * 16 * DAY_MS).astype(np.int64),
        holders=rng.integers(0, 500, count),
        scenario=np.full(count, ""),
    )
    return rows, scores


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    rows, scores = some_rows()
    found = curves(rows, scores, rounds=20)
    cost = cost_curve(rows, scores, Costs(), BANDS, at_scores=FINE_CURVE)
    return figures({"held-out days": found, "another <world>": found}, cost, BANDS)


def places(svg: str, tag: str) -> list[ET.Element]:
    return ET.fromstring(svg).findall(f".//{_SVG}{tag}")


def test_figures_are_the_same_every_time(drawn: dict[str, str]) -> None:
    rows, scores = some_rows()
    found = curves(rows, scores, rounds=20)
    cost = cost_curve(rows, scores, Costs(), BANDS, at_scores=FINE_CURVE)

    assert figures({"held-out days": found, "another <world>": found}, cost, BANDS) == drawn


def test_figures_are_svg_that_says_what_it_shows(drawn: dict[str, str]) -> None:
    for svg in drawn.values():
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert root.find(f"{_SVG}desc") is not None


def test_nothing_is_drawn_outside_of_the_picture(drawn: dict[str, str]) -> None:
    for svg in drawn.values():
        for line in places(svg, "polyline"):
            numbers = [float(one) for one in re.split("[ ,]", line.get("points", ""))]
            assert all(0 <= x <= 720 for x in numbers[::2])
            assert all(0 <= y <= 440 for y in numbers[1::2])


def test_words_end_inside_of_the_picture(drawn: dict[str, str]) -> None:
    for svg in drawn.values():
        for text in places(svg, "text"):
            if text.get("text-anchor") == "start":
                assert float(text.get("x", "")) + 6.6 * len(text.text or "") < 740


def test_thresholds_are_marked_where_their_recall_lies(drawn: dict[str, str]) -> None:
    rows, scores = some_rows()
    recall = float((scores[rows.fraud] >= 0.5).mean())

    _legend, challenge, *_ = places(drawn[PRECISION_RECALL], "circle")

    assert float(challenge.get("cx", "")) == pytest.approx(72 + recall * 624, abs=6)


def test_cost_of_everything_is_not_drawn_beyond_the_frame(drawn: dict[str, str]) -> None:
    assert "the suggested bands" in drawn[COST]
    assert len(places(drawn[COST], "polyline")) == 4


def test_each_week_has_a_dot(drawn: dict[str, str]) -> None:
    legend = 2

    assert len(places(drawn[WEEKS], "circle")) == legend + 2 * 3
    assert "6 Jan" in drawn[WEEKS]


def test_a_value_stands_where_its_axis_says() -> None:
    svg = draw("t", "s", SQUARE, SQUARE, [Dots(dots=[Dot(x=5, y=10, word="here")])])

    (dot,) = places(svg, "circle")

    assert (dot.get("cx"), dot.get("cy")) == ("384.0", "92.0")


def test_values_beyond_an_axis_stand_on_its_end() -> None:
    svg = draw("t", "s", SQUARE, SQUARE, [Line(points=[(-5, 0), (50, 0)])])

    (line,) = places(svg, "polyline")

    assert line.get("points") == "72.0,376.0 696.0,376.0"


def test_logit_axis_has_one_half_in_the_middle() -> None:
    axis = Axis(label="", low=0.01, high=0.99, ticks=(), scale="logit")

    assert axis.share(0.5) == pytest.approx(0.5)
    assert axis.share(0.1) == pytest.approx(1 - axis.share(0.9))


def test_curve_ends_where_every_fraud_is_found() -> None:
    labels = np.array([True, False, True, False])

    points = precision_recall(labels, np.array([0.9, 0.8, 0.7, 0.1]))

    assert points[-1].recall == 1.0
    assert (points[-1].score, points[-1].precision) == (0.7, pytest.approx(2 / 3))


def test_area_under_the_drawn_curve_is_the_average_precision() -> None:
    rows, scores = some_rows()

    points = precision_recall(rows.fraud, scores)

    steps = np.diff([0.0, *(one.recall for one in points)])
    drawn_area = float(np.dot(steps, [one.precision for one in points]))
    assert drawn_area == pytest.approx(average_precision(rows.fraud, scores), abs=0.01)


def test_calibration_groups_hold_all_rows_and_as_many_frauds() -> None:
    rows, scores = some_rows()

    groups = calibration_groups(rows.fraud, scores)

    frauds = [round(group.share.value * group.rows) for group in groups]
    assert sum(group.rows for group in groups) == len(rows)
    assert len(groups) == 12
    assert max(frauds) - min(frauds) <= 2


def test_calibrated_scores_lie_in_their_intervals() -> None:
    rows, scores = some_rows()

    groups = calibration_groups(rows.fraud, scores)

    inside = [group.share.low <= group.score <= group.share.high for group in groups]
    assert sum(inside) >= len(groups) - 2


def test_few_frauds_are_one_group() -> None:
    labels = np.zeros(50, dtype=np.bool_)
    labels[3] = True

    (group,) = calibration_groups(labels, np.linspace(0, 1, 50))

    assert (group.rows, group.share.value) == (50, 0.02)


def test_weeks_begin_at_midnight_of_the_first_row() -> None:
    rows, scores = some_rows()

    found = weeks(rows, scores, rounds=5)

    assert [week.first for week in found] == [date(2025, 1, 6), date(2025, 1, 13), date(2025, 1, 20)]
    assert sum(week.rows for week in found) == len(rows)


def test_base_rate_is_the_share_of_frauds() -> None:
    rows, scores = some_rows()

    found: Curves = curves(rows, scores, rounds=2)

    assert found.base_rate == pytest.approx(rows.fraud.mean())
