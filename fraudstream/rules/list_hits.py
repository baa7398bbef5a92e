"""
Which entries of lists took part in hits of rules: what is counted so that people see which entries are of use.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from fraudstream.domain.transaction import Transaction
from fraudstream.rules.plan import InNetworks, Plan, TextListed, parts
from fraudstream.rules.row import Row, TextOf, build_text
from fraudstream.rules.ruleset import RowHits, RuleSet

#: Entries that are counted apart between two collections; what is beyond them is counted for the list alone.
MOST_ENTRIES = 20_000

_Looks = list[tuple[str, bool, TextOf]]


class ListHits:
    """
    Counts entries that hold a value of a payment on which a rule that looks into the list fired, in force or in shadow.

    It costs something per hit of such a rule, and nothing for any other payment.
    """

    def __init__(self) -> None:
        self._rules: RuleSet | None = None
        self._looks: dict[str, _Looks] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, rules: RuleSet, transactions: Sequence[Transaction], rows: Sequence[RowHits]) -> None:
        """
        Note what the rules said of a batch.
        """
        if rules is not self._rules:
            self._rules = rules
            self._looks = {rule.rule_id: looks for rule in rules.rules if (looks := list(_looks_of(rule.condition)))}
        if not self._looks:
            return
        asked: dict[tuple[str, bool], tuple[list[str | None], list[float]]] = {}
        for transaction, row in zip(transactions, rows, strict=True):
            seen = {
                (name, in_networks, value)
                for hit in (*row.hits, *row.shadow_hits)
                for name, in_networks, text in self._looks.get(hit.rule_id, ())
                if (value := text(Row(transaction, []))) is not None
            }
            for name, in_networks, value in seen:
                values, times = asked.setdefault((name, in_networks), ([], []))
                values.append(value)
                times.append(float(transaction.occurred_at_ms))
        for (name, in_networks), (values, times) in asked.items():
            contents = rules.contents[name]
            ask = contents.network_matches if in_networks else contents.matches
            self._add(name, ask(values, np.array(times)))

    def _add(self, name: str, entries: Iterable[str | None]) -> None:
        for entry in entries:
            if entry is not None:
                key = (name, entry)
                self._counts[key if key in self._counts or len(self._counts) < MOST_ENTRIES else (name, "")] += 1

    def collect(self) -> dict[tuple[str, str], int]:
        """
        Return what was counted since the last time, by list and entry; the entry is empty where there were too many.
        """
        counts, self._counts = self._counts, Counter()
        return dict(counts)

    def give_back(self, counts: dict[tuple[str, str], int]) -> None:
        """
        Take back what could not be stored.
        """
        self._counts.update(counts)


def _looks_of(node: Plan) -> Iterable[tuple[str, bool, TextOf]]:
    if isinstance(node, TextListed | InNetworks) and node.name:
        yield node.name, isinstance(node, InNetworks), build_text(node.value)
    for part in parts(node):
        yield from _looks_of(part)
