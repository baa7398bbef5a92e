"""
What follows from a condition being true: enough logic to see that one rule covers another. Sound, not complete.
"""

from functools import lru_cache
from math import inf

import msgspec

from fraudstream.rules.plan import (
    Always,
    And,
    Compare,
    Constant,
    Missing,
    MoneyConstant,
    Not,
    Number,
    NumberIn,
    Or,
    Text,
    TextConstant,
    TextEquals,
    TextIn,
    Truth,
)


class _Range(msgspec.Struct, frozen=True):
    """
    A number between two ends; an open end does not belong to it.
    """

    low: float = -inf
    high: float = inf
    low_open: bool = False
    high_open: bool = False

    def meet(self, other: "_Range") -> "_Range":
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, high_shut = min((self.high, not self.high_open), (other.high, not other.high_open))
        return _Range(low, high, low_open, not high_shut)

    def empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def inside(self, other: "_Range") -> bool:
        return self.meet(other) == self


#: What a range or a set of words is about: a value, and the currency of the threshold where it has one.
_Key = tuple[Number | Text, str]
_Words = frozenset[object]
_RANGES = {
    "=": lambda at: _Range(at, at),
    "<": lambda at: _Range(high=at, high_open=True),
    "<=": lambda at: _Range(high=at),
    ">": lambda at: _Range(low=at, low_open=True),
    ">=": lambda at: _Range(low=at),
}
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


class _Facts(msgspec.Struct, frozen=True):
    """
    What must hold when a conjunction is true.
    """

    ranges: dict[_Key, _Range]
    words: dict[_Key, _Words]
    others: frozenset[Truth]
    false: bool

    def impossible(self) -> bool:
        return (
            self.false
            or any(span.empty() for span in self.ranges.values())
            or not all(self.words.values())
            or any(_negated(other) in self.others for other in self.others)
        )

    def within(self, other: "_Facts") -> bool:
        """
        Say whether these facts leave no way in which the others could not hold.
        """
        return (
            not other.false
            and other.others <= self.others
            and all(key in self.ranges and self.ranges[key].inside(span) for key, span in other.ranges.items())
            and all(key in self.words and self.words[key] <= words for key, words in other.words.items())
        )


def never(condition: Truth) -> bool:
    """
    Say whether a condition can be seen to be true of no transaction.
    """
    return all(_facts(way).impossible() for way in _ways(condition))


def always(condition: Truth) -> bool:
    """
    Say whether a condition can be seen to be true of every transaction.
    """
    match condition:
        case Always():
            return condition.value
        case And():
            return all(map(always, condition.operands))
        case Or():
            return any(map(always, condition.operands)) or any(_excluded(term, condition) for term in condition.operands)
        case Not():
            return isinstance(condition.operand, Always) and not condition.operand.value
        case _:
            return False


def _excluded(term: Truth, condition: Or) -> bool:
    # Only is_missing is never unknown, so only there one of the two must hold.
    return isinstance(term, Missing) and Not(term) in condition.operands


def implies(condition: Truth, other: Truth) -> bool:
    """
    Say whether the other can be seen to be true wherever the condition is.
    """
    ways = _ways(other)
    return all(_facts(one).impossible() or any(_facts(one).within(_facts(way)) for way in ways) for one in _ways(condition))


def _ways(condition: Truth) -> tuple[Truth, ...]:
    return condition.operands if isinstance(condition, Or) else (condition,)


@lru_cache(maxsize=8192)
def _facts(condition: Truth) -> _Facts:
    ranges: dict[_Key, _Range] = {}
    words: dict[_Key, _Words] = {}
    others: set[Truth] = set()
    false = False
    for term in condition.operands if isinstance(condition, And) else (condition,):
        span, set_of_words = _range_of(term), _words_of(term)
        if span is not None:
            ranges[span[0]] = ranges.get(span[0], _Range()).meet(span[1])
        elif set_of_words is not None:
            key, allowed = set_of_words
            words[key] = words.get(key, allowed) & allowed
        elif isinstance(term, Always):
            false = false or not term.value
        elif not always(term):
            others.add(term)
    return _Facts(ranges, words, frozenset(others), false)


def _range_of(term: Truth) -> tuple[_Key, _Range] | None:
    opposite = isinstance(term, Not)
    if isinstance(term, Not):
        term = term.operand
    if not isinstance(term, Compare):
        return None
    op = _OPPOSITE[term.op] if opposite else term.op
    value, threshold = term.left, term.right
    if isinstance(value, Constant | MoneyConstant):
        value, threshold, op = threshold, value, _FLIPPED[op]
    if op not in _RANGES:
        return None
    if isinstance(threshold, MoneyConstant):
        return (value, threshold.currency), _RANGES[op](threshold.minor)
    return ((value, ""), _RANGES[op](threshold.value)) if isinstance(threshold, Constant) else None


def _words_of(term: Truth) -> tuple[_Key, _Words] | None:
    match term:
        case TextEquals(right=TextConstant() as word):
            return (term.left, ""), frozenset((word.value,))
        case TextEquals(left=TextConstant() as word):
            return (term.right, ""), frozenset((word.value,))
        case TextIn() | NumberIn():
            return (term.value, ""), frozenset(term.members)
        case _:
            return None


def _negated(term: Truth) -> Truth:
    return term.operand if isinstance(term, Not) else Not(term)
