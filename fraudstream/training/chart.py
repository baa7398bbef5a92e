"""
Charts as SVG text: axes, lines, dots with intervals. Written by hand: the same figures must give the same bytes on every
machine and with every version, which no plotting library promises, and a page of code draws all that a card needs.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape

import msgspec

#: Colours that the colour-blind can tell apart (Okabe and Ito 2008), on white, which a dark page needs drawn.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#8B4F9F", "#6B7280"
_INK, _SOFT, _GRID = "#111827", "#4B5563", "#E5E7EB"
_WIDTH, _HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 92, 64
#: Pixels that one letter of the legend takes, about: it decides where the next name stands.
_LETTER = 6.6


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """
    One axis: what it counts, where it ends, and its ticks as (value, text). ``scale`` is ``linear``, ``log`` or ``logit``.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    scale: str = "linear"

    def share(self, value: float) -> float:
        """
        Return where a value stands between the ends, 0 to 1; values beyond an end stand on it.
        """
        low, high, at = (_scaled(self.scale, one) for one in (self.low, self.high, min(max(value, self.low), self.high)))
        return (at - low) / (high - low)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """
    Points joined in order; one without a ``name`` is not in the legend.
    """

    name: str = ""
    points: Sequence[tuple[float, float]]
    colour: str = BLUE
    dashed: bool = False


class Dot(msgspec.Struct, frozen=True, kw_only=True):
    """
    One point, with its interval where there is one, and a word above it.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    word: str = ""


class Dots(msgspec.Struct, frozen=True, kw_only=True):
    """
    Points of one kind.
    """

    name: str = ""
    dots: Sequence[Dot]
    colour: str = BLUE


def draw(title: str, subtitle: str, x: Axis, y: Axis, marks: Sequence[Line | Dots]) -> str:
    """
    Return the chart as one SVG document; equal arguments give equal bytes.
    """
    parts = [*_head(title, subtitle), *_grid(x, y), *_legend(marks)]
    for mark in marks:
        parts += _line(mark, x, y) if isinstance(mark, Line) else _dots(mark, x, y)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _scaled(scale: str, value: float) -> float:
    match scale:
        case "log":
            return math.log10(value)
        case "logit":
            return math.log(value / (1 - value))
        case _:
            return value


def _across(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (_WIDTH - _LEFT - _RIGHT)


def _down(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.share(value) * (_HEIGHT - _TOP - _BOTTOM)


def _head(title: str, subtitle: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif">'
    )
    yield f"<title>{escape(title)}</title><desc>{escape(subtitle)}</desc>"
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#FFFFFF"/>'
    yield _text(_LEFT, 28, title, size=17, colour=_INK, weight=600)
    yield _text(_LEFT, 48, subtitle, size=12.5)


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value, word in y.ticks:
        at = _down(y, value)
        yield _stroke(_LEFT, at, right, at, _GRID)
        yield _text(_LEFT - 8, at + 4, word, anchor="end")
    for value, word in x.ticks:
        at = _across(x, value)
        yield _stroke(at, bottom, at, bottom + 5, _SOFT)
        yield _text(at, bottom + 20, word, anchor="middle")
    yield _stroke(_LEFT, bottom, right, bottom, _SOFT)
    yield _text((_LEFT + right) / 2, _HEIGHT - 16, x.label, size=13, anchor="middle")
    middle = (_TOP + bottom) / 2
    yield f'<g transform="rotate(-90 18 {_number(middle)})">{_text(18, middle, y.label, size=13, anchor="middle")}</g>'


def _legend(marks: Sequence[Line | Dots]) -> Iterator[str]:
    at = float(_LEFT)
    for mark in marks:
        if not mark.name:
            continue
        if isinstance(mark, Line):
            yield _stroke(at, 68, at + 22, 68, mark.colour, width=2.5, dashed=mark.dashed)
        else:
            yield f'<circle cx="{_number(at + 11)}" cy="68" r="4.5" fill="{mark.colour}"/>'
        yield _text(at + 28, 72, mark.name)
        at += 28 + _LETTER * len(mark.name) + 18


def _line(line: Line, x: Axis, y: Axis) -> Iterator[str]:
    places = " ".join(f"{_number(_across(x, one))},{_number(_down(y, other))}" for one, other in line.points)
    dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
    yield (
        f'<polyline points="{places}" fill="none" stroke="{line.colour}" stroke-width="{1.5 if line.dashed else 2.25}"'
        f' stroke-linejoin="round"{dashes}/>'
    )


def _dots(mark: Dots, x: Axis, y: Axis) -> Iterator[str]:
    for dot in mark.dots:
        across, down = _across(x, dot.x), _down(y, dot.y)
        if dot.low is not None and dot.high is not None:
            low, high = _down(y, dot.low), _down(y, dot.high)
            yield _stroke(across, low, across, high, mark.colour, width=1.5)
            for end in (low, high):
                yield _stroke(across - 4, end, across + 4, end, mark.colour, width=1.5)
        yield f'<circle cx="{_number(across)}" cy="{_number(down)}" r="4.5" fill="{mark.colour}" stroke="#FFFFFF"/>'
        if dot.word:
            yield _text(across + 7, down - 9, dot.word, colour=_INK)


def _text(
    x: float, y: float, words: str, *, size: float = 12, colour: str = _SOFT, anchor: str = "start", weight: int = 400
) -> str:
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"'
        f' font-weight="{weight}">{escape(words)}</text>'
    )


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<line x1="{_number(x1)}" y1="{_number(y1)}" x2="{_number(x2)}" y2="{_number(y2)}" stroke="{colour}"'
        f' stroke-width="{width:g}"{dashes}/>'
    )


def _number(value: float) -> str:
    """
    Return a place in tenths of a pixel: finer differences are not seen, and would be the machine's own.
    """
    return f"{value:.1f}"
