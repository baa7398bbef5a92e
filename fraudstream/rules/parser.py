"""
Expressions by precedence climbing (Pratt): or, and, not, comparison, sum, product, sign, atom.
"""

from collections.abc import Callable
from decimal import Decimal

import msgspec

from fraudstream.domain.currency import EXPONENTS
from fraudstream.rules.cursor import Cursor
from fraudstream.rules.lexer import Token, TokenKind
from fraudstream.rules.syntax import (
    Arithmetic,
    Attribute,
    Between,
    BoolLiteral,
    Call,
    Comparison,
    Expression,
    Inversion,
    ListName,
    Literal,
    LiteralSet,
    Logical,
    Membership,
    Negation,
    NumberLiteral,
    TextLiteral,
    TextTest,
)

#: How deep an expression may nest: more is unreadable, and the evaluators recurse.
MAX_DEPTH = 24
#: Seconds in each unit of time that may stand behind a number.
UNITS: dict[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

#: Words of the language that end or join expressions; none of them can begin one.
WORDS = ("and", "or", "not", "in", "between", "like", "startswith", "endswith", "contains", "in_cidr")
_ORDER = ("=", "!=", "<", "<=", ">", ">=")
_TEXT_TESTS = ("like", "startswith", "endswith", "contains")
_FEATURE_OF = "an attribute stands between colons, as in :amount:"


def parse_expression(cursor: Cursor) -> Expression:
    """
    Read one expression from the cursor and leave it behind the last token that belongs to it.

    Raises:
        Refused: At the first token that does not fit, or deeper than 24 levels.
    """
    return _ExpressionParser(cursor).expression()


def parse_literal(cursor: Cursor) -> Literal:
    """
    Read a number (with sign and unit), a string, or a truth value.

    Raises:
        Refused: Anything else stands there.
    """
    sign = cursor.accept("-", "+")
    token = cursor.token
    if token.kind is TokenKind.NUMBER:
        number = parse_number(cursor)
        negative = sign is not None and sign.text == "-"
        return NumberLiteral(
            at=sign.at if sign else number.at,
            end=number.end,
            digits=f"-{number.digits}" if negative else number.digits,
            unit=number.unit,
        )
    if sign is None and token.kind is TokenKind.STRING:
        cursor.take()
        return TextLiteral(at=token.at, end=token.end, value=token.text)
    if sign is None and token.is_name("true", "false"):
        cursor.take()
        return BoolLiteral(at=token.at, end=token.end, value=token.text == "true")
    raise cursor.refused(f"expected a number, a string, true or false, found {cursor.found()}")


def parse_number(cursor: Cursor) -> NumberLiteral:
    """
    Read a number with what may follow it: ``%``, a unit of time, or a currency.

    Raises:
        Refused: The unit is none of these.
    """
    token = cursor.expect_kind(TokenKind.NUMBER, "a number")
    unit = token.unit
    if unit and unit != "%" and unit not in UNITS and unit not in EXPONENTS:
        hint = "units are " + ", ".join(UNITS) + ", % and the codes of ISO 4217, as in 5m or 5.00 USD"
        raise cursor.refused_at(token.at, token.end, f"unknown unit {unit!r}", hint)
    following = cursor.token
    capitals = following.kind is TokenKind.NAME and following.text.isupper() and len(following.text) == 3
    if not unit and capitals and following.text.lower() not in WORDS:
        if following.text not in EXPONENTS:
            raise cursor.refused(f"unknown currency {following.text!r}", tuple(EXPONENTS))
        unit = cursor.take().text
    return NumberLiteral(at=token.at, end=cursor.end, digits=token.text, unit=unit)


def number_value(literal: NumberLiteral) -> float:
    """
    Return a number without currency: percentages as shares, spans of time in seconds.
    """
    value = Decimal(literal.digits)
    if literal.unit == "%":
        value /= 100
    return float(value * UNITS.get(literal.unit, 1))


class _ExpressionParser:
    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._depth = 0

    def expression(self) -> Expression:
        return self._deeper(self._or)

    def _deeper(self, read: Callable[[], Expression]) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._cursor.refused(f"an expression nests at most {MAX_DEPTH} levels deep", hint="split the rule")
        node = read()
        self._depth -= 1
        return node

    def _or(self) -> Expression:
        return self._chain("or", self._and)

    def _and(self) -> Expression:
        return self._chain("and", self._not)

    def _chain(self, op: str, read: Callable[[], Expression]) -> Expression:
        operands = [read()]
        while self._cursor.token.is_name(op):
            self._cursor.take()
            operands.append(read())
        if len(operands) == 1:
            return operands[0]
        return Logical(at=operands[0].at, end=operands[-1].end, op=op, operands=tuple(operands))

    def _not(self) -> Expression:
        token = self._cursor.accept("not")
        if token is None:
            return self._comparison()
        operand = self._deeper(self._not)
        return Inversion(at=token.at, end=operand.end, operand=operand)

    def _comparison(self) -> Expression:
        left = self._sum()
        token = self._cursor.token
        if token.kind is TokenKind.SYMBOL and token.text in _ORDER:
            self._cursor.take()
            right = self._sum()
            node: Expression = Comparison(at=left.at, end=right.end, op=token.text, left=left, right=right)
        elif token.is_name("between"):
            node = self._between(left)
        elif token.is_name("in", "in_cidr", "not"):
            node = self._membership(left)
        elif token.is_name(*_TEXT_TESTS):
            self._cursor.take()
            pattern = self._cursor.expect_kind(TokenKind.STRING, f"a string after {token.text}")
            node = TextTest(at=left.at, end=pattern.end, op=token.text, value=left, pattern=pattern.text)
        else:
            return left
        following = self._cursor.token
        if following.kind is TokenKind.SYMBOL and following.text in _ORDER:
            raise self._cursor.refused("comparisons do not chain", hint="join two of them with and, or use between")
        return node

    def _between(self, left: Expression) -> Expression:
        self._cursor.take()
        low = self._sum()
        self._cursor.expect("and", "between the two ends of between")
        high = self._sum()
        return Between(at=left.at, end=high.end, value=left, low=low, high=high)

    def _membership(self, left: Expression) -> Expression:
        negated = self._cursor.accept("not") is not None
        token = self._cursor.accept("in", "in_cidr")
        if token is None:
            raise self._cursor.refused(f"expected 'in' after not, found {self._cursor.found()}")
        members = self._members()
        return Membership(at=left.at, end=members.end, op=token.text, value=left, members=members, negated=negated)

    def _members(self) -> ListName | LiteralSet:
        token = self._cursor.token
        if token.kind is TokenKind.LIST:
            self._cursor.take()
            return ListName(at=token.at, end=token.end, name=token.text)
        if not token.is_symbol("("):
            hint = f"a list is written @{token.text}" if token.kind is TokenKind.NAME else ""
            raise self._cursor.refused(f"expected a list, @name, or a set, ('a', 'b'), found {self._cursor.found()}", hint=hint)
        self._cursor.take()
        members = [parse_literal(self._cursor)]
        while self._cursor.accept(","):
            members.append(parse_literal(self._cursor))
        self._cursor.expect(")", "after the last member of the set")
        return LiteralSet(at=token.at, end=self._cursor.end, members=tuple(members))

    def _sum(self) -> Expression:
        return self._arithmetic(("+", "-"), lambda: self._arithmetic(("*", "/"), self._unary))

    def _arithmetic(self, operators: tuple[str, ...], read: Callable[[], Expression]) -> Expression:
        left = read()
        steps = 0
        while (token := self._cursor.accept(*operators)) is not None:
            steps += 1
            if steps > MAX_DEPTH:
                raise self._cursor.refused(f"a sum or product has at most {MAX_DEPTH} signs", hint="make it a feature")
            right = read()
            left = Arithmetic(at=left.at, end=right.end, op=token.text, left=left, right=right)
        return left

    def _unary(self) -> Expression:
        token = self._cursor.accept("-")
        if token is None:
            return self._atom()
        operand = self._deeper(self._unary)
        return Negation(at=token.at, end=operand.end, operand=operand)

    def _atom(self) -> Expression:
        token = self._cursor.token
        if token.kind is TokenKind.NUMBER:
            return parse_number(self._cursor)
        if token.kind is TokenKind.STRING or token.is_name("true", "false"):
            return parse_literal(self._cursor)
        if token.kind is TokenKind.ATTRIBUTE:
            self._cursor.take()
            return Attribute(at=token.at, end=token.end, name=token.text)
        if token.is_symbol("("):
            self._cursor.take()
            inner = self._deeper(self._or)
            close = self._cursor.expect(")", "to close the bracket")
            # The brackets belong to what is shown of an expression.
            return msgspec.structs.replace(inner, at=token.at, end=close.end)
        if token.kind is TokenKind.NAME and token.text not in WORDS:
            return self._call(token)
        hint = "a list may stand only behind in and in_cidr" if token.kind is TokenKind.LIST else ""
        if token.is_symbol(":"):
            hint = _FEATURE_OF
        raise self._cursor.refused(f"expected a value, found {self._cursor.found()}", hint=hint)

    def _call(self, token: Token) -> Expression:
        if not self._cursor.next.is_symbol("("):
            small = token.text.lower() in WORDS
            hint = "and, or, not are written small" if small else _FEATURE_OF.replace("amount", token.text)
            raise self._cursor.refused(f"{token.text!r} is no value", hint=hint)
        self._cursor.take()
        self._cursor.take()
        arguments: list[Expression] = []
        if not self._cursor.token.is_symbol(")"):
            arguments.append(self._deeper(self._or))
            while self._cursor.accept(","):
                arguments.append(self._deeper(self._or))
        self._cursor.expect(")", f"after the arguments of {token.text}")
        return Call(at=token.at, end=self._cursor.end, function=token.text, arguments=tuple(arguments))
