from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.errors import InvalidRule
from fraudstream.rules.lists import ListContents, email_domain, read_address, read_list
from fraudstream.rules.load import load_lists


def test_a_file_is_read_line_by_line_without_comments():
    contents = read_list("\ufeff# heading\n  card_1  \n\ncard_2 # stolen in May\r\ncard#3\n")

    assert contents.entries == {"card_1", "card_2", "card#3"}


def test_the_version_is_that_of_the_entries_in_any_order():
    assert ListContents(["a", "b"]).version == ListContents(["b", "a", "b"]).version
    assert ListContents(["a", "b"]).version != ListContents(["ab"]).version
    assert ListContents(["a\n1:b"]).version != ListContents(["a", "b"]).version


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
    networks = ListContents(["10.0.0.7", "a"]).networks

    assert networks.contains("10.0.0.7") is True
    assert networks.contains("10.0.0.8") is False
    assert networks.contains("a") is None


@given(st.ip_addresses(), st.ip_addresses(v=4), st.integers(0, 32))
def test_networks_agree_with_the_standard_library(address, base, length):
    network = ip_network(f"{base}/{length}", strict=False)
    inside = ListContents([str(network)]).networks.contains(str(address))
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
