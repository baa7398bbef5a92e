"""
Entries of lists are counted where they took part in a hit, once per payment, and nowhere else.
"""

import numpy as np

from fraudstream.rules.entries import ListEntry
from fraudstream.rules.list_hits import MOST_ENTRIES, ListHits
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from tests.support.builders import NOW_MS, a_transaction

SOURCE = """
rule cards block if :card_id: in @cards and :amount: > 5
shadow rule also review if :card_id: in @cards
rule mail review if domain(:email:) = "x.com" and not :email: in @mail
rule nets review if :ip: in_cidr @nets
"""
LISTS = {
    "cards": ListContents([ListEntry("old", until_ms=NOW_MS), "card_1", "card_2"]),
    "mail": ListContents(["@x.com", "good@y.com"]),
    "nets": ListContents(["10.0.0.0/8", "10.1.0.0/16"]),
}


def counted(*transactions, lists=LISTS):
    rules = load_rules(SOURCE, features=(), lists=lists)
    hits = ListHits()
    for transaction in transactions:
        rows = rules.evaluate([transaction], np.zeros((1, 0), np.float32))
        hits.count(rules, [transaction], rows)
    return hits


def test_an_entry_counts_once_for_a_payment_that_several_rules_hit():
    hits = counted(a_transaction(card_id="card_1"), a_transaction(card_id="card_1"), a_transaction(card_id="card_9"))

    assert hits.collect() == {("cards", "card_1"): 2}
    assert hits.collect() == {}


def test_domains_and_networks_count_under_the_entry_and_what_a_list_does_not_hold_not_at_all():
    near = a_transaction(ip="10.1.2.3", email="a@x.com", card_id="none")
    hits = counted(near, a_transaction(ip="10.2.2.3", card_id="old", occurred_at_ms=NOW_MS))

    assert hits.collect() == {("nets", "10.1.0.0/16"): 1, ("nets", "10.0.0.0/8"): 1}


def test_what_could_not_be_stored_is_counted_later():
    hits = counted(a_transaction(card_id="card_1"))
    counts = hits.collect()

    hits.give_back(counts)
    hits.give_back(counts)

    assert hits.collect() == {("cards", "card_1"): 2}


def test_entries_beyond_the_bound_count_for_their_list_alone():
    many = {**LISTS, "cards": ListContents(f"card_{number}" for number in range(MOST_ENTRIES + 2))}
    rules = load_rules(SOURCE, features=(), lists=many)
    paid = [a_transaction(card_id=f"card_{number}") for number in range(MOST_ENTRIES + 2)]
    hits = ListHits()

    hits.count(rules, paid, rules.evaluate(paid, np.zeros((len(paid), 0), np.float32)))
    counts = hits.collect()

    assert len(counts) == MOST_ENTRIES + 1
    assert counts["cards", ""] == 2
