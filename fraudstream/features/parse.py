"""
Tokens to statements, by recursive descent. Says what is written, not yet whether it makes sense.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from fraudstream.features.catalogue import AGGREGATES, FUNCTIONS
from fraudstream.features.grammar import CLAUSES, STATEMENTS, ExpressionReader
from fraudstream.features.lexer import Problem, Token, seconds, tokens
from fraudstream.features.reader import Refused
from fraudstream.features.syntax import Aggregate, Expression, Span


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
        except Refused as refused:
            document.problems.append(refused.problem)
            parser.skip_statement()
    return document


_NOWHERE = Span(0, 0)


@dataclass(slots=True)
class _Clauses:
    by: tuple[str, ...] = ()
    by_at: Span = _NOWHERE
    over_at: Span = _NOWHERE
    over_s: int | None = None
    delayed_s: int = 0
    where: Expression | None = None
    including_current: bool = False
    newest: int | None = None
    unit: str | None = None
    default: float | None = None
    about: str = ""
    seen: dict[str, Span] = field(default_factory=dict)


class _Parser(ExpressionReader):
    def __init__(self, found: list[Token], document: Document) -> None:
        super().__init__(found, document.problems)
        self._document = document

    def skip_statement(self) -> None:
        """
        Go to the next statement: one of its words at the start of a line.
        """
        while self.token.kind != "end" and not (self.token.first and self.sees(*STATEMENTS)):
            self.advance()

    def statement(self) -> None:
        readers: dict[str, Callable[[], None]] = {
            "version": self._version,
            "keep": self._keep,
            "entity": self._entity,
            "feature": self._feature,
        }
        if not self.sees(*STATEMENTS):
            raise self.refuse(f"expected a statement, found {self.shown()}", f"start it with one of: {', '.join(STATEMENTS)}")
        self._depth = 0
        readers[self.advance().text]()

    def _version(self) -> None:
        token = self.expect_kind("number", "the version of the language", "write: version 1")
        if token.text != "1":
            self.report(
                token.at, f"version {token.text} of the language is unknown here", "write: version 1, or upgrade fraudstream"
            )

    def _keep(self) -> None:
        remedy = "write for example: keep 256 records"
        token = self.expect_kind("number", "a number of records", remedy)
        self.expect("records", remedy)
        if not token.text.isdecimal() or not 4 <= int(token.text) <= 4_096:
            self.report(token.at, f"a log cannot keep {token.text} records", "choose a whole number from 4 to 4096")
            return
        if self._document.keep is not None:
            self.report(token.at, "the number of records is set twice", "keep one of the two lines: all logs share it")
        self._document.keep = int(token.text)

    def _entity(self) -> None:
        name = self.expect_kind("name", "the name of an entity", "write for example: entity card log")
        fields = self._names("a field") if self.accept("by") else ()
        if self.accept("log"):
            buckets = None
        elif self.accept("buckets"):
            buckets = self._buckets()
        else:
            raise self.refuse(f"expected 'log' or 'buckets', found {self.shown()}", "say how the entity's past is kept")
        self._document.entities.append(EntityStatement(name.text, fields, buckets, name.at))

    def _buckets(self) -> tuple[tuple[int, int], ...]:
        found = [self._resolution()]
        while self.accept(","):
            found.append(self._resolution())
        return tuple(sorted(found))

    def _resolution(self) -> tuple[int, int]:
        remedy = "write the width of a bucket and how many: 1m x 64"
        width = self.expect_kind("duration", "the width of a bucket", remedy)
        self.expect("x", remedy)
        slots = self.expect_kind("number", "a number of buckets", remedy)
        if not slots.text.isdecimal() or not 2 <= int(slots.text) <= 1_000 or seconds(width.text) == 0:
            self.report(
                Span(width.at.start, slots.at.end), "these buckets cannot be kept", "a width above zero, and 2 to 1000 buckets"
            )
            return 60, 2
        return seconds(width.text), int(slots.text)

    def _names(self, what: str) -> tuple[str, ...]:
        found = [self.expect_kind("name", what, "name one field, or two with a comma between").text]
        while self.accept(","):
            found.append(self.expect_kind("name", what, "name a field after the comma").text)
        return tuple(found)

    def _feature(self) -> None:
        start = self.previous.at.start
        name = self.expect_kind(
            "name", "the name of a feature", "write for example: feature card_count_1h = count() by card_id over 1h"
        )
        self.expect("=", "after the name comes = and what the feature is")
        body = self._aggregate_head() if self._starts_aggregate() else self.expression()
        clauses = self._clauses()
        whole = Span(start, self.previous.at.end)
        if isinstance(body, Aggregate):
            body = self._completed(body, clauses)
        else:
            self._refuse_clauses(clauses)
        self._document.features.append(
            FeatureStatement(name.text, body, clauses.unit, clauses.default, clauses.about, name.at, whole)
        )

    def _starts_aggregate(self) -> bool:
        """
        Tell ``min(amount) by card_id`` from ``min(amount, 5)``: a name of both kinds is an aggregate when a clause follows.
        """
        if self.token.kind != "name" or self.token.text not in AGGREGATES or self.following.text != "(":
            return False
        if self.token.text not in FUNCTIONS:
            return True
        depth, place = 0, self._next + 1
        while self._tokens[place].kind != "end":
            depth += {"(": 1, ")": -1}.get(self._tokens[place].text, 0)
            place += 1
            if depth == 0:
                break
        return self._tokens[place].text in ("by", "over", "where", "delayed", "newest", "including")

    def _aggregate_head(self) -> Aggregate:
        name = self.advance()
        self.expect("(", "brackets follow the name of an aggregate")
        argument = "" if self.sees(")") else self.expect_kind("name", "a field", "name the field to look at, or nothing").text
        close = self.expect(")", "an aggregate takes at most one field")
        return Aggregate(name.text, argument, (), None, at=Span(name.at.start, close.at.end))

    def _clauses(self) -> _Clauses:
        clauses = _Clauses()
        while self.sees(*CLAUSES) and not (self.token.first and self.sees(*STATEMENTS)):
            token = self.advance()
            if token.text in clauses.seen:
                self.report(token.at, f"'{token.text}' stands here twice", "keep one of them")
            clauses.seen[token.text] = token.at
            self._clause(token.text, clauses)
        return clauses

    def _clause(self, word: str, clauses: _Clauses) -> None:
        match word:
            case "by":
                start = self.token.at.start
                clauses.by = self._names("the field of an entity")
                clauses.by_at = Span(start, self.previous.at.end)
            case "over":
                token = self.expect_kind("duration", "a window", "write a window from 1m to 90d, for example 24h")
                clauses.over_s, clauses.over_at = seconds(token.text), token.at
            case "delayed":
                clauses.delayed_s = seconds(self.expect_kind("duration", "a delay", "write a delay, for example 7d").text)
            case "newest":
                clauses.newest = self._newest()
            case "where":
                clauses.where = self.expression()
            case "including":
                self.expect("current", "the only form is: including current")
                clauses.including_current = True
            case "unit":
                clauses.unit = self.expect_kind("text", "the unit in quotes", 'write for example: unit "transactions"').text[
                    1:-1
                ]
            case "default":
                clauses.default = self._default()
            case _:
                clauses.about = self.expect_kind("text", "a sentence in quotes", 'write: about "What it means."').text[1:-1]

    def _newest(self) -> int:
        token = self.expect_kind("number", "a number of events", "write for example: newest 3")
        if not token.text.isdecimal() or int(token.text) < 1:
            self.report(token.at, f"the newest {token.text} events cannot be kept", "write a whole number from 1")
            return 1
        return int(token.text)

    def _default(self) -> float:
        if self.accept("nan"):
            return math.nan
        sign = -1.0 if self.accept("-") else 1.0
        return sign * float(self.expect_kind("number", "a number or nan", "write for example: default 0").text)

    def _completed(self, head: Aggregate, clauses: _Clauses) -> Aggregate:
        if not clauses.by:
            self.report(
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
            newest=clauses.newest,
            at=head.at,
            by_at=clauses.by_at,
            over_at=clauses.over_at,
        )

    def _refuse_clauses(self, clauses: _Clauses) -> None:
        for word in ("by", "over", "delayed", "newest", "where", "including"):
            if word in clauses.seen:
                self.report(
                    clauses.seen[word],
                    f"'{word}' belongs to an aggregate, and this is an expression",
                    "give the aggregate a feature of its own and name that feature here",
                )
