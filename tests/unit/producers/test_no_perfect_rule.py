"""
A synthetic world on which some simple rule is right would prove nothing about rules or models: here simple rules are tried.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.producers.synthetic import demo_plan, generate, training_plan

_HOUR_MS = 3_600_000
_FAR_AHEAD_MS = 4_000_000_000_000
#: No rule on one field may reach this F1; none on one counter the second.
_FIELD_LIMIT = 0.3
_COUNTER_LIMIT = 0.5


@pytest.fixture(scope="module", params=["training", "demo"])
def world(request: pytest.FixtureRequest) -> tuple[list[Transaction], NDArray[np.bool_]]:
    plans = {
        "training": training_plan(3, transactions=20_000, days=14),
        "demo": demo_plan(17, end_ms=1_768_478_400_000, transactions=20_000),
    }
    labelled = list(generate(plans[request.param]))
    rows = [parse_transaction(row.body, now_ms=_FAR_AHEAD_MS, default_currency="USD") for row in labelled]
    return rows, np.array([row.fraud for row in labelled])


def _best_f1(values: Iterable[float], fraud: NDArray[np.bool_]) -> float:
    """
    Return the best F1 that any threshold reaches, from either side.
    """
    column = np.array([*values], dtype=np.float64)
    best = 0.0
    for signed in (column, -column):
        order = np.argsort(-signed, kind="stable")
        hits, last = np.cumsum(fraud[order]), np.append(np.diff(signed[order]) != 0, True)
        flagged = np.arange(1, len(fraud) + 1)
        best = max(best, float((2 * hits / (flagged + fraud.sum()))[last].max()))
    return best


def _by_rate(words: Sequence[object], fraud: NDArray[np.bool_]) -> list[float]:
    """
    Replace every word by its own share of fraud: the best order that a rule on this word could know.
    """
    seen: dict[object, list[int]] = defaultdict(lambda: [0, 0])
    for word, guilty in zip(words, fraud, strict=True):
        seen[word][0] += int(guilty)
        seen[word][1] += 1
    return [seen[word][0] / seen[word][1] for word in words]


def test_the_measure_itself_finds_a_perfect_rule() -> None:
    fraud = np.array([False, True, False, True])

    assert _best_f1([1, 9, 2, 8], fraud) == 1.0
    assert _best_f1([9, 1, 8, 2], fraud) == 1.0


def test_no_threshold_on_the_amount_separates_fraud(world: tuple[list[Transaction], NDArray[np.bool_]]) -> None:
    rows, fraud = world

    assert _best_f1((row.amount_minor for row in rows), fraud) < _FIELD_LIMIT


@pytest.mark.parametrize(
    "word",
    [
        pytest.param(lambda row: row.occurred_at_ms // _HOUR_MS % 24, id="hour"),
        pytest.param(lambda row: row.country, id="country"),
        pytest.param(lambda row: row.merchant_category, id="category"),
        pytest.param(lambda row: (row.channel, row.type), id="channel"),
        pytest.param(lambda row: row.user_id is None, id="guest"),
        pytest.param(lambda row: (row.merchant_category, row.amount_minor % 100 == 99), id="price-ending"),
        pytest.param(lambda row: (row.type, row.amount_minor % 100 == 0), id="round-amount"),
        pytest.param(lambda row: str(row.ip)[:7], id="network"),
        pytest.param(lambda row: (row.country, row.merchant_category), id="country-and-category"),
        pytest.param(lambda row: (row.merchant_category, row.channel, row.amount_minor > 20_000), id="category-channel-amount"),
    ],
)
def test_no_set_of_words_separates_fraud(
    world: tuple[list[Transaction], NDArray[np.bool_]], word: Callable[[Transaction], object]
) -> None:
    rows, fraud = world

    assert _best_f1(_by_rate([word(row) for row in rows], fraud), fraud) < _FIELD_LIMIT


@pytest.mark.parametrize("window_ms", [_HOUR_MS // 6, _HOUR_MS, 24 * _HOUR_MS])
@pytest.mark.parametrize("entity", ["card_id", "user_id", "device_id", "ip", "merchant", "counterparty_id"])
def test_no_velocity_separates_fraud(world: tuple[list[Transaction], NDArray[np.bool_]], entity: str, window_ms: int) -> None:
    rows, fraud = world

    assert _best_f1(_counts(rows, entity, window_ms), fraud) < _COUNTER_LIMIT


def _counts(rows: Sequence[Transaction], entity: str, window_ms: int) -> list[float]:
    recent: dict[str, deque[int]] = defaultdict(deque)
    counts = []
    for row in rows:
        times = recent[getattr(row, entity) or ""]
        while times and times[0] <= row.occurred_at_ms - window_ms:
            times.popleft()
        counts.append(float(len(times)) if getattr(row, entity) else 0.0)
        times.append(row.occurred_at_ms)
    return counts


def test_a_strange_device_is_no_proof(world: tuple[list[Transaction], NDArray[np.bool_]]) -> None:
    rows, fraud = world
    known: set[tuple[str | None, str | None]] = set()
    strange = []

    for row in rows:
        pair = (row.card_id, row.device_id)
        strange.append(float(row.device_id is not None and pair not in known))
        known.add(pair)

    warm = len(rows) // 2  # by then most people's devices have been seen
    assert _best_f1(strange[warm:], fraud[warm:]) < _COUNTER_LIMIT


def test_many_cards_on_a_device_are_no_proof(world: tuple[list[Transaction], NDArray[np.bool_]]) -> None:
    rows, fraud = world
    cards: dict[str, set[str]] = defaultdict(set)
    counts = []

    for row in rows:
        if row.device_id is not None and row.card_id is not None:
            cards[row.device_id].add(row.card_id)
        counts.append(float(len(cards[row.device_id])) if row.device_id is not None else 0.0)

    assert _best_f1(counts, fraud) < _COUNTER_LIMIT


def test_there_is_something_to_learn(world: tuple[list[Transaction], NDArray[np.bool_]]) -> None:
    rows, fraud = world
    amounts = np.array([row.amount_minor for row in rows])
    visits = _counts(rows, "device_id", 24 * _HOUR_MS)

    assert np.quantile(amounts[fraud], 0.9) > 1.5 * np.quantile(amounts[~fraud], 0.9)
    assert np.mean(np.array(visits)[fraud]) > np.mean(np.array(visits)[~fraud])
