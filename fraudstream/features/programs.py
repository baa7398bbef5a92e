"""
Expressions as programs for the compiled kernel: steps in the order of a stack, over doubles in which NaN is unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fraudstream.domain.transaction import NUMBER_FIELDS
from fraudstream.features.syntax import Binary, Call, Expression, FeatureRef, Field, Number, Text, Unary

#: What a step does, numbered in the order of ``enum operation`` in kernel.c.
OPERATIONS = (
    "constant", "of_past", "of_row", "of_feature", "not", "negate", "and", "or", "=", "!=", "<", "<=", ">", ">=",
    "+", "-", "*", "/", "abs", "coalesce", "min", "max", "hour", "minute", "weekday", "is_missing",
)  # fmt: skip
#: What a past event is asked for beside its words, in the order of ``enum past``.
PAST = ("amount", "outcome", "label")
#: How much a program's stack may hold: ``DEEPEST`` in kernel.c.
DEEPEST = 64
_OPERATION = {name: number for number, name in enumerate(OPERATIONS)}
_CLOCK = ("hour", "minute", "weekday")


class NotCompilable(Exception):
    """
    Something that only the arrays can work out: their logarithm, say, differs from the C library's in its last bit.
    """


@dataclass
class Fields:
    """
    The fields of the batch's own transactions that programs read, in the order of their numbers.
    """

    names: list[str] = field(default_factory=list)

    def number(self, name: str) -> int:
        """
        Return the number of a field, a new one the first time.
        """
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)


@dataclass(frozen=True)
class Program:
    """
    ``steps``: pairs of operation and operand. ``constants``: what the operands of constants count.
    """

    steps: tuple[tuple[int, int], ...]
    constants: tuple[float, ...]


def program(node: Expression | None, *, features: Sequence[str], fields: Fields, past: Sequence[str] | None = None) -> Program:
    """
    Return the program of an expression, an empty one of none.

    Args:
        node: What the checker has let through.
        features: Names of all columns, in order.
        fields: Grows by what the program reads of the transaction itself.
        past: For a condition on past events, the words that their records keep.

    Raises:
        NotCompilable: The expression has something in it that the compiled kernel does not know.
    """
    writing = _Writing(features, fields, past)
    deepest = 0 if node is None else writing.write(node)
    if deepest > DEEPEST:
        raise NotCompilable(f"{deepest} values at once")
    return Program(tuple(writing.steps), tuple(writing.constants))


class _Writing:
    """
    A program on its way; ``write`` returns how deep the stack gets.
    """

    def __init__(self, features: Sequence[str], fields: Fields, past: Sequence[str] | None) -> None:
        self.steps: list[tuple[int, int]] = []
        self.constants: list[float] = []
        self._features = features
        self._fields = fields
        self._past = past

    def write(self, node: Expression) -> int:  # noqa: PLR0911 - one line per kind of node
        match node:
            case Number(value):
                return self._constant(value)
            case Text(_, code):
                return self._constant(float(code))
            case Field(name, current):
                return self._field(name, current=current)
            case FeatureRef(name):
                return self._step("of_feature", self._features.index(name), 1)
            case Call(name, arguments):
                return self._call(name, arguments)
            case Unary(operator, operand):
                return self._step("not" if operator == "not" else "negate", 0, self.write(operand))
            case Binary(operator, left, right):
                return self._step(operator, 0, max(self.write(left), 1 + self.write(right)))

    def _constant(self, value: float) -> int:
        self.constants.append(value)
        return self._step("constant", len(self.constants) - 1, 1)

    def _field(self, name: str, *, current: bool) -> int:
        if name == "timestamp":
            raise NotCompilable("a time that is not read by the clock: 0 is a time, and unknown elsewhere")
        if self._past is None or current:
            return self._step("of_row", self._fields.number(name), 1)
        return self._step("of_past", PAST.index(name) if name in PAST else len(PAST) + self._past.index(name), 1)

    def _call(self, name: str, arguments: Sequence[Expression]) -> int:
        if name in _CLOCK:
            return self._clock(name, arguments[0])
        if name not in _OPERATION:
            raise NotCompilable(name)
        deepest = self.write(arguments[0])
        if len(arguments) == 1 and name not in ("min", "max"):
            return self._step(name, 0, deepest)
        for argument in arguments[1:]:
            deepest = self._step(name, 0, max(deepest, 1 + self.write(argument)))
        return deepest

    def _clock(self, name: str, argument: Expression) -> int:
        if not isinstance(argument, Field) or (self._past is not None and not argument.current):
            raise NotCompilable(f"{name} of a past event")
        return self._step(name, 0, self._step("of_row", self._fields.number(argument.name), 1))

    def _step(self, operation: str, operand: int, deepest: int) -> int:
        self.steps.append((_OPERATION[operation], operand))
        return deepest


def is_number(name: str) -> bool:
    """
    Say whether a field of a transaction is a number or a time; the others are words, of which 0 is unknown.
    """
    return name in NUMBER_FIELDS or name == "timestamp"
