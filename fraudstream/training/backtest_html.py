"""
The report of a backtest as one HTML file: no script, nothing fetched, readable on paper.
"""

from collections.abc import Iterator, Sequence
from html import escape

from fraudstream.domain.currency import format_minor
from fraudstream.training.backtest_report import Day, Money, Part, Report, RuleFigures
from fraudstream.training.chart import BLUE, GREY, ORANGE
from fraudstream.training.intervals import Share

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 920, 300, 56, 46, 40
_STYLE = """
body { font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #111827; background: #fff;
  margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p.sub, p.note { color: #4b5563; margin: .25rem 0 } table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #e5e7eb; vertical-align: top }
table + table { margin-top: 1rem }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } code { font-size: .85rem; overflow-wrap: anywhere }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: .75rem; margin: 1.25rem 0 }
.tile { border: 1px solid #e5e7eb; border-radius: .5rem; padding: .75rem 1rem }
.tile b { display: block; font-size: 1.6rem; line-height: 1.2 } .tile span { color: #4b5563; font-size: .85rem; display: block }
.good b { color: #0072B2 } .bad b { color: #D55E00 }
"""


def page(report: Report, title: str) -> str:
    """
    Return the whole page; equal reports give equal bytes.
    """
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *_head(report),
        *_tiles(report),
        "<h2>Day by day</h2>",
        chart(report.days),
        *_effect(report),
        *_rules([rule for rule in report.rules if rule.changed], "Rules that are new or changed"),
        *_overlaps(report),
        *_examples(report),
        *_rules([rule for rule in report.rules if not rule.changed], "Rules that stay as they are"),
        *_foot(report),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def share_text(share: Share, digits: int = 1) -> str:
    """
    Write a share with its interval.
    """
    if share.share is None or share.low is None or share.high is None:
        return "nothing to divide by"
    return f"{share.share:.{digits}%} ({share.low:.{digits}%} to {share.high:.{digits}%})"


def money_text(money: Sequence[Money], *, interval: bool = False) -> str:
    """
    Write sums of money, the largest first.
    """
    texts = []
    for one in money:
        text = format_minor(one.minor, one.currency)
        if interval:
            text += f" ({format_minor(one.low, one.currency)} to {format_minor(one.high, one.currency)})"
        texts.append(text)
    return ", ".join(texts) or "0"


def _head(report: Report) -> Iterator[str]:
    yield (
        f'<p class="sub">{report.payments:,} payments from {report.first[:10]} to {report.last[:10]}, of which'
        f" {report.judged:,} can be judged ({report.frauds:,} frauds), {report.immature:,} are younger than"
        f" {report.maturity_days:g} days, and {report.unknown:,} will never be known."
        f" Candidate <code>{report.candidate[:12]}</code> against <code>{escape(report.baseline[:18])}</code>.</p>"
    )
    for note in report.notes:
        yield f'<p class="note">{escape(note)}</p>'


def _tiles(report: Report) -> Iterator[str]:
    yield '<div class="tiles">'
    yield _tile("new catches", report.new_catches, "good")
    yield _tile("new false positives", report.new_false_positives, "bad")
    yield _tile("already caught", report.already_caught, "")
    yield _tile("still missed", report.missed, "")
    yield "</div>"


def _tile(name: str, part: Part, kind: str) -> str:
    worth = escape(money_text(part.money[:1]))
    return f'<div class="tile {kind}"><b>{part.payments:,}</b>{escape(name)}<span>{worth}</span></div>'


def chart(days: Sequence[Day]) -> str:
    """
    Return the days as bars: frauds above the line, honest payments that are newly disturbed below it.
    """
    up = max([1, *(day.already_caught + day.new_catches for day in days)])
    down = max([1, *(day.new_false_positives for day in days)])
    inner = _HEIGHT - _TOP - _BOTTOM
    middle = _TOP + inner * up / (up + down)
    unit, step = inner / (up + down), (_WIDTH - _LEFT - 16) / max(1, len(days))
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img"'
        ' aria-label="New catches, frauds already caught and new false positives per day"'
        ' font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" font-size="12">'
    )
    parts = [opening, *_legend(), *_scale(up, down, middle, unit)]
    for at, day in enumerate(days):
        x, wide = _LEFT + at * step, max(1.0, step * 0.8)
        caught, fresh = day.already_caught * unit, day.new_catches * unit
        parts.append(f"<g><title>{_day_text(day)}</title>")
        parts.append(_bar(x, middle - caught, wide, caught, GREY))
        parts.append(_bar(x, middle - caught - fresh, wide, fresh, BLUE))
        parts.append(_bar(x, middle, wide, day.new_false_positives * unit, ORANGE) + "</g>")
        if at % max(1, -(-len(days) // 10)) == 0:
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 16}" fill="#4B5563">{day.day[5:]}</text>')
    parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 16}" y1="{middle:.1f}" y2="{middle:.1f}" stroke="#4B5563"/></svg>')
    return "\n".join(parts)


def _legend() -> Iterator[str]:
    x = _LEFT
    for word, colour in (
        ("new catches", BLUE),
        ("frauds caught before", GREY),
        ("new false positives (below the line)", ORANGE),
    ):
        yield f'<rect x="{x}" y="8" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{x + 18}" y="18" fill="#4B5563">{word}</text>'
        x += 50 + 7 * len(word)


def _scale(up: int, down: int, middle: float, unit: float) -> Iterator[str]:
    for count in sorted({0, up, -down}):
        y = middle - count * unit
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - 16}" y1="{y:.1f}" y2="{y:.1f}" stroke="#E5E7EB"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#4B5563">{abs(count):,}</text>'


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    if not height:
        return ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _day_text(day: Day) -> str:
    return (
        f"{day.day}: {day.payments:,} payments, {day.new_catches} new catches, {day.already_caught} caught before,"
        f" {day.new_false_positives} new false positives, {day.immature:,} too young"
    )


def _effect(report: Report) -> Iterator[str]:
    yield "<h2>Effect</h2>"
    parts = (
        ("new catches", report.new_catches), ("lost catches", report.lost_catches), ("already caught", report.already_caught),
        ("still missed", report.missed), ("new false positives", report.new_false_positives), ("freed", report.freed),
    )  # fmt: skip
    rows = [(name, f"{part.payments:,}", money_text(part.money, interval=True)) for name, part in parts]
    yield _table(("", "payments", "money, with 95 % interval"), rows, numbers=(1,))
    shares = (
        ("of new flags, fraud", report.precision_of_new, 1),
        ("frauds caught before", report.caught_before, 1),
        ("frauds caught with it", report.caught_after, 1),
        ("honest payments disturbed before", report.false_positive_rate_before, 3),
        ("honest payments disturbed with it", report.false_positive_rate_after, 3),
    )
    yield _table(("", "share, with 95 % interval"), [(name, share_text(share, digits)) for name, share, digits in shares])
    yield (
        f'<p class="note">{report.immature_flagged:,} more payments would be flagged and are too young to judge;'
        f" {report.immature_frauds:,} of them are known as fraud already. {report.stricter:,} payments get a stricter outcome,"
        f" {report.milder:,} a milder one.</p>"
    )


def _rules(rules: Sequence[RuleFigures], title: str) -> Iterator[str]:
    if not rules:
        return
    yield f"<h2>{title}</h2>"
    head = (
        "rule",
        "does",
        "hits",
        "per day",
        "fraud",
        "honest",
        "too young",
        "precision",
        "new catches",
        "new false positives",
    )
    rows = [
        (one.rule_id, ("shadow " if one.shadow else "") + one.action.replace("_", " "), f"{one.hits:,}", f"{one.per_day:.1f}",
         f"{one.fraud:,}", f"{one.honest:,}", f"{one.immature:,}", share_text(one.precision, 0), f"{one.new_catches:,}",
         f"{one.new_false_positives:,}")
        for one in rules
    ]  # fmt: skip
    yield _table(head, rows, numbers=(2, 3, 4, 5, 6, 8, 9))


def _overlaps(report: Report) -> Iterator[str]:
    rows = [
        (rule.rule_id, one.rule_id, f"{one.shared:,}", f"{one.share:.0%}") for rule in report.rules for one in rule.overlaps
    ]
    if rows:
        yield "<h2>Overlap with rules that are there</h2>"
        yield _table(("rule", "shares hits with", "hits", "of its own"), rows, numbers=(2, 3))


def _examples(report: Report) -> Iterator[str]:
    if report.examples:
        yield "<h2>Largest examples</h2>"
        head = ("", "transaction", "when", "amount", "outcome", "rule", "because")
        rows = [
            (one.kind, one.transaction_id, one.occurred_at[:16].replace("T", " "), format_minor(one.amount_minor, one.currency),
             f"{one.before} → {one.after}", one.rule_id, one.explanation)
            for one in report.examples
        ]  # fmt: skip
        yield _table(head, rows)


def _foot(report: Report) -> Iterator[str]:
    yield "<h2>How to read this</h2>"
    yield (
        f'<p class="note">Labels up to {report.known_at}; payments younger than {report.maturity_days:g} days before that are'
        f" not judged. Intervals: {escape('; '.join(report.methods))}.</p>"
    )
    for reason, rows in report.left_out.items():
        yield f'<p class="note">Left out: {rows:,} payments, {escape(reason)}.</p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    def cell(tag: str, at: int, text: str) -> str:
        kind = ' class="n"' if at in numbers else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    lines = ["<table><tr>" + "".join(cell("th", at, text) for at, text in enumerate(head)) + "</tr>"]
    lines += ["<tr>" + "".join(cell("td", at, text) for at, text in enumerate(row)) + "</tr>" for row in rows]
    return "\n".join(lines) + "</table>"
