"""
The proof that both evaluators say the same: random rules over random transactions, every condition on every row.
"""

from collections.abc import Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.steps import at_once
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.columns import Batch
from fraudstream.rules.entries import ListEntry
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from fraudstream.rules.random_rules import FEATURES, LISTS, TEXTS, random_rules
from fraudstream.rules.rates import read_rates
from fraudstream.rules.row import Row
from fraudstream.rules.ruleset import RuleSet
from fraudstream.rules.table import table_of
from fraudstream.rules.vector import build

#: Rules and rows of one round; together 20,480 checks.
RULES, ROWS = 40, 512
#: Rows of a round whose whole hits (order, explanation, rollout, dates) are compared as well.
HIT_ROWS = 64

_UNKNOWN, _FALSE, _TRUE = -1, 0, 1
_AMOUNTS = (0, 1, 10, 50, 100, 499, 500, 501, 1000, 12_345, 10**12)
_FEATURE_VALUES = (0.0, -0.0, 1.0, -1.0, 2.0, 3.0, 5.0, 0.1, 0.5, 2.5, 100.0, 1e6, 3e38, -3e38, np.nan, np.nan, np.inf, -np.inf)
_CURRENCIES = ("USD", "USD", "USD", "EUR", "JPY", "KWD")
_FIRST_MS, _SPAN_MS = 1_704_067_200_000, 400 * 86_400_000
#: One currency without a rate, one that gets its first when half of the payments are made.
_RATES = read_rates("base USD\n2023-12-01 EUR 1.09\n2024-03-01 EUR 1.0815\n2024-09-01 EUR 1.1071\n2024-07-19 JPY 0.00634\n")


def fuzz(checks: int, seed: int) -> tuple[int, int]:
    """
    Compare the evaluators on at least so many pairs of a condition and a row.

    Every check asks whether a condition is true, false or unknown. A seed always gives the same rules and rows.

    Returns:
        How many checks were made, and in how many the evaluators disagreed.
    """
    random = Random(seed)  # noqa: S311 - nothing here is secret
    made = disagreements = 0
    while made < checks:
        source, transactions, matrix = random_round(random)
        rules = load_rules(source, features=FEATURES, lists=random_lists(random), rates=random.choice((None, _RATES)))
        disagreements += len(compare(rules, transactions, matrix))
        made += len(rules.rules) * len(transactions)
    return made, disagreements


def random_round(random: Random) -> tuple[str, list[Transaction], NDArray[np.float32]]:
    """
    Return a rule file, transactions and their features, all random; fields are missing, and features NaN, about a quarter of
    the time.
    """
    transactions = [_transaction(random, number) for number in range(ROWS)]
    matrix = np.array([random.choices(_FEATURE_VALUES, k=len(FEATURES)) for _ in range(ROWS)], np.float32)
    if random.random() < 0.3:
        # One currency for all takes another way through the evaluator.
        transactions = [transaction for transaction in transactions if transaction.currency == "USD"]
        matrix = matrix[: len(transactions)]
    return random_rules(random, RULES), transactions, matrix


def compare(rules: RuleSet, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> list[str]:
    """
    Return one line for each condition and row, or each row's hits, on which the evaluators disagree.
    """
    by_row = _by_row(rules, transactions, matrix)
    found = [
        f"row {row}: {rules.rules[rule].text}: {name} says {answers[rule, row]}, row says {by_row[rule, row]}"
        for name, answers in _by_columns(rules, transactions, matrix).items()
        for rule, row in np.argwhere(answers != by_row).tolist()
    ]
    few, part = transactions[:HIT_ROWS], matrix[:HIT_ROWS]
    hits = zip(rules.evaluate(few, part), rules.evaluate_by_row(few, part), strict=True)
    found += [f"row {row}: hits {one} against {other}" for row, (one, other) in enumerate(hits) if one != other]
    return found


def random_lists(random: Random) -> dict[str, ListContents]:
    """
    Return the lists that random rules name: read whole, or one half of each changed after it was read.
    """
    if random.random() < 0.5:
        return {name: ListContents(entries) for name, entries in LISTS.items()}
    found = {}
    for name, entries in LISTS.items():
        written = [entry if isinstance(entry, ListEntry) else ListEntry(entry) for entry in entries]
        half = [entry for entry in written if random.random() < 0.5]
        before = ListContents([*half, ListEntry("b"), ListEntry("@x.com"), ListEntry("0.0.0.0/0")])
        rest = [entry for entry in written if entry not in half]
        kept = {entry.value for entry in written}
        gone = {"b", "@x.com", "0.0.0.0/0"} - kept
        found[name] = before.changed(rest, gone, version="changed")
    return found


def _by_columns(
    rules: RuleSet, transactions: Sequence[Transaction], matrix: NDArray[np.float32]
) -> dict[str, NDArray[np.int8]]:
    """
    Return the answers over a batch on its way, and over the same rows as a backtest reads them.
    """
    conditions, slots = at_once(build((rule.condition, True) for rule in rules.rules))
    ways = {"batch": Batch(transactions, matrix, slots), "table": table_of(transactions, matrix).slice(0, len(matrix), slots)}
    found = {}
    for name, batch in ways.items():
        batch.lists, batch.rates = rules.contents, rules.rates
        answers = np.full((len(conditions), len(transactions)), _FALSE, np.int8)
        with np.errstate(all="ignore"):
            for answer, condition in zip(answers, conditions, strict=True):
                assert condition.unknown is not None, "every condition was asked for its doubts"
                answer[np.broadcast_to(condition.truth(batch), batch.size)] = _TRUE
                answer[np.broadcast_to(condition.unknown(batch), batch.size)] = _UNKNOWN
        found[name] = answers
    return found


def _by_row(rules: RuleSet, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> NDArray[np.int8]:
    names = {None: _UNKNOWN, False: _FALSE, True: _TRUE}
    verdicts = [ready.verdict for ready in rules.ready]
    rows = [Row(transaction, features) for transaction, features in zip(transactions, matrix.tolist(), strict=True)]
    return np.array([[names[verdict(row)] for row in rows] for verdict in verdicts], np.int8)


def _transaction(random: Random, number: int) -> Transaction:
    def text() -> str | None:
        return random.choice(TEXTS) if random.random() < 0.75 else None

    def minor() -> int | None:
        return random.choice(_AMOUNTS) * random.choice((1, -1)) if random.random() < 0.75 else None

    def degrees(limit: float) -> float | None:
        return random.uniform(-limit, limit) if random.random() < 0.75 else None

    return Transaction(
        transaction_id=str(number),
        amount_minor=random.choice(_AMOUNTS),
        currency=random.choice(_CURRENCIES),
        occurred_at_ms=_FIRST_MS + random.randrange(_SPAN_MS),
        user_id=text(),
        card_id=text(),
        merchant=text(),
        device_id=text(),
        ip=text(),
        email=text(),
        country=text(),
        latitude=degrees(90.0),
        longitude=degrees(180.0),
        channel=text(),
        type=text(),
        balance_before_minor=minor(),
        balance_after_minor=minor(),
        counterparty_balance_before_minor=minor(),
    )
