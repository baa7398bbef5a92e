"""
A digest as one HTML page that mail programs show too: no script, no picture, no style from elsewhere.
"""

from collections.abc import Sequence
from html import escape

from fraudstream.app.digest import Digest
from fraudstream.app.digest_words import compared, figures, percent, summary, tables, title

_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_QUIET, _LINE, _INK = "#5b6472", "#e3e6ea", "#1a2230"
#: Height of the longest bar, in pixels.
_BAR_PX = 64


def html(digest: Digest) -> str:
    """
    Write the page; every text of ours and of others is escaped.
    """
    parts = [
        f'<h1 style="font-size:22px;margin:0 0 6px">{escape(title(digest))}</h1>',
        f'<p style="font-size:16px;margin:0 0 4px">{escape(summary(digest))}</p>',
        f'<p style="font-size:13px;color:{_QUIET};margin:0 0 20px">{escape(compared(digest))}</p>',
        _tiles(digest),
        _bars(digest),
        *(_table(*one) for one in tables(digest)),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title(digest))}</title></head>'
        f'<body style="margin:0;background:#f4f5f7;{_FONT};color:{_INK}">'
        '<table role="presentation" width="100%"><tr><td align="center" style="padding:24px 12px">'
        '<table role="presentation" width="720" cellpadding="0" cellspacing="0" '
        'style="background:#fff;border-radius:8px;max-width:720px"><tr><td style="padding:28px 32px">'
        + "".join(parts)
        + "</td></tr></table></td></tr></table></body></html>\n"
    )


def _tiles(digest: Digest) -> str:
    cells = [
        '<td style="padding:12px 14px 12px 0;vertical-align:top">'
        f'<div style="font-size:12px;color:{_QUIET}">{escape(name)}</div>'
        f'<div style="font-size:20px;font-weight:600;white-space:nowrap">{escape(value)}</div>'
        f'<div style="font-size:12px;color:{_QUIET}">{escape(moved)}</div></td>'
        for name, value, moved in figures(digest)
    ]
    return f'<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr>{"".join(cells)}</tr></table>'


def _bars(digest: Digest) -> str:
    """
    Draw the share of flagged decisions of each day, the day itself dark.
    """
    rates = [(day, flagged / decisions if decisions else None) for day, decisions, flagged in digest.days]
    top = max((rate for _, rate in rates if rate), default=0.0)
    if not top:
        return ""
    cells = [
        f'<td align="center" style="vertical-align:bottom;padding:0 6px"><div style="font-size:11px;color:{_QUIET}">'
        f"{'' if rate is None else escape(percent(rate))}</div>"
        f'<div style="width:44px;height:{max(1, round((rate or 0) / top * _BAR_PX))}px;'
        f'background:{"#b3382c" if day == digest.day else "#d9a49e"};border-radius:3px 3px 0 0"></div>'
        f'<div style="font-size:11px;color:{_QUIET};padding-top:4px">{day:%a %-d}</div></td>'
        for day, rate in rates
    ]
    head = '<h2 style="font-size:15px;margin:18px 0 8px">Share of flagged payments, day by day</h2>'
    return f'{head}<table role="presentation" cellpadding="0" cellspacing="0"><tr>{"".join(cells)}</tr></table>'


def _table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str, style: str) -> str:
        last = len(cells) - 1
        return "<tr>" + "".join(
            f'<{tag} align="{"left" if at == 0 else "right"}" style="padding:5px {0 if at == last else 10}px 5px 0;{style}">'
            f"{escape(cell)}</{tag}>" for at, cell in enumerate(cells)
        ) + "</tr>"  # fmt: skip

    line = f"font-size:13px;border-top:1px solid {_LINE}"
    body = "".join(row(cells, "td", line) for cells in rows)
    return (
        f'<h2 style="font-size:15px;margin:22px 0 4px">{escape(name)}</h2>'
        '<table width="100%" cellpadding="0" cellspacing="0" style="border-collapse:collapse">'
        f"{row(head, 'th', f'font-size:12px;font-weight:400;color:{_QUIET}')}{body}</table>"
    )
