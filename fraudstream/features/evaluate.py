"""
Expressions over whole columns, with Kleene's three truth values: what is missing makes a comparison unknown.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.columns import Column, Columns
from fraudstream.features.syntax import Binary, Call, Expression, FeatureRef, Field, Number, Text, Unary

_SECONDS_OF_DAY = 86_400
#: 1970-01-01 was a Thursday, and Monday is 0.
_FIRST_WEEKDAY = 3


@dataclass(frozen=True, slots=True)
class Truth:
    """
    Where something is surely true and where it is surely false; elsewhere it is unknown.
    """

    true: NDArray[np.bool_]
    false: NDArray[np.bool_]


Value = Column | Truth | np.float64 | np.int64


def number(node: Expression, columns: Columns, size: int) -> NDArray[np.float64]:
    """
    Return the value of an expression: truth as 1 and 0, what is unknown, divided by zero or infinite as NaN.

    Returns:
        Shape (size,).
    """
    with np.errstate(all="ignore"):
        value = _value(node, columns)
        if isinstance(value, Truth):
            value = np.where(value.true, 1.0, np.where(value.false, 0.0, np.nan))
        full = np.broadcast_to(np.asarray(value, np.float64), (size,))
        return np.where(np.isfinite(full), full, np.nan)


def holds(node: Expression, columns: Columns, size: int) -> NDArray[np.bool_]:
    """
    Say where a condition is surely true.

    Returns:
        Shape (size,).
    """
    with np.errstate(all="ignore"):
        return np.broadcast_to(_truth(_value(node, columns)).true, (size,))


def _truth(value: Value) -> Truth:
    if isinstance(value, Truth):
        return value
    return Truth(np.asarray((value != 0) & (value == value)), np.asarray(value == 0))  # noqa: PLR0124 - NaN differs from itself


def _value(node: Expression, columns: Columns) -> Value:  # noqa: C901, PLR0911 - one line per kind of node
    match node:
        case Number(value):
            return np.float64(value)
        case Text(_, code):
            return np.int64(code)
        case Field(name, current):
            return columns.field(name, current=current)
        case FeatureRef(name):
            return columns.feature(name)
        case Call():
            return _call(node, columns)
        case Unary("not", operand):
            inner = _truth(_value(operand, columns))
            return Truth(inner.false, inner.true)
        case Unary(_, operand):
            return -_numbers(operand, columns)
        case Binary("and", left, right):
            one, two = _truth(_value(left, columns)), _truth(_value(right, columns))
            return Truth(one.true & two.true, one.false | two.false)
        case Binary("or", left, right):
            one, two = _truth(_value(left, columns)), _truth(_value(right, columns))
            return Truth(one.true | two.true, one.false & two.false)
        case Binary(("=" | "!=") as operator, left, right):
            return _equality(operator, _value(left, columns), _value(right, columns))
        case Binary(operator, left, right):
            return _arithmetic(operator, _numbers(left, columns), _numbers(right, columns))


def _numbers(node: Expression, columns: Columns) -> NDArray[np.float64]:
    value = _value(node, columns)
    if isinstance(value, Truth):
        return np.where(value.true, 1.0, np.where(value.false, 0.0, np.nan))
    return np.asarray(value, np.float64)


def _arithmetic(operator: str, left: NDArray[np.float64], right: NDArray[np.float64]) -> Value:  # noqa: PLR0911 - one per operator
    match operator:
        case "+":
            return _finite(left + right)
        case "-":
            return _finite(left - right)
        case "*":
            return _finite(left * right)
        case "/":
            return _finite(left / right)
        case "<":
            return Truth(np.asarray(left < right), np.asarray(left >= right))
        case "<=":
            return Truth(np.asarray(left <= right), np.asarray(left > right))
        case ">":
            return Truth(np.asarray(left > right), np.asarray(left <= right))
        case _:
            return Truth(np.asarray(left >= right), np.asarray(left < right))


def _finite(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(value), value, np.nan)


def _equality(operator: str, left: Value, right: Value) -> Truth:
    """
    Compare numbers, or codes of words; a missing side (NaN, or code 0) leaves the answer unknown.
    """
    if isinstance(left, Truth) or isinstance(right, Truth):
        raise TypeError("the checker lets no truth value be compared")
    known = _known(left) & _known(right)
    same, other = (left == right) & known, (left != right) & known
    return Truth(np.asarray(same), np.asarray(other)) if operator == "=" else Truth(np.asarray(other), np.asarray(same))


def _known(value: Column | np.float64 | np.int64) -> NDArray[np.bool_]:
    return np.asarray(value != 0 if value.dtype.kind == "i" else ~np.isnan(value))


def _call(node: Call, columns: Columns) -> Value:  # noqa: PLR0911 - one per function
    if node.name == "is_missing":
        return _is_missing(_value(node.arguments[0], columns))
    if node.name in ("hour", "minute", "weekday"):
        return _clock(node.name, _value(node.arguments[0], columns))
    numbers = [_numbers(argument, columns) for argument in node.arguments]
    match node.name:
        case "abs":
            return np.abs(numbers[0])
        case "log10":
            return _finite(np.log10(numbers[0]))
        case "coalesce":
            return np.where(np.isnan(numbers[0]), numbers[1], numbers[0])
        case "min":
            return np.asarray(np.minimum.reduce(np.broadcast_arrays(*numbers)))
        case _:
            return np.asarray(np.maximum.reduce(np.broadcast_arrays(*numbers)))


def _is_missing(value: Value) -> Truth:
    known = value.true | value.false if isinstance(value, Truth) else _known(value)
    return Truth(~known, known)


def _clock(name: str, value: Value) -> NDArray[np.float64]:
    """
    Read the clock and the calendar in UTC: hours 0-23, minutes 0-59, weekdays from Monday = 0.
    """
    seconds = np.asarray(value, np.int64)
    match name:
        case "hour":
            return (seconds % _SECONDS_OF_DAY // 3_600).astype(np.float64)
        case "minute":
            return (seconds % 3_600 // 60).astype(np.float64)
        case _:
            return ((seconds // _SECONDS_OF_DAY + _FIRST_WEEKDAY) % 7).astype(np.float64)
