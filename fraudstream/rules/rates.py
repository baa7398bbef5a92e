"""
What a currency was worth on a day: the table by which money of one currency is compared with money of another.
"""

from bisect import bisect_right
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.currency import EXPONENTS
from fraudstream.domain.errors import InvalidRule

#: What the version of the table is kept under among the versions of the lists; no list can be called so.
RATES = "$rates"
_DAY_MS = 86_400_000


class Rates:
    """
    An immutable table: how many units of the base currency one unit of another was worth, from a day on (UTC).

    A rate counts from the first moment of its day until the next rate of that currency. Before the first there is none, and
    a comparison that needs it is unknown.

    Args:
        base: ISO 4217 code; it is worth 1 on every day.
        rows: Day (days since 1970), currency, and worth in the base currency, which is above 0.
    """

    def __init__(self, base: str, rows: dict[tuple[str, int], float]) -> None:
        self.base = base
        self._series: dict[str, tuple[list[int], list[float]]] = {}
        for currency, day in sorted(rows):
            days, worth = self._series.setdefault(currency, ([], []))
            days.append(day)
            worth.append(rows[currency, day])
        self._arrays = {code: (np.array(days, np.float64), np.array(worth)) for code, (days, worth) in self._series.items()}
        self.text = "".join(
            [f"base {base}\n", *(f"{_written(day)} {code} {worth!r}\n" for (code, day), worth in sorted(rows.items()))]
        )
        #: First 16 hex digits of the SHA-256 over the table in its canonical form.
        self.version = sha256(self.text.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return sum(len(days) for days, _ in self._series.values())

    @property
    def currencies(self) -> tuple[str, ...]:
        """
        Every currency that can be compared on some day.
        """
        return tuple(sorted({self.base, *self._series}))

    @property
    def last_day(self) -> str:
        """
        The newest day of the table, empty without any.
        """
        return max((_written(days[-1]) for days, _ in self._series.values()), default="")

    def worth(self, currency: str, at_ms: float) -> float | None:
        """
        Return the worth of one unit in the base currency when a payment was made; None without a rate.
        """
        if currency == self.base:
            return 1.0
        days, worth = self._series.get(currency, ([], []))
        place = bisect_right(days, at_ms // _DAY_MS) - 1
        return worth[place] if place >= 0 else None

    def convert(self, minor: float, currency: str, into: str, at_ms: float) -> float | None:
        """
        Return an amount in minor units of another currency, not rounded; None without a rate.
        """
        one, other = self.worth(currency, at_ms), self.worth(into, at_ms)
        return None if one is None or other is None else minor * (one / other) * _step(currency, into)

    def worths(self, currency: str, at_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """
        Return the same as ``worth`` for many times at once, NaN without a rate.
        """
        if currency == self.base:
            return np.ones(len(at_ms))
        if currency not in self._arrays:
            return np.full(len(at_ms), np.nan)
        days, worth = self._arrays[currency]
        places = np.searchsorted(days, np.floor(at_ms / _DAY_MS), side="right") - 1
        return np.where(places >= 0, worth[places], np.nan)

    def convert_all(self, minor: float, currency: str, into: str, at_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """
        Return the same as ``convert`` for many times at once, NaN without a rate.
        """
        return minor * (self.worths(currency, at_ms) / self.worths(into, at_ms)) * _step(currency, into)


class _Line(msgspec.Struct, frozen=True):
    currency: str
    day: int
    worth: float


def read_rates(text: str, name: str = "<rates>") -> Rates:
    """
    Read a table: ``base USD`` first, then lines such as ``2026-03-02 EUR 1.0821``; ``#`` begins a comment.

    Raises:
        InvalidRule: A line cannot be read, or a rate is given twice; the text names every such line.
    """
    rows: dict[tuple[str, int], float] = {}
    problems: list[str] = []
    base = ""
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        if not base:
            base = words[1] if len(words) == 2 and words[0] == "base" and words[1] in EXPONENTS else ""
            if not base:
                raise InvalidRule(f"{name}:{number}: the first line names the base currency, as in: base USD")
            continue
        found = _line(words, base)
        if isinstance(found, str):
            problems.append(f"{name}:{number}: {found}")
        elif (found.currency, found.day) in rows:
            problems.append(f"{name}:{number}: there are two rates of {found.currency} for {words[0]}")
        else:
            rows[found.currency, found.day] = found.worth
    if not base:
        raise InvalidRule(f"{name}: the first line names the base currency, as in: base USD")
    if problems:
        raise InvalidRule("\n".join(problems))
    return Rates(base, rows)


def _line(words: list[str], base: str) -> _Line | str:
    if len(words) != 3:
        return "a rate is written: 2026-03-02 EUR 1.0821"
    day, currency, worth = words
    try:
        at = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return f"{day!r} is no day, as in 2026-03-02"
    if currency not in EXPONENTS or currency == base:
        return f"{currency!r} is no code of ISO 4217" if currency != base else f"{base} is the base: it is worth 1"
    try:
        units = float(worth)
    except ValueError:
        units = 0.0
    if not 0.0 < units < 1e12:
        return f"{worth!r} is no rate: units of {base} for one {currency}, above 0"
    return _Line(currency, int(at.timestamp()) * 1000 // _DAY_MS, units)


def _step(currency: str, into: str) -> float:
    """
    Return minor units of one currency's scale in those of another.
    """
    return float(10.0 ** (EXPONENTS[into] - EXPONENTS[currency]))


def _written(day: int) -> str:
    return datetime.fromtimestamp(day * _DAY_MS / 1000, UTC).strftime("%Y-%m-%d")
