"""
The shape of a definition once it is read: expressions, aggregates, and their one canonical spelling.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Span:
    """
    Where something stands in the source: first character and the one after the last.
    """

    start: int
    end: int


_NOWHERE = Span(0, 0)


@dataclass(frozen=True, slots=True)
class Number:
    """
    A number as it stands.
    """

    value: float
    at: Span = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """
    A word as it stands; ``code`` is what it is compared by (0 until the checker knows what it is compared with).
    """

    value: str
    code: int = 0
    at: Span = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Field:
    """
    A field: of the current transaction, or in a condition on the past of the past one unless ``current``.
    """

    name: str
    current: bool = False
    at: Span = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class FeatureRef:
    """
    The value of another feature.
    """

    name: str
    at: Span = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """
    A function of the catalogue.
    """

    name: str
    arguments: "tuple[Expression, ...]"
    at: Span = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """
    ``-`` or ``not``.
    """

    operator: str
    operand: "Expression"
    at: Span = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """
    Arithmetic, a comparison, ``and`` or ``or``.
    """

    operator: str
    left: "Expression"
    right: "Expression"
    at: Span = field(default=_NOWHERE, compare=False)


Expression = Number | Text | Field | FeatureRef | Call | Unary | Binary


@dataclass(frozen=True, slots=True)
class Aggregate:
    """
    An aggregate over the past of an entity.

    ``by`` are fields. ``over_s`` is None for everything that the entity's state still holds. The window is
    (t - delayed - over, t - delayed]; ``newest`` keeps only so many of its newest events, None all. The checker fills in
    ``entity`` (kind), ``same`` (fields in which a past transaction must equal the current one) and ``resolution`` (index of the
    ring's resolution, None on logs).
    """

    function: str
    argument: str
    by: tuple[str, ...]
    over_s: int | None
    delayed_s: int = 0
    where: Expression | None = None
    including_current: bool = False
    entity: str = ""
    same: tuple[str, ...] = ()
    resolution: int | None = None
    newest: int | None = None
    at: Span = field(default=_NOWHERE, compare=False)
    by_at: Span = field(default=_NOWHERE, compare=False)
    over_at: Span = field(default=_NOWHERE, compare=False)

    @property
    def selection(self) -> tuple[str, str, tuple[str, ...], bool]:
        """
        What picks its events, apart from the window and its newest: aggregates that share it share the work.
        """
        where = "" if self.where is None else canonical(self.where)
        return self.entity, where, self.same, self.including_current


def canonical(node: Expression | Aggregate) -> str:  # noqa: PLR0911 - one per kind of node
    """
    Return the one spelling of a definition: equal text means equal values, whatever the layout of the file.
    """
    match node:
        case Number(value):
            return repr(value)
        case Text(value, code):
            return f"{value!r}#{code}"
        case Field(name, current):
            return f"current.{name}" if current else name
        case FeatureRef(name):
            return f":{name}:"
        case Call(name, arguments):
            return f"{name}({','.join(map(canonical, arguments))})"
        case Unary(operator, operand):
            return f"({operator} {canonical(operand)})"
        case Binary(operator, left, right):
            return f"({canonical(left)} {operator} {canonical(right)})"
        case Aggregate():
            window = f"over {node.over_s} delayed {node.delayed_s} resolution {node.resolution}"
            window += "" if node.newest is None else f" newest {node.newest}"
            return f"{node.function}({node.argument}) of {node.selection} {window}"


def references(body: Expression | Aggregate) -> Iterator[FeatureRef]:
    """
    Yield the features that a definition refers to; an aggregate does so in its condition.
    """
    node = body.where if isinstance(body, Aggregate) else body
    if node is not None:
        yield from (one for one in walk(node) if isinstance(one, FeatureRef))


def walk(node: Expression) -> Iterator[Expression]:
    """
    Yield a node and everything under it.
    """
    yield node
    match node:
        case Call(_, arguments):
            for argument in arguments:
                yield from walk(argument)
        case Unary(_, operand):
            yield from walk(operand)
        case Binary(_, left, right):
            yield from walk(left)
            yield from walk(right)
        case _:
            return
