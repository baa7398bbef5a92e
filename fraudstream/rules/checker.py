"""
From what was written to what is meant: names resolved, kinds settled, units made one, bounds kept.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal

from fraudstream.domain.currency import EXPONENTS
from fraudstream.rules.functions import FUNCTIONS, Values
from fraudstream.rules.instants import instant_ms
from fraudstream.rules.lists import read_network
from fraudstream.rules.parser import MAX_DEPTH, number_value
from fraudstream.rules.plan import (
    Always,
    And,
    Calculation,
    Compare,
    Constant,
    Feature,
    InNetworks,
    Missing,
    MoneyConstant,
    Not,
    NumberField,
    NumberIn,
    Or,
    Plan,
    Text,
    TextConstant,
    TextEquals,
    TextField,
    TextIn,
    TextListed,
    TextMatches,
    Truth,
    cost,
    parts,
    size,
)
from fraudstream.rules.problems import Problem, Refused, did_you_mean
from fraudstream.rules.syntax import (
    Arithmetic,
    Between,
    BoolLiteral,
    Call,
    Comparison,
    Expression,
    Inversion,
    ListName,
    Literal,
    Logical,
    Membership,
    Negation,
    Node,
    NumberLiteral,
    TextLiteral,
    TextTest,
)
from fraudstream.rules.syntax import Attribute as Written
from fraudstream.rules.values import Value, common_kind, in_kind, numeric
from fraudstream.rules.vocabulary import Attribute, Kind

#: Most nodes of one condition, members of sets included: a longer set belongs in a list.
MAX_NODES = 400


class Checker:
    """
    Checks conditions against the attributes and lists that exist.
    """

    def __init__(self, known: Mapping[str, Attribute], lists: Collection[str]) -> None:
        self._known = known
        self._lists = lists

    def condition(self, written: Expression) -> Truth:
        """
        Return the checked form of the condition of a rule.

        Raises:
            Refused: At the first thing that means nothing, has the wrong kind, or is too large.
        """
        truth = self._truth(written)
        if size(truth) > MAX_NODES:
            raise _refused(
                written, f"a condition has at most {MAX_NODES} parts", "keep long sets in a list, and split the rule"
            )
        if _depth(truth) > MAX_DEPTH:
            raise _refused(written, f"an expression nests at most {MAX_DEPTH} levels deep", "split the rule")
        return truth

    def _truth(self, node: Expression) -> Truth:  # noqa: PLR0911 - one return for each kind of condition
        match node:
            case BoolLiteral():
                return Always(node.value)
            case Inversion():
                return Not(self._truth(node.operand))
            case Logical():
                return _chain(node.op, [self._truth(operand) for operand in node.operands])
            case Comparison():
                return self._comparison(node)
            case Between():
                return self._between(node)
            case Membership():
                inside = self._membership(node)
                return Not(inside) if node.negated else inside
            case TextTest():
                return TextMatches(node.op, self._text(node.value, f"{node.op} looks into a string"), node.pattern)
            case Call(function="is_missing"):
                return self._missing(node)
            case _:
                value = self._value(node)
                hint = "compare it with something, as in :amount: > 100"
                raise _refused(node, f"this is {value.kind}, not a condition", hint)

    def _missing(self, node: Call) -> Truth:
        if len(node.arguments) != 1:
            raise _refused(node, "is_missing takes one value")
        return Missing(self._value(node.arguments[0]).plan)

    def _comparison(self, node: Comparison) -> Truth:
        left, right = self._value(node.left), self._value(node.right)
        if left.kind is Kind.TEXT and right.kind is Kind.TEXT and node.op in ("=", "!="):
            equal = TextEquals(left.text, right.text)
            return equal if node.op == "=" else Not(equal)
        return self._order(node, node.op, left, right)

    def _order(self, node: Node, op: str, left: Value, right: Value) -> Truth:
        left, right = _time_literal(left, right), _time_literal(right, left)
        kind = common_kind(left, right)
        if kind is None:
            hint = "strings have no order; use = or !=" if left.kind is right.kind is Kind.TEXT else ""
            raise _refused(node, f"{left.kind} cannot be compared with {right.kind}", hint)
        return Compare(op, in_kind(left, kind), in_kind(right, kind))

    def _between(self, node: Between) -> Truth:
        value, low, high = self._value(node.value), self._value(node.low), self._value(node.high)
        return And((self._order(node, ">=", value, low), self._order(node, "<=", value, high)))

    def _membership(self, node: Membership) -> Truth:
        if node.op == "in_cidr":
            return self._in_networks(node)
        if isinstance(node.members, ListName):
            return TextListed(self._text(node.value, "a list holds strings"), self._list(node.members))
        value = self._value(node.value)
        members = [self._value(member) for member in node.members.members]
        if value.kind is Kind.TEXT and all(isinstance(member.plan, TextConstant) for member in members):
            texts = {member.plan.value for member in members if isinstance(member.plan, TextConstant)}
            return TextIn(value.text, tuple(sorted(texts)))
        numbers = [member.plan.value for member in members if isinstance(member.plan, Constant)]
        if len(numbers) < len(members) or not numeric(value.kind):
            hint = "money cannot stand in a set; compare it with = and or" if numeric(value.kind) else ""
            raise _refused(node, f"{value.kind} cannot be looked for in this set", hint)
        number = in_kind(value, Kind.NUMBER) if value.kind is Kind.MONEY else value.number
        return NumberIn(number, tuple(sorted(set(numbers))))

    def _in_networks(self, node: Membership) -> Truth:
        value = self._text(node.value, "in_cidr looks at an internet address, which is a string")
        if isinstance(node.members, ListName):
            return InNetworks(value, name=self._list(node.members))
        return InNetworks(value, tuple(sorted({_network(member) for member in node.members.members})))

    def _list(self, node: ListName) -> str:
        if node.name not in self._lists:
            every = ", ".join(sorted(self._lists)) or "none"
            hint = did_you_mean(node.name, self._lists, "@{}") or f"known lists: {every}"
            raise _refused(node, f"unknown list @{node.name}", hint)
        return node.name

    def _text(self, node: Expression, why: str) -> Text:
        value = self._value(node)
        if value.kind is not Kind.TEXT:
            raise _refused(node, f"{why}; this is {value.kind}")
        return value.text

    def _value(self, node: Expression | Literal) -> Value:
        match node:
            case NumberLiteral():
                return _number(node)
            case TextLiteral():
                return Value(Kind.TEXT, TextConstant(node.value))
            case Written():
                return self._attribute(node)
            case Negation():
                return self._negation(node)
            case Arithmetic():
                return self._arithmetic(node)
            case Call() if node.function != "is_missing":
                return self._call(node)
            case _:
                raise _refused(node, "this is a condition, where a value is needed", "conditions are joined by and, or, not")

    def _attribute(self, node: Written) -> Value:
        found = self._known.get(node.name)
        if found is None:
            raise _refused(node, f"unknown attribute :{node.name}:", did_you_mean(node.name, self._known, ":{}:"))
        if found.column is not None:
            return Value(found.kind, Feature(found.column))
        return Value(found.kind, TextField(found.name) if found.kind is Kind.TEXT else NumberField(found.name))

    def _negation(self, node: Negation) -> Value:
        value = self._number_value(node.operand)
        if isinstance(value.plan, Constant):
            return Value(value.kind, Constant(-value.plan.value))
        return Value(value.kind, Calculation("-", Constant(0.0), value.number))

    def _number_value(self, node: Expression) -> Value:
        value = self._value(node)
        if not numeric(value.kind):
            raise _refused(node, f"one cannot calculate with {value.kind}")
        return value

    def _arithmetic(self, node: Arithmetic) -> Value:
        left, right = self._number_value(node.left), self._number_value(node.right)
        if node.op in ("+", "-"):
            kind = common_kind(left, right)
            assert kind is not None, "numbers always have a common kind"
            return Value(kind, Calculation(node.op, in_kind(left, kind), in_kind(right, kind)))
        if node.op == "*":
            return _product(node, left, right)
        return _quotient(node, left, right)

    def _call(self, node: Call) -> Value:
        function = FUNCTIONS.get(node.function)
        if function is None:
            known = sorted((*FUNCTIONS, "is_missing"))
            hint = did_you_mean(node.function, known) or "functions: " + ", ".join(known)
            raise _refused(node, f"unknown function {node.function}", hint)
        least, most = function.arity
        if not least <= len(node.arguments) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            raise _refused(node, f"{node.function} takes {count} values, not {len(node.arguments)}", function.usage)
        values: Values = [self._value(argument) for argument in node.arguments]
        answer = function.build(node.function, values)
        if answer is None:
            given = ", ".join(value.kind for value in values)
            raise _refused(node, f"{node.function} cannot take {given}", function.usage)
        return answer


def _refused(node: Node, message: str, hint: str = "") -> Refused:
    return Refused(Problem(node.at, max(1, node.end - node.at), message, hint))


def _chain(op: str, terms: list[Truth]) -> Truth:
    """
    Flatten a chain of one connective, drop repeated terms, put cheap ones first; none of it changes the answer.
    """
    kind: type[And | Or] = And if op == "and" else Or
    flat: list[Truth] = []
    for term in terms:
        flat.extend(term.operands if isinstance(term, And | Or) and type(term) is kind else (term,))
    once = tuple(sorted(dict.fromkeys(flat), key=cost))
    return kind(once) if len(once) > 1 else once[0]


def _number(node: NumberLiteral) -> Value:
    exponent = EXPONENTS.get(node.unit)
    if exponent is None:
        return Value(Kind.NUMBER, Constant(number_value(node)))
    minor = Decimal(node.digits).scaleb(exponent)
    if minor != minor.to_integral_value() or abs(minor) > 2**53:
        raise _refused(node, f"{node.unit} has {exponent} digits after the point, and amounts end at 10^15")
    return Value(Kind.MONEY, MoneyConstant(float(minor), node.unit))


def _time_literal(value: Value, other: Value) -> Value:
    """
    Read a string as a time where it meets a time.
    """
    if other.kind is Kind.TIME and isinstance(value.plan, TextConstant):
        at_ms = instant_ms(value.plan.value)
        if at_ms is not None:
            return Value(Kind.TIME, Constant(float(at_ms)))
    return value


def _product(node: Arithmetic, left: Value, right: Value) -> Value:
    kinds = (left.kind, right.kind)
    if Kind.NUMBER not in kinds:
        raise _refused(node, "two amounts cannot be multiplied")
    kind = right.kind if left.kind is Kind.NUMBER else left.kind
    return Value(kind, Calculation("*", left.number, right.number))


def _quotient(node: Arithmetic, left: Value, right: Value) -> Value:
    if right.kind is Kind.NUMBER:
        return Value(left.kind, Calculation("/", left.number, right.number))
    if left.kind is Kind.NUMBER:
        raise _refused(node, "a number cannot be divided by an amount")
    return Value(Kind.NUMBER, Calculation("/", left.number, right.number))


def _network(member: Literal) -> str:
    network = read_network(member.value) if isinstance(member, TextLiteral) else None
    if network is None:
        raise _refused(member, "this is no network", "write '10.0.0.0/8' or '2001:db8::/32'")
    return str(network)


def _depth(node: Plan) -> int:
    return 1 + max(map(_depth, parts(node)), default=0)
