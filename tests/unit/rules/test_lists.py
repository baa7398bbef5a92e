from ipaddress import ip_network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.errors import InvalidRule
from fraudstream.rules.entries import ListEntry
from fraudstream.rules.lists import ListContents, email_domain, read_address, read_list
from fraudstream.rules.load import load_lists
from fraudstream.rules.packed import Packed, pack


def test_a_file_is_read_line_by_line_without_comments():
    contents = read_list("\ufeff# heading\n  card_1  \n\ncard_2 # stolen in May\r\ncard#3\n")

    assert contents.entries == {"card_1", "card_2", "card#3"}


def test_the_version_is_that_of_the_entries_in_any_order():
    assert ListContents(["a", "b"]).version == ListContents(["b", "a", "b"]).version
    assert ListContents(["a", "b"]).version != ListContents(["ab"]).version
    assert ListContents(["a\n1:b"]).version != ListContents(["a", "b"]).version
    assert ListContents(["@A.com", "10.1.2.3/8"]).version == ListContents(["10.0.0.0/8", "@a.com"]).version


def test_an_entry_that_is_a_network_holds_its_addresses():
    contents = ListContents(["10.0.0.0/8", "2001:db8::/32"])

    assert contents.contains("10.200.3.4")
    assert contents.contains("::ffff:10.1.1.1")
    assert contents.contains("2001:db8::1")
    assert not contents.contains("11.0.0.1")
    assert not contents.contains("10.0.0")


def test_an_entry_with_a_slash_that_is_no_network_holds_itself():
    contents = ListContents(["shop/berlin"])

    assert contents.contains("shop/berlin")
    assert not contents.contains("shop")


def test_an_entry_that_is_a_domain_holds_its_addresses_and_no_others():
    contents = ListContents(["@Example.com"])

    assert contents.contains("a@EXAMPLE.com")
    assert not contents.contains("a@sub.example.com")
    assert not contents.contains("a@badexample.com")
    assert not contents.contains("example.com")


def test_a_lone_address_counts_as_a_network_where_networks_are_asked_for():
    contents = ListContents(["10.0.0.7", "a"])

    assert contents.in_network("10.0.0.7") is True
    assert contents.in_network("10.0.0.8") is False
    assert contents.in_network("a") is None


@given(st.ip_addresses(), st.ip_addresses(v=4), st.integers(0, 32))
def test_networks_agree_with_the_standard_library(address, base, length):
    network = ip_network(f"{base}/{length}", strict=False)
    inside = ListContents([str(network)]).in_network(str(address))
    mapped = getattr(address, "ipv4_mapped", None) or address

    assert inside is (mapped in network)


@given(st.text())
def test_any_text_may_be_asked_for_its_address_and_domain(text):
    assert read_address(text) is None or ":" in text or "." in text
    assert email_domain(text) is None or "@" in text


def test_a_folder_of_lists_is_read_by_file_name(tmp_path):
    (tmp_path / "trusted_cards.list").write_text("card_1\n")
    (tmp_path / "notes.txt").write_text("not a list\n")

    lists = load_lists(tmp_path)

    assert {name: contents.entries for name, contents in lists.items()} == {"trusted_cards": {"card_1"}}


def test_a_folder_that_does_not_exist_holds_no_lists(tmp_path):
    assert load_lists(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("name", ["Trusted.list", "two words.list", "ünicode.list"])
def test_a_list_that_no_rule_could_name_is_refused(tmp_path, name):
    (tmp_path / name).write_text("a\n")

    with pytest.raises(InvalidRule, match="small letters, digits and underscores"):
        load_lists(tmp_path)


def test_a_list_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "cards.list").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InvalidRule, match="cannot be read as text"):
        load_lists(tmp_path)


VALUES = (
    "",
    "a",
    "b",
    "x@y.com",
    "x@z.com",
    "@y.com",
    "10.0.0.7",
    "10.9.9.9",
    "::ffff:10.0.0.7",
    "2001:db8::9",
    "10.0.0.0/8",
    "ß",
)
ENTRIES = st.builds(
    ListEntry,
    st.sampled_from((*VALUES, "@z.com", "10.0.0.0/24", "2001:db8::/32", "2001:db8::/120", "0.0.0.0/0")),
    until_ms=st.none() | st.integers(0, 9),
    since_ms=st.none() | st.integers(0, 9),
)


@given(st.lists(ENTRIES, max_size=12), st.lists(ENTRIES, max_size=6), st.sets(st.sampled_from(VALUES)), st.integers(0, 9))
def test_many_look_ups_at_once_are_the_same_as_one_by_one_however_the_list_came_to_be(entries, added, removed, at_ms):
    one_each = list({entry.value: entry for entry in entries}.values())
    added = list({entry.value: entry for entry in added}.values())
    rest = [entry for entry in one_each if entry.value not in removed and entry.value not in {one.value for one in added}]
    changed = ListContents(one_each).changed(added, removed, version="v")
    whole = ListContents([*rest, *added])
    times = np.full(len(VALUES), float(at_ms))

    assert changed.all_entries() == whole.all_entries()
    assert len(changed) == len(whole)
    for contents in (changed, whole):
        assert contents.holds(VALUES, times).tolist() == [whole.contains(value, at_ms) for value in VALUES]
        inside, addresses = contents.in_networks(VALUES, times)
        said = [whole.in_network(value, at_ms) for value in VALUES]
        assert inside.tolist() == [one is True for one in said]
        assert addresses.tolist() == [one is not None for one in said]


def test_an_entry_holds_nothing_from_the_time_on_at_which_it_ends():
    contents = ListContents([ListEntry("a", until_ms=1_000), ListEntry("b", since_ms=1_000)])

    times = np.array([999.0, 1_000.0, 999.0, 1_000.0])
    assert contents.holds(["a", "a", "b", "b"], times).tolist() == [
        True,
        False,
        False,
        True,
    ]
    assert contents.holds(["a", None]).tolist() == [True, False]


def test_the_entry_that_holds_a_value_is_told_the_nearest_network_first():
    contents = ListContents(["10.0.0.0/8", "10.1.0.0/16", "@y.com", "z"])

    assert contents.matches(["10.1.2.3", "10.2.0.1", "a@Y.com", "z", "q"]) == ["10.1.0.0/16", "10.0.0.0/8", "@y.com", "z", None]


def test_a_list_too_large_for_a_set_answers_the_same():
    many = [f"card_{number}" for number in range(70_000)]
    contents = ListContents([*many, "10.0.0.0/8"])

    assert not contents.plain
    assert contents.holds(["card_0", "card_69999", "card_70000", "10.2.3.4"]).tolist() == [True, True, False, True]
    assert contents.contains("card_7") is True
    assert contents.in_network("10.2.3.4") is True
    assert contents.in_network("card_7") is None


def test_what_is_known_of_an_entry_goes_with_the_list():
    entries = [ListEntry("b", reason="case 7", author="ana", added_ms=5), ListEntry("a", until_ms=9), ListEntry("c")]

    read = ListContents(parts=(Packed(pack(entries)),))

    assert read.all_entries() == [entries[1], entries[0], entries[2]]
    assert read.entry("b") == entries[0]
    assert read.entry("d") is None


@pytest.mark.parametrize("cut", [3, 40, 200])
def test_a_body_that_is_cut_off_is_refused(cut):
    body = pack(f"card_{number}" for number in range(20))

    with pytest.raises(InvalidRule, match="body of a list"):
        Packed(body[:cut])
