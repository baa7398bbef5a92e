"""
A checked value with its kind, and how values of different kinds are brought to one.
"""

import msgspec

from fraudstream.rules.plan import Major, Number, Text, TextCall, TextConstant, TextField
from fraudstream.rules.vocabulary import Kind

_NUMERIC = frozenset((Kind.NUMBER, Kind.MINOR, Kind.MONEY))


class Value(msgspec.Struct, frozen=True):
    """
    What an expression stands for once it is checked.
    """

    kind: Kind
    plan: Number | Text

    @property
    def number(self) -> Number:
        """
        The plan of a value that is no text.
        """
        assert not isinstance(self.plan, TextConstant | TextField | TextCall), "asked a text for a number"
        return self.plan

    @property
    def text(self) -> Text:
        """
        The plan of a value that is a text.
        """
        assert isinstance(self.plan, TextConstant | TextField | TextCall), "asked a number for a text"
        return self.plan


def numeric(kind: Kind) -> bool:
    """
    Say whether one can calculate with values of this kind.
    """
    return kind in _NUMERIC


def common_kind(*values: Value) -> Kind | None:
    """
    Return the kind in which values can meet, None when there is none.

    Minor units meet money as money. A bare number meets minor units as minor units, and money in major units.
    """
    kinds = {value.kind for value in values}
    if len(kinds) == 1 and Kind.TEXT not in kinds:
        return values[0].kind
    if not kinds <= _NUMERIC:
        return None
    if kinds == {Kind.MINOR, Kind.MONEY}:
        return Kind.MONEY
    return Kind.MINOR if Kind.MONEY not in kinds else Kind.NUMBER


def in_kind(value: Value, kind: Kind) -> Number:
    """
    Return the plan of a value brought to the common kind.
    """
    if kind is Kind.NUMBER and value.kind in (Kind.MONEY, Kind.MINOR):
        return Major(value.number)
    return value.number
