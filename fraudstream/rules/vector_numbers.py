"""
Arithmetic over columns in which NaN is missing and nothing else is not finite.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from fraudstream.rules.columns import Batch, Floats
from fraudstream.rules.geometry import distance_km

_NAN = np.float64("nan")
_HOUR_MS = 3_600_000.0
_DAY_MS = 86_400_000.0


def _finite(values: Floats) -> Floats:
    """
    Take what overflowed, or was divided by zero, as missing.
    """
    good = np.isfinite(values)
    return values if good.all() else np.where(good, values, _NAN)


#: The four operations; the caller has switched off numpy's warnings.
CALCULATIONS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": lambda left, right: _finite(left + right),
    "-": lambda left, right: _finite(left - right),
    "*": lambda left, right: _finite(left * right),
    "/": lambda left, right: _finite(left / right),
}

_Arguments = Sequence[Floats]


def _least(_: Batch, values: _Arguments) -> Floats:
    least = values[0]
    for value in values[1:]:
        least = np.minimum(least, value)
    return least


def _greatest(_: Batch, values: _Arguments) -> Floats:
    greatest = values[0]
    for value in values[1:]:
        greatest = np.maximum(greatest, value)
    return greatest


def _coalesce(_: Batch, values: _Arguments) -> Floats:
    found = values[-1]
    for value in reversed(values[:-1]):
        found = np.where(np.isnan(value), found, value)
    return found


def _hour(_: Batch, values: _Arguments) -> Floats:
    return np.floor(values[0] / _HOUR_MS) % 24.0


def _weekday(_: Batch, values: _Arguments) -> Floats:
    # The first of January 1970 was a Thursday.
    return (np.floor(values[0] / _DAY_MS) + 3.0) % 7.0


def _age_days(batch: Batch, values: _Arguments) -> Floats:
    return _finite((batch.number("timestamp") - values[0] * 1000.0) / _DAY_MS)


def _bucket(_: Batch, values: _Arguments) -> Floats:
    value, width = values
    return _finite(np.floor(_finite(value / width)) * width)


def _log10(batch: Batch, values: _Arguments) -> Floats:
    # One value at a time: numpy's own logarithm may differ from the library's in the last bit, from machine to machine.
    rows = np.broadcast_to(values[0], batch.size).tolist()
    return np.array([math.log10(value) if value > 0.0 else math.nan for value in rows])


def _distance_km(batch: Batch, values: _Arguments) -> Floats:
    rows = zip(*(np.broadcast_to(value, batch.size).tolist() for value in values), strict=True)
    return np.array([math.nan if any(map(math.isnan, row)) else distance_km(*row) for row in rows])


#: The functions from numbers to a number.
CALLS: dict[str, Callable[[Batch, _Arguments], Floats]] = {
    "abs": lambda _, values: np.abs(values[0]),
    "min": _least,
    "max": _greatest,
    "coalesce": _coalesce,
    "hour": _hour,
    "weekday": _weekday,
    "age_days": _age_days,
    "distance_km": _distance_km,
    "log10": _log10,
    "bucket": _bucket,
}
