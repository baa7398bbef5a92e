import numpy as np
import pytest

from fraudstream.domain.errors import InvalidRule
from fraudstream.rules.load import load_rules
from fraudstream.rules.rates import RATES, read_rates
from tests.support.builders import a_transaction

TABLE = """
base USD   # the European Central Bank, say
2026-01-01 EUR 1.10
2026-01-02, EUR, 1.25
2026-01-01 JPY 0.0064
"""
DAY_MS = 86_400_000
FIRST_MS = 1_767_225_600_000


def test_a_rate_counts_from_its_day_until_the_next():
    rates = read_rates(TABLE)

    assert [rates.worth("EUR", FIRST_MS + at) for at in (-1, 0, DAY_MS - 1, DAY_MS, 90 * DAY_MS)] == [
        None,
        1.1,
        1.1,
        1.25,
        1.25,
    ]
    assert rates.worth("USD", 0) == 1.0
    assert rates.worth("GBP", FIRST_MS) is None


def test_amounts_are_converted_through_the_base_and_the_digits_of_each_currency():
    rates = read_rates(TABLE)

    assert rates.convert(500, "USD", "EUR", FIRST_MS) == pytest.approx(454.545454)
    assert rates.convert(500, "USD", "JPY", FIRST_MS) == pytest.approx(781.25)
    assert rates.convert(1_000, "JPY", "EUR", FIRST_MS) == pytest.approx(581.8181)
    assert rates.convert(500, "USD", "GBP", FIRST_MS) is None


def test_many_at_once_are_the_same_bit_for_bit():
    rates = read_rates(TABLE)
    times = np.array([FIRST_MS - 1, FIRST_MS, FIRST_MS + DAY_MS, FIRST_MS + 5], np.float64)

    for into in ("EUR", "USD", "JPY", "GBP"):
        one_by_one = [rates.convert(499, "USD", into, at_ms) for at_ms in times.tolist()]
        assert rates.convert_all(499, "USD", into, times).tolist() == pytest.approx(
            [np.nan if one is None else one for one in one_by_one], rel=0, abs=0, nan_ok=True
        )


def test_the_version_is_that_of_the_rates_and_not_of_the_layout():
    lines = TABLE.strip().splitlines()

    assert read_rates(TABLE).version == read_rates("\n".join([lines[0], *reversed(lines[1:])])).version
    assert read_rates(TABLE).version != read_rates(TABLE.replace("1.25", "1.26")).version
    assert read_rates(read_rates(TABLE).text).version == read_rates(TABLE).version


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names the base currency"),
        ("2026-01-01 EUR 1.1", "<rates>:1: the first line names the base currency"),
        ("base USD\n2026-01-01 EUR", "<rates>:2: a rate is written"),
        ("base USD\n2026-13-01 EUR 1", "'2026-13-01' is no day"),
        ("base USD\n2026-01-01 XXQ 1", "'XXQ' is no code"),
        ("base USD\n2026-01-01 USD 1", "USD is the base"),
        ("base USD\n2026-01-01 EUR 0\n2026-01-01 EUR nan", "<rates>:3: 'nan' is no rate"),
        ("base USD\n2026-01-01 EUR 1\n2026-01-01 EUR 2", "two rates of EUR"),
    ],
)
def test_a_wrong_line_is_named(text, says):
    with pytest.raises(InvalidRule, match=says):
        read_rates(text)


def test_an_amount_of_one_currency_is_compared_with_payments_of_another_and_the_decision_names_the_table():
    paid = [
        a_transaction(amount_minor=minor, currency=currency, occurred_at_ms=FIRST_MS)
        for minor, currency in ((500, "USD"), (454, "EUR"), (455, "EUR"), (782, "JPY"), (1, "GBP"))
    ]
    matrix = np.zeros((5, 0), np.float32)
    source = "rule small block if :amount: < 5.00 USD on_missing review"

    with_rates = load_rules(source, features=(), rates=read_rates(TABLE))
    without = with_rates.judging_by({}, None)

    assert [[hit.action.value for hit in row.hits] for row in with_rates.evaluate(paid, matrix)] == [
        [],
        ["block"],
        [],
        [],
        ["review"],
    ]
    assert [[hit.action.value for hit in row.hits] for row in without.evaluate(paid, matrix)] == [[], *[["review"]] * 4]
    assert with_rates.evaluate(paid, matrix) == with_rates.evaluate_by_row(paid, matrix)
    assert (with_rates.lists, without.lists) == ({RATES: read_rates(TABLE).version}, {})
    assert with_rates.id == without.id
