"""
Lists as files that people keep elsewhere: one value a line, CSV with a head, or JSON Lines.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from fraudstream.domain.errors import InvalidRule
from fraudstream.domain.masking import has_card_number
from fraudstream.rules.entries import ListEntry
from fraudstream.rules.instants import instant_ms, moment_text
from fraudstream.rules.lists import list_lines

#: The forms by the end of a file's name.
FORMS = {"csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "list": "list", "txt": "list"}
_FIELDS = ("value", "until", "since", "reason", "author", "added")
#: Problems that are shown; the rest is counted.
_SHOWN = 20
#: Longest entry, in characters.
LONGEST = 1024


def read_entries(lines: TextIO, form: str, name: str, *, known: ListEntry) -> list[ListEntry]:
    """
    Read the entries of a file; what a line does not say is as in ``known``.

    Args:
        lines: The file.
        form: ``csv``, ``jsonl`` or ``list``.
        name: What errors call it.
        known: Reason, author, time and end of entries that name none.

    Raises:
        InvalidRule: Lines cannot be read; the text names the first of them.
    """
    entries: dict[str, ListEntry] = {}
    problems: list[str] = []
    for number, told in _told(lines, form):
        entry = told if isinstance(told, str) else _entry(told, known)
        if isinstance(entry, str):
            problems.append(f"{name}:{number}: {entry}")
        else:
            entries[entry.value] = entry
    if problems:
        more = f"\n… and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InvalidRule("\n".join(problems[:_SHOWN]) + more)
    return list(entries.values())


def write_entries(entries: Iterable[ListEntry], form: str, file: TextIO) -> int:
    """
    Write entries so that ``read_entries`` gives them back (a plain list holds values only), and return how many.
    """
    written = list(entries)
    writer = csv.DictWriter(file, _FIELDS, lineterminator="\n")
    if form == "csv":
        writer.writeheader()
    for entry in written:
        if form == "list":
            file.write(f"{entry.value}\n")
        elif form == "csv":
            writer.writerow(_shown(entry))
        else:
            file.write(json.dumps(_shown(entry), ensure_ascii=False) + "\n")
    return len(written)


def checked(value: str) -> str | None:
    """
    Return what is wrong with the value of an entry, None when nothing is.
    """
    if not value or value != value.strip():
        return "an entry is empty, or has blanks around it"
    if len(value) > LONGEST or not value.isprintable():
        return f"an entry has at most {LONGEST} characters, all of them printable"
    if has_card_number(value):
        return "this is a clear card number; lists hold tokens or hashes of cards"
    return None


def _told(lines: TextIO, form: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    if form == "list":
        yield from ((number, {"value": value}) for number, value in list_lines(lines))
    elif form == "jsonl":
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _object(line)
    else:
        rows = csv.DictReader(lines)
        if "value" not in (rows.fieldnames or ()):
            yield 1, f"a CSV file begins with the names of its columns: value, and any of {', '.join(_FIELDS[1:])}"
            return
        for row in rows:
            yield rows.line_num, {name: text for name, text in row.items() if text and name in _FIELDS}


def _object(line: str) -> dict[str, Any] | str:
    try:
        told = json.loads(line)
    except ValueError as exc:
        return f"no JSON: {exc}"
    if isinstance(told, str):
        return {"value": told}
    return told if isinstance(told, dict) else "a line holds a string, or an object with value"


def _entry(told: dict[str, Any], known: ListEntry) -> ListEntry | str:
    value = told.get("value")
    if not isinstance(value, str):
        return "value is missing, or no string"
    wrong = checked(value)
    if wrong is not None:
        return wrong
    times = {name: instant_ms(str(told[name])) for name in ("until", "since", "added") if told.get(name)}
    unread = [name for name, at_ms in times.items() if at_ms is None]
    if unread:
        return f"{unread[0]} is no date or time: {told[unread[0]]!r}"
    return ListEntry(
        value,
        until_ms=times.get("until", known.until_ms),
        since_ms=times.get("since"),
        reason=str(told.get("reason") or known.reason)[:LONGEST],
        author=str(told.get("author") or known.author)[:LONGEST],
        added_ms=times.get("added") or known.added_ms,
    )


def _shown(entry: ListEntry) -> dict[str, str]:
    times = {"until": entry.until_ms, "since": entry.since_ms, "added": entry.added_ms or None}
    written = {name: moment_text(at_ms) for name, at_ms in times.items() if at_ms is not None}
    words = {name: text for name, text in (("reason", entry.reason), ("author", entry.author)) if text}
    return {"value": entry.value, **written, **words}
