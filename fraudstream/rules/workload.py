"""
The rules, lists and transactions that the speed of the evaluator is measured on; always the same for the same numbers.
"""

from random import Random

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from fraudstream.rules.ruleset import RuleSet

#: Columns of the matrix, about as many as ship; values are even between 0 and 1000, 3% missing.
FEATURES = tuple(f"feature_{number}" for number in range(30))

COUNTRIES = ("US", "DE", "FR", "GB", "ES", "IT", "NG", "BR", "CN", "JP")
CATEGORIES = ("grocery", "travel", "gaming", "digital", "household", "restaurant")
FIRST_MS = 1_767_225_600_000


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one measurement needs; ``matrix`` has shape (transactions, columns), float32.
    """

    rules: RuleSet
    transactions: list[Transaction]
    matrix: NDArray[np.float32]


def build_workload(*, rules: int, list_entries: int, transactions: int, seed: int = 7) -> Workload:
    """
    Return random rules of two to four terms each, three lists, and transactions with every field.

    Terms are thresholds on features (45%) and amounts (15%), words (20%), lists (10%), hours, absences and denials (10%). Each
    rule begins with a feature above 985 of 1000, so that about one payment in five is hit by one of fifty rules: more than
    in life, and every hit is explained.
    """
    random = Random(seed)  # noqa: S311 - nothing here is secret
    lists = {
        "cards": ListContents(f"card_{number}" for number in range(list_entries)),
        "ips": ListContents(address(number) for number in range(list_entries)),
        "emails": ListContents(f"user_{number}@example.com" for number in range(list_entries)),
    }
    source = "\n".join(_rule(random, number) for number in range(rules))
    numbers = np.random.default_rng(seed)
    matrix = numbers.uniform(0.0, 1000.0, (transactions, len(FEATURES))).astype(np.float32)
    matrix[numbers.random(matrix.shape) < 0.03] = np.nan
    return Workload(
        rules=load_rules(source, features=FEATURES, lists=lists),
        transactions=[_transaction(random, number, 4 * list_entries) for number in range(transactions)],
        matrix=matrix,
    )


def _rule(random: Random, number: int) -> str:
    terms = [f":{random.choice(FEATURES)}: > 985", *(_term(random) for _ in range(random.randint(1, 3)))]
    action = random.choice(("block", "challenge", "review", "score +5"))
    return f"rule rule_{number} {action} if {' and '.join(terms)}"


def _term(random: Random) -> str:
    feature = f":{random.choice(FEATURES)}: {random.choice(('>', '>=', '<'))} {random.choice((5, 10, 20, 900, 950, 990))}"
    amount = f":amount: {random.choice(('>', '<'))} {random.choice((5, 100, 500, 1000))}{random.choice(('', ' USD'))}"
    word = random.choice(
        (
            f":country: {random.choice(('=', '!='))} '{random.choice(COUNTRIES)}'",
            f":merchant_category: = '{random.choice(CATEGORIES)}'",
            ":channel: in ('web', 'app')",
        )
    )
    listed = random.choice((":card_id: in @cards", ":ip: in @ips", ":email: in @emails"))
    other = random.choice(
        (
            f"hour(:timestamp:) between {random.randint(0, 5)} and {random.randint(6, 12)}",
            "is_missing(:device_id:)",
            f"not (:{random.choice(FEATURES)}: > 500)",
        )
    )
    return random.choices((feature, amount, word, listed, other), (45, 15, 20, 10, 10))[0]


def address(number: int) -> str:
    """
    Return the internet address of a person.
    """
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _transaction(random: Random, number: int, people: int) -> Transaction:
    who = random.randrange(max(1, people))
    return Transaction(
        transaction_id=f"txn_{number}",
        amount_minor=random.randrange(1, 200_000),
        currency="USD" if random.random() < 0.9 else "EUR",
        occurred_at_ms=FIRST_MS + number * 1000,
        user_id=f"user_{who}",
        card_id=f"card_{who}",
        merchant=f"merchant_{who % 500}",
        merchant_category=random.choice(CATEGORIES),
        device_id=None if random.random() < 0.1 else f"device_{who}",
        ip=address(who),
        email=f"user_{who}@example.com",
        country=random.choice(COUNTRIES),
        latitude=random.uniform(-90.0, 90.0),
        longitude=random.uniform(-180.0, 180.0),
        channel=random.choice(("web", "app", "pos")),
        type="payment",
    )
