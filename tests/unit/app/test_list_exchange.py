"""
Lists as files: what is read is what was written, and a wrong line is named before anything is done.
"""

import io

import pytest

from fraudstream.app.list_exchange import checked, read_entries, write_entries
from fraudstream.domain.errors import InvalidRule
from fraudstream.rules.entries import ListEntry

KNOWN = ListEntry("", until_ms=1_800_000_000_000, reason="bulk", author="ana", added_ms=1_700_000_000_000)
ENTRIES = [
    ListEntry("10.0.0.0/8", until_ms=1_767_225_600_000, reason='he said "no", twice', author="ben", added_ms=1_700_000_001_000),
    ListEntry("@mailinator.com", since_ms=1_767_225_600_000, reason="bulk", author="ana", added_ms=1_700_000_000_000),
]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_written_is_read_again(form):
    file = io.StringIO()

    count = write_entries(ENTRIES, form, file)
    file.seek(0)

    assert count == 2
    assert read_entries(file, form, "x", known=ListEntry("", reason="other")) == ENTRIES


def test_a_plain_list_holds_values_and_the_rest_is_as_told():
    entries = read_entries(io.StringIO("# head\ncard_1\n\n card_2 # why\n"), "list", "x", known=KNOWN)

    assert [entry.value for entry in entries] == ["card_1", "card_2"]
    assert {(entry.until_ms, entry.reason, entry.author, entry.added_ms) for entry in entries} == {
        (KNOWN.until_ms, "bulk", "ana", KNOWN.added_ms)
    }


def test_json_lines_may_be_bare_strings():
    entries = read_entries(io.StringIO('"a"\n{"value": "b", "until": "2026-01-01"}\n'), "jsonl", "x", known=ListEntry(""))

    assert entries == [ListEntry("a"), ListEntry("b", until_ms=1_767_225_600_000)]


def test_of_an_entry_that_comes_twice_the_last_one_counts():
    entries = read_entries(io.StringIO("value,reason\na,one\na,two\n"), "csv", "x", known=ListEntry(""))

    assert entries == [ListEntry("a", reason="two")]


@pytest.mark.parametrize(
    ("text", "form", "says"),
    [
        ("a,b\n1,2\n", "csv", "x:1: a CSV file begins with the names of its columns: value"),
        ('{"value": 3}\n', "jsonl", "x:1: value is missing, or no string"),
        ('"a"\n{bad\n', "jsonl", "x:2: no JSON"),
        ("[1]\n", "jsonl", "x:1: a line holds a string"),
        ("value,until\na,soon\n", "csv", "x:2: until is no date or time: 'soon'"),
        ("4111 1111 1111 1111\n", "list", "x:1: this is a clear card number"),
        ("a\x07b\n", "list", "x:1: an entry has at most"),
    ],
)
def test_a_wrong_line_is_named(text, form, says):
    with pytest.raises(InvalidRule) as refused:
        read_entries(io.StringIO(text), form, "x", known=ListEntry(""))

    assert says in str(refused.value)


def test_of_many_wrong_lines_the_first_are_shown_and_the_others_counted():
    with pytest.raises(InvalidRule, match="and 30 more"):
        read_entries(io.StringIO('{"value": 3}\n' * 50), "jsonl", "x", known=ListEntry(""))


@pytest.mark.parametrize(("value", "good"), [("a", True), ("", False), (" a", False), ("a" * 1024, True), ("a" * 1025, False)])
def test_values_have_bounds(value, good):
    assert (checked(value) is None) is good
