"""
Tokens to statements, by recursive descent. Says what is written, not yet whether it makes sense.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from fraudstream.features.catalogue import AGGREGATES, FUNCTIONS
from fraudstream.features.lexer import SECONDS, Problem, Token, tokens
from fraudstream.features.syntax import Aggregate, Binary, Call, Expression, Field, Number, Span, Text, Unary

#: How deep an expression may nest: deeper ones are machine-made, and Python's own stack is not endless.
MAX_DEPTH = 24

_STATEMENTS = ("version", "keep", "entity", "feature")
_CLAUSES = ("by", "over", "delayed", "where", "including", "unit", "default", "about")
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class EntityStatement:
    """
    ``entity NAME [by FIELD, …] log`` or ``entity NAME [by FIELD, …] buckets 1m x 64, …``; ``buckets`` are (seconds, slots).
    """

    kind: str
    fields: tuple[str, ...]
    buckets: tuple[tuple[int, int], ...] | None
    at: Span


@dataclass(frozen=True, slots=True)
class FeatureStatement:
    """
    ``feature NAME = BODY`` with its clauses; ``default`` and ``unit`` are None where the file says nothing.
    """

    name: str
    body: Aggregate | Expression
    unit: str | None
    default: float | None
    about: str
    at: Span
    whole: Span


@dataclass(slots=True)
class Document:
    """
    The statements of one file, and every problem found while reading them.
    """

    entities: list[EntityStatement] = field(default_factory=list)
    features: list[FeatureStatement] = field(default_factory=list)
    keep: int | None = None
    problems: list[Problem] = field(default_factory=list)


class _Refused(Exception):
    """
    The statement cannot be read further.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


def parse(source: str) -> Document:
    """
    Read a file of definitions; a statement that cannot be read is reported and the next one is tried.
    """
    found, problems = tokens(source)
    document = Document(problems=problems)
    parser = _Parser(found, document)
    while parser.token.kind != "end":
        try:
            parser.statement()
        except _Refused as refused:
            document.problems.append(refused.problem)
            parser.skip_statement()
    return document


@dataclass(slots=True)
class _Clauses:
    by: tuple[str, ...] = ()
    over_s: int | None = None
    delayed_s: int = 0
    where: Expression | None = None
    including_current: bool = False
    unit: str | None = None
    default: float | None = None
    about: str = ""
    seen: dict[str, Span] = field(default_factory=dict)


class _Parser:
    def __init__(self, found: list[Token], document: Document) -> None:
        self._tokens = found
        self._next = 0
        self._depth = 0
        self._document = document

    # -- the stream of tokens

    @property
    def token(self) -> Token:
        return self._tokens[self._next]

    def _advance(self) -> Token:
        token = self.token
        if token.kind != "end":
            self._next += 1
        return token

    def _is(self, *texts: str) -> bool:
        return self.token.kind in ("name", "symbol") and self.token.text in texts

    def _accept(self, *texts: str) -> bool:
        if not self._is(*texts):
            return False
        self._advance()
        return True

    def _expect(self, text: str, remedy: str) -> Token:
        if not self._is(text):
            raise self._refuse(f"expected '{text}', found {self._shown()}", remedy)
        return self._advance()

    def _expect_kind(self, kind: str, what: str, remedy: str) -> Token:
        if self.token.kind != kind:
            raise self._refuse(f"expected {what}, found {self._shown()}", remedy)
        return self._advance()

    def _shown(self) -> str:
        return self.token.text if self.token.kind in ("end", "text") else f"'{self.token.text}'"

    def _refuse(self, what: str, remedy: str) -> _Refused:
        return _Refused(Problem(self.token.at, what, remedy))

    def _report(self, at: Span, what: str, remedy: str) -> None:
        self._document.problems.append(Problem(at, what, remedy))

    def skip_statement(self) -> None:
        """
        Go to the next statement: one of its words at the start of a line.
        """
        while self.token.kind != "end" and not (self.token.first and self._is(*_STATEMENTS)):
            self._advance()

    # -- statements

    def statement(self) -> None:
        readers: dict[str, Callable[[], None]] = {
            "version": self._version,
            "keep": self._keep,
            "entity": self._entity,
            "feature": self._feature,
        }
        if not self._is(*_STATEMENTS):
            raise self._refuse(
                f"expected a statement, found {self._shown()}", f"start it with one of: {', '.join(_STATEMENTS)}"
            )
        readers[self._advance().text]()

    def _version(self) -> None:
        token = self._expect_kind("number", "the version of the language", "write: version 1")
        if token.text != "1":
            self._report(
                token.at, f"version {token.text} of the language is unknown here", "write: version 1, or upgrade fraudstream"
            )

    def _keep(self) -> None:
        remedy = "write for example: keep 256 records"
        token = self._expect_kind("number", "a number of records", remedy)
        self._expect("records", remedy)
        if not token.text.isdecimal() or not 4 <= int(token.text) <= 4_096:
            self._report(token.at, f"a log cannot keep {token.text} records", "choose a whole number from 4 to 4096")
            return
        if self._document.keep is not None:
            self._report(token.at, "the number of records is set twice", "keep one of the two lines: all logs share it")
        self._document.keep = int(token.text)

    def _entity(self) -> None:
        name = self._expect_kind("name", "the name of an entity", "write for example: entity card log")
        fields = self._names("a field") if self._accept("by") else ()
        if self._accept("log"):
            buckets = None
        elif self._accept("buckets"):
            buckets = self._buckets()
        else:
            raise self._refuse(f"expected 'log' or 'buckets', found {self._shown()}", "say how the entity's past is kept")
        self._document.entities.append(EntityStatement(name.text, fields, buckets, name.at))

    def _buckets(self) -> tuple[tuple[int, int], ...]:
        found = [self._resolution()]
        while self._accept(","):
            found.append(self._resolution())
        return tuple(sorted(found))

    def _resolution(self) -> tuple[int, int]:
        remedy = "write the width of a bucket and how many: 1m x 64"
        width = self._expect_kind("duration", "the width of a bucket", remedy)
        self._expect("x", remedy)
        slots = self._expect_kind("number", "a number of buckets", remedy)
        if not slots.text.isdecimal() or not 2 <= int(slots.text) <= 1_000 or _seconds(width.text) == 0:
            self._report(
                Span(width.at.start, slots.at.end), "these buckets cannot be kept", "a width above zero, and 2 to 1000 buckets"
            )
            return 60, 2
        return _seconds(width.text), int(slots.text)

    def _names(self, what: str) -> tuple[str, ...]:
        found = [self._expect_kind("name", what, "name one field, or two with a comma between").text]
        while self._accept(","):
            found.append(self._expect_kind("name", what, "name a field after the comma").text)
        return tuple(found)

    def _feature(self) -> None:
        start = self._tokens[self._next - 1].at.start
        name = self._expect_kind(
            "name", "the name of a feature", "write for example: feature card_count_1h = count() by card_id over 1h"
        )
        self._expect("=", "after the name comes = and what the feature is")
        body = self._aggregate_head() if self._starts_aggregate() else self._expression()
        clauses = self._clauses()
        whole = Span(start, self._tokens[self._next - 1].at.end)
        if isinstance(body, Aggregate):
            body = self._completed(body, clauses)
        else:
            self._refuse_clauses(clauses)
        self._document.features.append(
            FeatureStatement(name.text, body, clauses.unit, clauses.default, clauses.about, name.at, whole)
        )

    # -- aggregates and clauses

    def _starts_aggregate(self) -> bool:
        """
        Tell ``min(amount) by card_id`` from ``min(amount, 5)``: a function of the same name is an aggregate when ``by`` follows.
        """
        if self.token.kind != "name" or self.token.text not in AGGREGATES or self._tokens[self._next + 1].text != "(":
            return False
        if self.token.text not in FUNCTIONS:
            return True
        depth, place = 0, self._next + 1
        while self._tokens[place].kind != "end":
            depth += {"(": 1, ")": -1}.get(self._tokens[place].text, 0)
            place += 1
            if depth == 0:
                break
        return self._tokens[place].text in ("by", "over", "where", "delayed", "including")

    def _aggregate_head(self) -> Aggregate:
        name = self._advance()
        self._expect("(", "brackets follow the name of an aggregate")
        argument = "" if self._is(")") else self._expect_kind("name", "a field", "name the field to look at, or nothing").text
        close = self._expect(")", "an aggregate takes at most one field")
        return Aggregate(name.text, argument, (), None, at=Span(name.at.start, close.at.end))

    def _clauses(self) -> _Clauses:
        clauses = _Clauses()
        while self._is(*_CLAUSES) and not (self.token.first and self._is(*_STATEMENTS)):
            token = self._advance()
            if token.text in clauses.seen:
                self._report(token.at, f"'{token.text}' stands here twice", "keep one of them")
            clauses.seen[token.text] = token.at
            self._clause(token.text, clauses)
        return clauses

    def _clause(self, word: str, clauses: _Clauses) -> None:
        match word:
            case "by":
                clauses.by = self._names("the field of an entity")
            case "over":
                clauses.over_s = _seconds(
                    self._expect_kind("duration", "a window", "write a window from 1m to 90d, for example 24h").text
                )
            case "delayed":
                clauses.delayed_s = _seconds(self._expect_kind("duration", "a delay", "write a delay, for example 7d").text)
            case "where":
                clauses.where = self._expression()
            case "including":
                self._expect("current", "the only form is: including current")
                clauses.including_current = True
            case "unit":
                clauses.unit = self._expect_kind("text", "the unit in quotes", 'write for example: unit "transactions"').text[
                    1:-1
                ]
            case "default":
                clauses.default = self._default()
            case _:
                clauses.about = self._expect_kind("text", "a sentence in quotes", 'write: about "What it means."').text[1:-1]

    def _default(self) -> float:
        if self._accept("nan"):
            return math.nan
        sign = -1.0 if self._accept("-") else 1.0
        return sign * float(self._expect_kind("number", "a number or nan", "write for example: default 0").text)

    def _completed(self, head: Aggregate, clauses: _Clauses) -> Aggregate:
        if not clauses.by:
            self._report(
                head.at, f"'{head.function}' does not say of which entity", "add: by card_id (or another entity's field)"
            )
        return Aggregate(
            head.function,
            head.argument,
            clauses.by,
            clauses.over_s,
            clauses.delayed_s,
            clauses.where,
            clauses.including_current,
            at=head.at,
        )

    def _refuse_clauses(self, clauses: _Clauses) -> None:
        for word in ("by", "over", "delayed", "where", "including"):
            if word in clauses.seen:
                self._report(
                    clauses.seen[word],
                    f"'{word}' belongs to an aggregate, and this is an expression",
                    "give the aggregate a feature of its own and name that feature here",
                )

    # -- expressions

    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._refuse(
                f"the expression nests deeper than {MAX_DEPTH}", "split it into features that refer to each other"
            )
        node = self._conjunction()
        while self._is("or"):
            self._advance()
            node = self._binary("or", node, self._conjunction())
        self._depth -= 1
        return node

    def _conjunction(self) -> Expression:
        node = self._negation()
        while self._is("and"):
            self._advance()
            node = self._binary("and", node, self._negation())
        return node

    def _negation(self) -> Expression:
        negations = []
        while self._is("not"):
            negations.append(self._advance().at)
        node = self._comparison()
        for at in reversed(negations):
            node = Unary("not", node, at)
        return node

    def _comparison(self) -> Expression:
        left = self._sum()
        if self._is("=="):
            raise self._refuse("'==' is not a comparison here", "write = for equality")
        if self._is(*_COMPARISONS):
            operator = self._advance().text
            return self._binary(operator, left, self._sum())
        if self._is("not") and self._tokens[self._next + 1].text == "in":
            at = self._advance().at
            return Unary("not", self._membership(left), at)
        if self._is("in"):
            return self._membership(left)
        if self._accept("between"):
            low = self._sum()
            self._expect("and", "write: between LOW and HIGH")
            high = self._sum()
            return self._binary("and", self._binary(">=", left, low), self._binary("<=", left, high))
        return left

    def _membership(self, left: Expression) -> Expression:
        """
        Read ``in (a, b)`` as ``= a or = b``.
        """
        self._expect("in", "write: in (A, B)")
        self._expect("(", "a list in brackets follows 'in'")
        node = self._binary("=", left, self._atom())
        while self._accept(","):
            node = self._binary("or", node, self._binary("=", left, self._atom()))
        self._expect(")", "close the list with )")
        return node

    def _sum(self) -> Expression:
        node = self._term()
        while self._is("+", "-"):
            operator = self._advance().text
            node = self._binary(operator, node, self._term())
        return node

    def _term(self) -> Expression:
        node = self._factor()
        while self._is("*", "/"):
            operator = self._advance().text
            node = self._binary(operator, node, self._factor())
        return node

    def _factor(self) -> Expression:
        signs = []
        while self._is("-"):
            signs.append(self._advance().at)
        node = self._atom()
        for at in reversed(signs):
            node = Unary("-", node, at)
        return node

    def _atom(self) -> Expression:
        token = self.token
        if token.kind == "number":
            self._advance()
            return Number(float(token.text), token.at)
        if token.kind == "duration":
            self._advance()
            return Number(float(_seconds(token.text)), token.at)
        if token.kind == "text":
            self._advance()
            return Text(token.text[1:-1], at=token.at)
        if self._accept("("):
            node = self._expression()
            self._expect(")", "close the bracket")
            return node
        if token.kind == "name" and token.text not in (*_STATEMENTS, *_CLAUSES, "and", "or", "in", "between"):
            return self._named()
        raise self._refuse(f"expected a value, found {self._shown()}", "write a number, a text in quotes, a field or a feature")

    def _named(self) -> Expression:
        token = self._advance()
        if self._accept("("):
            arguments = [] if self._is(")") else [self._expression()]
            while self._accept(","):
                arguments.append(self._expression())
            close = self._expect(")", "close the bracket")
            return Call(token.text, tuple(arguments), Span(token.at.start, close.at.end))
        if token.text == "current" and self._accept("."):
            name = self._expect_kind("name", "a field", "write for example: current.amount")
            return Field(name.text, current=True, at=Span(token.at.start, name.at.end))
        return Field(token.text, at=token.at)

    def _binary(self, operator: str, left: Expression, right: Expression) -> Binary:
        return Binary(operator, left, right, Span(left.at.start, right.at.end))


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * SECONDS[duration[-1]]
