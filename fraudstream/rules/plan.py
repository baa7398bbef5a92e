"""
The checked form of a condition: every type settled, every name resolved, no places. Equal conditions are equal values.

Numbers are float64 in which NaN is missing; money is float64 of minor units in the transaction's currency (exact below 2^53).
Both evaluators read this form and nothing else.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec


class _Plan(msgspec.Struct, frozen=True, tag=True, gc=False):
    pass


class Constant(_Plan, frozen=True):
    """
    A finite number.
    """

    value: float


class MoneyConstant(_Plan, frozen=True):
    """
    Minor units of one currency, converted to that of the transaction by the rate of its day; unknown without one.
    """

    minor: float
    currency: str


class NumberField(_Plan, frozen=True):
    """
    A numeric field of the transaction.
    """

    name: str


class Feature(_Plan, frozen=True):
    """
    A column of the feature matrix.
    """

    column: int


class Major(_Plan, frozen=True):
    """
    Minor units turned into major units of the transaction's currency.
    """

    operand: "Number"


class Calculation(_Plan, frozen=True):
    """
    ``op`` is one of ``+ - * /``; anything that is not finite is unknown.
    """

    op: str
    left: "Number"
    right: "Number"


class NumberCall(_Plan, frozen=True):
    """
    A function from numbers to a number: abs, min, max, coalesce, hour, weekday, age_days, distance_km, log10, bucket.
    """

    function: str
    arguments: tuple["Number", ...]


class TextLength(_Plan, frozen=True):
    """
    The characters of a text, counted.
    """

    operand: "Text"


class TextConstant(_Plan, frozen=True):
    """
    A string.
    """

    value: str


class TextField(_Plan, frozen=True):
    """
    A textual field of the transaction.
    """

    name: str


class TextCall(_Plan, frozen=True):
    """
    A function from text to text: lower, domain, coalesce.
    """

    function: str
    arguments: tuple["Text", ...]


class Always(_Plan, frozen=True):
    """
    A truth value written out.
    """

    value: bool


class Compare(_Plan, frozen=True):
    """
    Two numbers; ``op`` is one of ``= != < <= > >=``. Unknown when either is.
    """

    op: str
    left: "Number"
    right: "Number"


class NumberIn(_Plan, frozen=True):
    """
    A number among some numbers.
    """

    value: "Number"
    members: tuple[float, ...]


class TextEquals(_Plan, frozen=True):
    """
    Two texts, character for character.
    """

    left: "Text"
    right: "Text"


class TextIn(_Plan, frozen=True):
    """
    A text among some texts.
    """

    value: "Text"
    members: tuple[str, ...]


class TextListed(_Plan, frozen=True):
    """
    A text that a named list contains: as an entry, by its e-mail domain, or by its network.
    """

    value: "Text"
    name: str


class TextMatches(_Plan, frozen=True):
    """
    ``op`` is one of ``like startswith endswith contains``.
    """

    op: str
    value: "Text"
    pattern: str


class InNetworks(_Plan, frozen=True):
    """
    An address inside some networks, written out or in a named list; unknown when the text is no address.
    """

    value: "Text"
    networks: tuple[str, ...] = ()
    name: str = ""


class Missing(_Plan, frozen=True):
    """
    Whether a value is unknown; itself never unknown.
    """

    operand: "Number | Text"


class Not(_Plan, frozen=True):
    """
    Swaps true and false, leaves unknown.
    """

    operand: "Truth"


class And(_Plan, frozen=True):
    """
    True when all are, false when any is, else unknown.
    """

    operands: tuple["Truth", ...]


class Or(_Plan, frozen=True):
    """
    True when any is, false when all are, else unknown.
    """

    operands: tuple["Truth", ...]


Number = Constant | MoneyConstant | NumberField | Feature | Major | Calculation | NumberCall | TextLength
Text = TextConstant | TextField | TextCall
Truth = Always | Compare | NumberIn | TextEquals | TextIn | TextListed | TextMatches | InNetworks | Missing | Not | And | Or
Plan = Number | Text | Truth
PlanT = TypeVar("PlanT", bound=_Plan)

#: Roughly what a batch of 256 rows costs for the operator itself, in microseconds; orders the terms of a chain.
_COST: dict[type, int] = {
    TextEquals: 10,
    TextIn: 10,
    TextListed: 20,
    TextMatches: 20,
    InNetworks: 120,
    TextCall: 20,
    TextLength: 20,
    NumberIn: 10,
}
_CALL_COST = {"hour": 16, "weekday": 16, "log10": 60, "distance_km": 250}


def parts(node: Plan) -> tuple[Plan, ...]:
    """
    Return what a node is directly made of.
    """
    match node:
        case Major() | TextLength() | Missing() | Not():
            return (node.operand,)
        case Calculation() | Compare() | TextEquals():
            return (node.left, node.right)
        case NumberCall() | TextCall():
            return node.arguments
        case NumberIn() | TextIn() | TextListed() | TextMatches() | InNetworks():
            return (node.value,)
        case And() | Or():
            return node.operands
        case _:
            return ()


def cost(node: Plan) -> int:
    """
    Return roughly the microseconds that a node takes for 256 rows; only the order of magnitude means something.
    """
    own = _CALL_COST.get(node.function, 4) if isinstance(node, NumberCall) else _COST.get(type(node), 1)
    return own + sum(map(cost, parts(node)))


def size(node: Plan) -> int:
    """
    Count the nodes, members of sets included.
    """
    members = len(node.members) if isinstance(node, NumberIn | TextIn) else 0
    return 1 + members + sum(map(size, parts(node)))


def has_money(node: Plan) -> bool:
    """
    Say whether a condition names an amount of a currency.
    """
    return isinstance(node, MoneyConstant) or any(map(has_money, parts(node)))


def rewritten(node: PlanT, text: Callable[[str], str]) -> PlanT:
    """
    Return the same plan with every text that is written out put in other words.
    """
    changes: dict[str, Any] = {}
    if isinstance(node, TextConstant):
        changes["value"] = text(node.value)
    elif isinstance(node, TextIn):
        changes["members"] = tuple(map(text, node.members))
    for name in node.__struct_fields__:
        match getattr(node, name):
            case _Plan() as part:
                changes[name] = rewritten(part, text)
            case (_Plan(), *_) as several:
                changes[name] = tuple(rewritten(part, text) for part in several)
    return msgspec.structs.replace(node, **changes) if changes else node


def lists_of(node: Plan) -> frozenset[str]:
    """
    Return the names of the lists that a condition looks into.
    """
    own = frozenset((node.name,)) if isinstance(node, TextListed | InNetworks) and node.name else frozenset()
    return own.union(*map(lists_of, parts(node)))
