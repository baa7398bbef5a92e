"""
The overload as a page: what was offered and taken, and a curve for the memory of each process.
"""

from collections.abc import Sequence
from html import escape

from fraudstream.adapters.redis_keys import RAW
from fraudstream.app.bench_bounds import BoundsReport
from fraudstream.app.bench_page import STYLE
from fraudstream.training.chart import BLUE, GREEN, GREY, ORANGE, PURPLE, Axis, Line, draw

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GREY)


def bounds_page(report: BoundsReport) -> str:
    """
    Return the report as HTML.
    """
    verdict = {True: "flat", False: "not flat", None: "too short to tell"}[report.flat]
    rows = [
        ("memory", verdict),
        ("offered", f"{report.offered_tps:,.0f}/s for {report.seconds:,.0f} s, of {report.capacity_tps:,.0f}/s that it can do"),
        ("taken", f"{report.accepted_tps:,.0f}/s, {report.accepted:,} payments"),
        ("lost, doubled", f"{report.lost}, {report.doubled}"),
        *(("producers were told", f"{one.times:,} times: {one.words}") for one in report.refused),
        ("machine", report.machine),
        ("processes", ", ".join(report.topology)),
        ("server", report.server),
        ("commit", report.commit or "not a checkout"),
    ]
    figures = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    memory = [
        Line(
            name=one.name,
            points=[(at.at_s, at.memory_mb[one.name]) for at in report.samples if one.name in at.memory_mb],
            colour=_COLOURS[number % len(_COLOURS)],
        )
        for number, one in enumerate(report.trends)
    ]
    entries = [(at.at_s, float(at.streams[RAW])) for at in report.samples if RAW in at.streams]
    raw = Line(points=entries, colour=ORANGE)
    curves = (_curves("Memory", "MB", memory), _curves("The raw stream", "entries", [raw]))
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>fraudstream bench bounds</title><style>{STYLE}</style>"
        f"<h1>More than it can do</h1><table>{figures}</table>"
        f"{''.join(f'<figure>{curve}</figure>' for curve in curves)}</html>\n"
    )


def _curves(title: str, unit: str, lines: Sequence[Line]) -> str:
    end = max((at for line in lines for at, _ in line.points), default=1.0) or 1.0
    high = max((value for line in lines for _, value in line.points), default=1.0) * 1.1 + 1
    x = Axis(label="seconds", low=0.0, high=end, ticks=tuple((end * part / 5, f"{end * part / 5:,.0f}") for part in range(6)))
    ticks = tuple((high * part / 4, f"{high * part / 4:,.0f}") for part in range(5))
    return draw(title, "every second", x, Axis(label=unit, low=0.0, high=high, ticks=ticks), lines)
