"""
A digest as text, and how its figures are written everywhere.
"""

from collections.abc import Sequence

from fraudstream.app.digest import Digest, Figure
from fraudstream.domain.currency import format_minor


def number(value: float) -> str:
    """
    Write a count.
    """
    return f"{value:,.0f}"


def percent(value: float) -> str:
    """
    Write a share with as many digits as say something.
    """
    return f"{value:.1%}" if value >= 0.1 else f"{value:.2%}"


def milliseconds(value: float) -> str:
    """
    Write seconds as milliseconds.
    """
    return f"{value * 1000:,.0f} ms"


def change(figure: Figure) -> str:
    """
    Write by how much a figure moved against the days before; a word where there is nothing to compare with.
    """
    if figure.change is None:
        return "new" if figure.value and figure.usual == 0 else "\N{EN DASH}"
    moved = round(figure.change * 100)
    return "as usual" if moved == 0 else f"{moved:+,d} %".replace("-", "\N{MINUS SIGN}")


def title(digest: Digest) -> str:
    """
    Write the head line.
    """
    return f"Fraud digest of {digest.day:%A, %-d %B %Y} ({digest.time_zone})"


def summary(digest: Digest) -> str:
    """
    Say the day in one sentence.
    """
    flagged = sum(digest.outcomes[name].value for name in ("challenge", "review", "block"))
    if not digest.decisions.value:
        return "No payment was decided on this day."
    return (
        f"{number(digest.decisions.value)} payments were decided; {number(flagged)} of them "
        f"({percent(digest.flagged_rate.value)}) were flagged and {number(digest.outcomes['block'].value)} blocked."
    )


def compared(digest: Digest) -> str:
    """
    Say what the changes are against.
    """
    days = digest.compared_days
    if not days:
        return "There are no decisions of the seven days before to compare with."
    return f"Changes are against the mean of the week before ({days} of 7 days with decisions)."


def figures(digest: Digest) -> list[tuple[str, str, str]]:
    """
    Return the headline figures: name, value, change.
    """
    lines = [
        ("decisions", number(digest.decisions.value), change(digest.decisions)),
        ("flagged", percent(digest.flagged_rate.value), change(digest.flagged_rate)),
        ("blocked", percent(digest.blocked_rate.value), change(digest.blocked_rate)),
        ("degraded", percent(digest.degraded_rate.value), change(digest.degraded_rate)),
    ]
    for name, figure in (("latency p50", digest.p50_s), ("latency p99", digest.p99_s)):
        if figure is not None:
            lines.append((name, milliseconds(figure.value), change(figure)))
    return lines


def tables(digest: Digest) -> list[tuple[str, Sequence[str], list[Sequence[str]]]]:
    """
    Return every table that has lines: its title, its head and its cells.
    """
    found: list[tuple[str, Sequence[str], list[Sequence[str]]]] = [
        ("Outcomes", ("outcome", "decisions", "change"),
         [(name, number(one.value), change(one)) for name, one in digest.outcomes.items()]),
        ("Money", ("currency", "all payments", "change", "flagged", "change", "blocked", "change"),
         [(one.currency, *(cell for figure in (one.paid, one.flagged, one.blocked)
                           for cell in (format_minor(round(figure.value), one.currency), change(figure))))
          for one in digest.money]),
        ("Rules that fired most", ("rule", "does", "hits", "change"),
         [(one.rule_id, f"{one.action} (shadow)" if one.shadow else one.action, number(one.hits.value), change(one.hits))
          for one in digest.rules]),
        ("Merchants with most flagged payments", ("merchant", "flagged", "change", "blocked", "amount flagged"),
         [(one.merchant, number(one.flagged.value), change(one.flagged), number(one.blocked),
           format_minor(one.amount_minor, one.currency)) for one in digest.merchants]),
        ("What became known on this day", ("label", "transactions", "change"),
         [(name, number(one.value), change(one)) for name, one in (
             ("fraud that was flagged", digest.caught), ("fraud that was approved", digest.missed),
             ("legitimate and flagged", digest.false_alarms)) if one.value or one.usual]),
        ("Alerts", ("channel and fate", "alerts", "change"),
         [(name, number(one.value), change(one)) for name, one in digest.alerts.items()]),
    ]  # fmt: skip
    return [table for table in found if table[2]]


def text(digest: Digest) -> str:
    """
    Write a digest for a terminal or the plain part of a mail.
    """
    parts = [title(digest), "", summary(digest), compared(digest), "", _columns(("", "", ""), figures(digest))]
    for name, head, rows in tables(digest):
        parts += ["", name.upper(), _columns(head, rows)]
    return "\n".join(parts) + "\n"


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(map(_plain, row)) for row in ([head, *rows] if any(head) else rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join("  ".join(map(_aligned, range(len(widths)), line, widths)) for line in lines)


def _aligned(at: int, cell: str, width: int) -> str:
    return cell.ljust(width) if at == 0 else cell.rjust(width)


def _plain(cell: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in cell)
