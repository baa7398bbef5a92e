"""
JSON Lines: one object a line, passed on as it stands where it is in our own format, translated where a mapping says so.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from fraudstream.producers.labelled import Labelled
from fraudstream.producers.mapping import SCENARIO_COLUMN, SHIPPED, TRUTH_COLUMNS, ColumnMapping, choose, generic
from fraudstream.producers.translate import Translator, UnmappedRow, event_time_ms, judge

#: Longest line that is read, in bytes: far above any body that the fleet takes, and little enough to hold.
MAX_LINE_BYTES = 16 * 1024 * 1024
_decoder = msgspec.json.Decoder()


def read_json_lines(
    stream: io.BufferedReader, name: str, mapping: str | None, bad: Callable[[int, str], None], card_key: bytes
) -> Iterator[Labelled]:
    """
    Yield one transaction per line that is not blank; the first one decides whether a shipped mapping applies.
    """
    rest = lines(stream, bad)
    first = next(rest, None)
    if first is None:
        return
    chosen = _mapping(json_object(first[1]) or {}, mapping, name)
    translator = Translator(chosen, card_key=card_key) if chosen is not None else None
    place = 0
    for number, line in _chain(first, rest):
        place += 1
        if translator is None:
            yield _as_it_stands(line)
            continue
        row = json_object(line)
        if row is None:
            bad(number, "this is no JSON object")
            continue
        try:
            labelled = translator.labelled(row, place)
        except UnmappedRow as exc:
            bad(number, str(exc))
        else:
            yield labelled


def _chain(first: tuple[int, bytes], rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from rest


def _mapping(row: dict[str, Any], mapping: str | None, name: str) -> ColumnMapping | None:
    """
    Return what to translate by; None where lines are to stay as they are.
    """
    if mapping == "generic":
        return None
    if mapping is not None:
        return choose(mapping, row.keys(), name)
    return next((shipped for shipped in SHIPPED.values() if shipped.columns() <= row.keys()), None)


def lines(stream: io.BufferedReader, bad: Callable[[int, str], None]) -> Iterator[tuple[int, bytes]]:
    """
    Yield lines without their end, numbered from 1; those beyond every bound are reported and skipped piece by piece.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            bad(number, f"the line is longer than {MAX_LINE_BYTES} bytes")
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            continue
        line = line.rstrip(b"\r\n")
        if line.strip():
            yield number, line


def json_object(line: bytes) -> dict[str, Any] | None:
    """
    Return the object that a line holds; None where it holds none.
    """
    try:
        value = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _as_it_stands(line: bytes) -> Labelled:
    """
    Return a line byte for byte, unless it holds the truth, which is taken out. What cannot be read is for the fleet to refuse.
    """
    row = json_object(line)
    if row is None:
        return Labelled(body=line, transaction_id="", occurred_at_ms=0)
    truth = generic(row.keys()).truth
    fraud, scenario, body = None, "", line
    if truth is not None:
        fraud, scenario = judge(truth, row)
        hidden = (*TRUTH_COLUMNS, SCENARIO_COLUMN)
        body = msgspec.json.encode({key: value for key, value in row.items() if key.lower() not in hidden})
    return Labelled(
        body=body, transaction_id=_id(row), occurred_at_ms=_time_or_zero(row.get("timestamp")), fraud=fraud, scenario=scenario
    )


def _id(row: dict[str, Any]) -> str:
    value = row.get("transaction_id")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _time_or_zero(value: object) -> int:
    try:
        return event_time_ms(value)
    except UnmappedRow:
        return 0
