"""
The nouns of the language as they were written: expressions and statements with their places in the source.

Everything here can be written as JSON by msgspec: the interchange form for tools.
"""

from enum import StrEnum

import msgspec

from fraudstream.domain.evidence import Action


class Node(msgspec.Struct, frozen=True, kw_only=True, tag_field="node", gc=False):
    """
    Anything written; ``at`` and ``end`` are its first character and the one behind its last.
    """

    at: int
    end: int


class NumberLiteral(Node, frozen=True, tag="number"):
    """
    A decimal number as text, so that nothing is rounded; ``unit`` is empty, ``%``, a span of time, or a currency.
    """

    digits: str
    unit: str = ""


class TextLiteral(Node, frozen=True, tag="text"):
    """
    A string.
    """

    value: str


class BoolLiteral(Node, frozen=True, tag="bool"):
    """
    ``true`` or ``false``.
    """

    value: bool


class Attribute(Node, frozen=True, tag="attribute"):
    """
    A field of the transaction or a feature, written ``:name:``.
    """

    name: str


class Negation(Node, frozen=True, tag="negation"):
    """
    Unary minus.
    """

    operand: "Expression"


class Arithmetic(Node, frozen=True, tag="arithmetic"):
    """
    ``op`` is one of ``+ - * /``.
    """

    op: str
    left: "Expression"
    right: "Expression"


class Call(Node, frozen=True, tag="call"):
    """
    A function of the language with its arguments.
    """

    function: str
    arguments: tuple["Expression", ...]


class Comparison(Node, frozen=True, tag="comparison"):
    """
    ``op`` is one of ``= != < <= > >=``.
    """

    op: str
    left: "Expression"
    right: "Expression"


class Between(Node, frozen=True, tag="between"):
    """
    Both ends belong to the range.
    """

    value: "Expression"
    low: "Expression"
    high: "Expression"


class ListName(Node, frozen=True, tag="list"):
    """
    A named list, written ``@name``.
    """

    name: str


class LiteralSet(Node, frozen=True, tag="set"):
    """
    A set written out.
    """

    members: tuple["Literal", ...]


class Membership(Node, frozen=True, tag="membership"):
    """
    ``op`` is ``in`` or ``in_cidr``.
    """

    op: str
    value: "Expression"
    members: ListName | LiteralSet
    negated: bool = False


class TextTest(Node, frozen=True, tag="text_test"):
    """
    ``op`` is one of ``like startswith endswith contains``.
    """

    op: str
    value: "Expression"
    pattern: str


class Inversion(Node, frozen=True, tag="not"):
    """
    Logical not.
    """

    operand: "Expression"


class Logical(Node, frozen=True, tag="logical"):
    """
    A chain of one connective; ``op`` is ``and`` or ``or``.
    """

    op: str
    operands: tuple["Expression", ...]


Literal = NumberLiteral | TextLiteral | BoolLiteral
Expression = (
    NumberLiteral
    | TextLiteral
    | BoolLiteral
    | Attribute
    | Negation
    | Arithmetic
    | Call
    | Comparison
    | Between
    | Membership
    | TextTest
    | Inversion
    | Logical
)


class OnMissing(StrEnum):
    """
    What a rule does when its condition is unknown: nothing, fire as it stands, or ask for a review.
    """

    SKIP = "skip"
    FIRE = "fire"
    REVIEW = "review"


class GivenValue(Node, frozen=True, tag="given_value"):
    """
    One ``name: value`` of a test; a value of None stands for ``null``, missing.
    """

    name: str
    value: NumberLiteral | TextLiteral | BoolLiteral | None


class GivenList(Node, frozen=True, tag="given_list"):
    """
    What a list holds while one test runs.
    """

    name: str
    entries: tuple[str, ...]


class RuleTest(Node, frozen=True, tag="test"):
    """
    A transaction that the rule must hit, or must miss.
    """

    hit: bool
    values: tuple[GivenValue, ...]
    lists: tuple[GivenList, ...] = ()


class Rollout(Node, frozen=True, tag="rollout"):
    """
    The share of entities that a rule is active for, in hundredths of a percent (0 to 10,000), and the field that names them.
    """

    share: int
    field: str


class RuleStatement(Node, frozen=True, tag="rule"):
    """
    One rule as written. ``points`` belong to action ``score``; ``active_from_ms`` and ``active_until_ms`` are event time in
    milliseconds since 1970, the end excluded; ``guard_max_rate`` is a share in [0, 1].
    """

    rule_id: str
    action: Action
    condition: Expression
    points: float = 0.0
    shadow: bool = False
    reason: str = ""
    tags: tuple[str, ...] = ()
    priority: int = 100
    on_missing: OnMissing = OnMissing.SKIP
    guard_max_rate: float | None = None
    rollout: Rollout | None = None
    active_from_ms: int | None = None
    active_until_ms: int | None = None
    tests: tuple[RuleTest, ...] = ()
