"""
Expressions by recursive descent: from the weakest operator (or) down to single values.
"""

from fraudstream.features.lexer import Problem, Token, seconds
from fraudstream.features.reader import Reader
from fraudstream.features.syntax import Binary, Call, Expression, Field, Number, Span, Text, Unary

#: How deep an expression may nest: deeper ones are machine-made, and Python's own stack is not endless.
MAX_DEPTH = 24
#: Words that begin a statement.
STATEMENTS = ("version", "keep", "entity", "feature")
#: Words that begin a clause of a feature.
CLAUSES = ("by", "over", "delayed", "newest", "where", "including", "unit", "default", "about")

_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")


class ExpressionReader(Reader):
    """
    A reader that knows expressions.
    """

    def __init__(self, found: list[Token], problems: list[Problem]) -> None:
        super().__init__(found, problems)
        self._depth = 0

    def expression(self) -> Expression:
        """
        Read one expression.

        Raises:
            Refused: What stands here is none.
        """
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.refuse(
                f"the expression nests deeper than {MAX_DEPTH}", "split it into features that refer to each other"
            )
        node = self._conjunction()
        while self.sees("or"):
            self.advance()
            node = self._binary("or", node, self._conjunction())
        self._depth -= 1
        return node

    def _conjunction(self) -> Expression:
        node = self._negation()
        while self.sees("and"):
            self.advance()
            node = self._binary("and", node, self._negation())
        return node

    def _negation(self) -> Expression:
        negations = []
        while self.sees("not"):
            negations.append(self.advance().at)
        node = self._comparison()
        for at in reversed(negations):
            node = Unary("not", node, at)
        return node

    def _comparison(self) -> Expression:
        left = self._sum()
        if self.sees("=="):
            raise self.refuse("'==' is not a comparison here", "write = for equality")
        if self.sees(*_COMPARISONS):
            operator = self.advance().text
            return self._binary(operator, left, self._sum())
        if self.sees("not") and self.following.text == "in":
            at = self.advance().at
            return Unary("not", self._membership(left), at)
        if self.sees("in"):
            return self._membership(left)
        if self.accept("between"):
            low = self._sum()
            self.expect("and", "write: between LOW and HIGH")
            high = self._sum()
            return self._binary("and", self._binary(">=", left, low), self._binary("<=", left, high))
        return left

    def _membership(self, left: Expression) -> Expression:
        """
        Read ``in (a, b)`` as ``= a or = b``.
        """
        self.expect("in", "write: in (A, B)")
        self.expect("(", "a list in brackets follows 'in'")
        node = self._binary("=", left, self._atom())
        while self.accept(","):
            node = self._binary("or", node, self._binary("=", left, self._atom()))
        self.expect(")", "close the list with )")
        return node

    def _sum(self) -> Expression:
        node = self._term()
        while self.sees("+", "-"):
            operator = self.advance().text
            node = self._binary(operator, node, self._term())
        return node

    def _term(self) -> Expression:
        node = self._factor()
        while self.sees("*", "/"):
            operator = self.advance().text
            node = self._binary(operator, node, self._factor())
        return node

    def _factor(self) -> Expression:
        signs = []
        while self.sees("-"):
            signs.append(self.advance().at)
        node = self._atom()
        for at in reversed(signs):
            node = Unary("-", node, at)
        return node

    def _atom(self) -> Expression:
        token = self.token
        if token.kind == "number":
            self.advance()
            return Number(float(token.text), token.at)
        if token.kind == "duration":
            self.advance()
            return Number(float(seconds(token.text)), token.at)
        if token.kind == "text":
            self.advance()
            return Text(token.text[1:-1], at=token.at)
        if self.accept("("):
            node = self.expression()
            self.expect(")", "close the bracket")
            return node
        if token.kind == "name" and token.text not in (*STATEMENTS, *CLAUSES, "and", "or", "in", "between"):
            return self._named()
        raise self.refuse(f"expected a value, found {self.shown()}", "write a number, a text in quotes, a field or a feature")

    def _named(self) -> Expression:
        token = self.advance()
        if self.accept("("):
            arguments = [] if self.sees(")") else [self.expression()]
            while self.accept(","):
                arguments.append(self.expression())
            close = self.expect(")", "close the bracket")
            return Call(token.text, tuple(arguments), Span(token.at.start, close.at.end))
        if token.text == "current" and self.accept("."):
            name = self.expect_kind("name", "a field", "write for example: current.amount")
            return Field(name.text, current=True, at=Span(token.at.start, name.at.end))
        return Field(token.text, at=token.at)

    def _binary(self, operator: str, left: Expression, right: Expression) -> Binary:
        return Binary(operator, left, right, Span(left.at.start, right.at.end))
