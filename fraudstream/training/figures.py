"""
The figures of a model card: precision by recall, cost by cut-off, calibration, and average precision by week.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec

from fraudstream.scoring.manifest import Thresholds
from fraudstream.training.chart import BLUE, GREEN, GREY, ORANGE, PURPLE, Axis, Dot, Dots, Line, draw
from fraudstream.training.curves import Curves, Point
from fraudstream.training.judge import CostCurve

#: File of each figure beside the card.
PRECISION_RECALL, COST, CALIBRATION, WEEKS = "precision-recall.svg", "cost.svg", "calibration.svg", "weeks.svg"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
_SHARES = tuple((at / 10, f"{at * 10} %") for at in range(0, 11, 2))
#: Ticks of chances: fraud is rare, so that one in a thousand and one in two must both be told apart.
_CHANCES = tuple((at / 100, f"{at:g} %") for at in (0.01, 0.1, 1, 10, 50, 90, 99, 99.9))


def figures(named: Mapping[str, Curves], cost: CostCurve, bands: Thresholds) -> dict[str, str]:
    """
    Return the SVG of each figure by file name.

    Args:
        named: The curves of one or more sets of rows, the most important first; at most four.
        cost: What cut-offs cost on the first of them.
        bands: Thresholds that are marked.
    """
    return {
        PRECISION_RECALL: precision_recall_figure(named, bands),
        COST: cost_figure(cost),
        CALIBRATION: calibration_figure(named),
        WEEKS: weeks_figure(named),
    }


def write_figures(drawn: Mapping[str, str], folder: Path) -> None:
    """
    Write figures into a folder; made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in drawn.items():
        (folder / name).write_text(svg, encoding="utf-8")


def benchmark_figures(name: str, found: Curves) -> dict[str, str]:
    """
    Return the figures of a benchmark by file name: its scores rank and are not calibrated, so that cost is not drawn.
    """
    return {PRECISION_RECALL: precision_recall_figure({name: found}, None), WEEKS: weeks_figure({name: found})}


def precision_recall_figure(named: Mapping[str, Curves], bands: Thresholds | None) -> str:
    """
    Draw how many of the flagged are fraud against how much of the fraud is flagged, thresholds marked on the first curve.
    """
    first = next(iter(named.values()))
    lines = [
        Line(name=name, points=[(one.recall, one.precision) for one in found.precision_recall], colour=colour)
        for (name, found), colour in zip(named.items(), _COLOURS, strict=False)
    ]
    chance = Line(name="flagging at random", points=[(0, first.base_rate), (1, first.base_rate)], colour=GREY, dashed=True)
    marks = [
        Dot(x=at.recall, y=at.precision, word=word)
        for word, score in ({} if bands is None else msgspec.structs.asdict(bands)).items()
        if (at := _from(first.precision_recall, score)) is not None
    ]
    return draw(
        "Precision by recall",
        "Of what is flagged from a score on: how much is fraud, against how much of all fraud it is",
        Axis(label="recall: share of the frauds that are flagged", low=0, high=1, ticks=_SHARES),
        Axis(label="precision: share of the flagged that is fraud", low=0, high=1, ticks=_SHARES),
        [*lines, chance, Dots(name="threshold" if marks else "", dots=marks, colour=PURPLE)],
    )


def _from(points: Sequence[Point], score: float) -> Point | None:
    """
    Return the last point whose score is at or above a threshold.
    """
    return next((one for one in reversed(points) if one.score >= score), None)


def cost_figure(cost: CostCurve) -> str:
    """
    Draw what a thousand payments cost when everything from a score on is looked at, or blocked.
    """
    reviewed = [(one.score, 1000 * one.cost_of_review) for one in cost.points]
    blocked = [(one.score, 1000 * one.cost_of_block) for one in cost.points]
    nothing, suggested = 1000 * cost.nothing, 1000 * cost.suggested
    low, high = cost.points[0].score, cost.points[-1].score
    # Cutting off too low costs without bound; what lies far above doing nothing is of no interest.
    top, step = _round_up(2 * nothing)
    return draw(
        "Cost by cut-off",
        f"Money lost and spent per 1,000 payments, {cost.rows:,} payments with {cost.frauds:,} frauds",
        Axis(label="flagged from this score on", low=low, high=high, ticks=_within(_CHANCES, low, high), scale="logit"),
        Axis(label="cost per 1,000 payments", low=0, high=top, ticks=tuple((at * step, f"{at * step:,g}") for at in range(6))),
        [
            Line(name="all reviewed", points=_below(reviewed, top), colour=BLUE),
            Line(name="all blocked", points=_below(blocked, top), colour=ORANGE),
            Line(name="nothing done", points=[(low, nothing), (high, nothing)], colour=GREY, dashed=True),
            Line(name="the suggested bands", points=[(low, suggested), (high, suggested)], colour=GREEN, dashed=True),
        ],
    )


def _below(points: Sequence[tuple[float, float]], top: float) -> list[tuple[float, float]]:
    """
    Return the points from the last one on that lies above the top.
    """
    over = [at for at, (_, cost) in enumerate(points) if cost > top]
    return list(points[over[-1] :] if over else points)


def _round_up(value: float) -> tuple[float, float]:
    """
    Return a round number above a value that five steps reach, and the step.
    """
    step = next(one for power in range(-6, 12) for one in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if 5 * one >= value)
    return 5 * step, step


def calibration_figure(named: Mapping[str, Curves]) -> str:
    """
    Draw the share of frauds against the score that foretold it, with 95 % intervals.
    """
    every = [one for found in named.values() for group in found.calibration for one in (group.score, group.share.low)]
    low = max(1e-6, 0.7 * min(every))
    ticks = _within(_CHANCES, low, 0.9995)
    dots = [
        Dots(
            name=name,
            colour=colour,
            dots=[Dot(x=one.score, y=one.share.value, low=one.share.low, high=one.share.high) for one in found.calibration],
        )
        for (name, found), colour in zip(named.items(), _COLOURS, strict=False)
    ]
    return draw(
        "Calibration",
        "Each dot is a group of payments with as many frauds as the next; on the line, scores are chances",
        Axis(label="mean score of the group", low=low, high=0.9995, ticks=ticks, scale="logit"),
        Axis(label="share of frauds in the group", low=low, high=0.9995, ticks=ticks, scale="logit"),
        [Line(name="as foretold", points=[(low, low), (0.9995, 0.9995)], colour=GREY, dashed=True), *dots],
    )


def weeks_figure(named: Mapping[str, Curves]) -> str:
    """
    Draw the average precision of each week with its 95 % interval.
    """
    days = [week.first.toordinal() for found in named.values() for week in found.weeks]
    names = {week.first.toordinal(): _day(week.first) for found in named.values() for week in found.weeks}
    places = {day: at for at, day in enumerate(sorted(set(days)), start=1)}
    dots = [
        Dots(
            name=name,
            colour=colour,
            dots=[
                Dot(
                    x=places[week.first.toordinal()],
                    y=week.average_precision.value,
                    low=week.average_precision.low,
                    high=week.average_precision.high,
                    word=f"{week.average_precision.value:.3f}",
                )
                for week in found.weeks
            ],
        )
        for (name, found), colour in zip(named.items(), _COLOURS, strict=False)
    ]
    return draw(
        "Average precision by week",
        "With 95 % intervals of a bootstrap over cards; weeks of the payments' own time, by their first day",
        Axis(label="week from", low=0.5, high=len(places) + 0.5, ticks=tuple((at, names[day]) for day, at in places.items())),
        Axis(label="average precision", low=0, high=1, ticks=tuple((at / 5, f"{at / 5:g}") for at in range(6))),
        dots,
    )


def _day(day: date) -> str:
    """
    Return a day in English, whatever the machine speaks.
    """
    return f"{day.day} {_MONTHS[day.month - 1]}"


def _within(ticks: Sequence[tuple[float, str]], low: float, high: float) -> tuple[tuple[float, str], ...]:
    return tuple(one for one in ticks if low <= one[0] <= high)
