"""
Whole rules: the head, the condition, and the clauses that follow it.
"""

from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from typing import Any

from fraudstream.domain.evidence import Action
from fraudstream.domain.steps import Steps
from fraudstream.rules.cursor import Cursor
from fraudstream.rules.given import parse_test
from fraudstream.rules.instants import instant_ms
from fraudstream.rules.lexer import Token, TokenKind
from fraudstream.rules.parser import WORDS, parse_expression, parse_number
from fraudstream.rules.problems import Problem, Problems, Refused
from fraudstream.rules.syntax import (
    Expression,
    OnMissing,
    Rollout,
    RuleStatement,
    RuleTest,
)

#: Most rules in one set.
MAX_RULES = 2000
#: Longest source of one rule, in characters.
MAX_RULE_CHARACTERS = 8192
#: Longest id of a rule; it becomes a metric label.
MAX_ID_CHARACTERS = 64
#: Most points that one rule may add or take away: the whole range of the score.
MAX_POINTS = 100

_ACTIONS = {
    "allow": Action.ALLOW,
    "block": Action.BLOCK,
    "challenge": Action.CHALLENGE,
    "review": Action.REVIEW,
    "score": Action.SCORE,
}
_HEADS = ("rule", "shadow", "score")


def parse_rules(tokens: list[Token], text: str, problems: Problems) -> Steps[list[RuleStatement]]:
    """
    Read every rule of a source, a step each; one that cannot be read is noted in ``problems`` and left out, and reading goes on
    behind it.
    """
    cursor = Cursor(tokens)
    statements: list[RuleStatement] = []
    while (begin := cursor.token).kind is not TokenKind.END:
        yield
        try:
            statement = _StatementParser(cursor, text).statement()
            if statement.end - statement.at > MAX_RULE_CHARACTERS:
                raise cursor.refused_at(statement.at, statement.at + 1, f"a rule has at most {MAX_RULE_CHARACTERS} characters")
            statements.append(statement)
        except Refused as refused:
            problems.add(refused.problem)
            _skip_to_next_rule(cursor, begin)
    if len(statements) > MAX_RULES:
        problems.add(Problem(statements[MAX_RULES].at, 1, f"a rule set has at most {MAX_RULES} rules"))
    return statements


def _skip_to_next_rule(cursor: Cursor, begin: Token) -> None:
    if cursor.token is begin:
        cursor.take()
    while cursor.token.kind is not TokenKind.END and not cursor.token.is_name("rule", "shadow"):
        cursor.take()


class _StatementParser:
    def __init__(self, cursor: Cursor, text: str) -> None:
        self._cursor = cursor
        self._text = text
        self._clauses: dict[str, Any] = {}
        self._tests: list[RuleTest] = []
        self._seen: set[str] = set()
        self._reader: dict[str, Callable[[], None]] = {
            "reason": self._reason,
            "tags": self._tags,
            "priority": self._priority,
            "on_missing": self._on_missing,
            "guard": self._guard,
            "rollout": self._rollout,
            "active": self._active,
        }

    def statement(self) -> RuleStatement:
        head = self._cursor.token
        shadow = self._cursor.accept("shadow") is not None
        if not shadow and head.is_name("score"):
            return self._nameless_score(head)
        if self._cursor.token.is_name("feature"):
            raise self._cursor.refused("features are not declared here", hint="move this line to the features file")
        if self._cursor.accept("rule") is None:
            raise self._cursor.refused(
                f"expected a rule, found {self._cursor.found()}", _HEADS, "a rule begins with: rule its_name"
            )
        rule_id = self._rule_id()
        action, points = self._action()
        condition = self._condition()
        return self._finish(head, rule_id, action, points, condition=condition, shadow=shadow)

    def _nameless_score(self, head: Token) -> RuleStatement:
        action, points = self._action()
        condition = self._condition()
        written = " ".join(self._text[condition.at : condition.end].split())
        # Not the condition itself: it may name somebody, and a reason goes out with alerts.
        self._clauses["reason"] = f"score {points:+g}"
        rule_id = "score_" + sha256(f"{points:g} {written}".encode(errors="surrogatepass")).hexdigest()[:8]
        return self._finish(head, rule_id, action, points, condition=condition, shadow=False)

    def _finish(
        self, head: Token, rule_id: str, action: Action, points: float, *, condition: Expression, shadow: bool
    ) -> RuleStatement:
        self._read_clauses()
        return RuleStatement(
            at=head.at,
            end=self._cursor.end,
            rule_id=rule_id,
            action=action,
            points=points,
            condition=condition,
            shadow=shadow,
            tests=tuple(self._tests),
            **self._clauses,
        )

    def _rule_id(self) -> str:
        token = self._cursor.expect_kind(TokenKind.NAME, "the name of the rule")
        if token.text != token.text.lower() or len(token.text) > MAX_ID_CHARACTERS:
            hint = f"use small letters, digits and underscores, at most {MAX_ID_CHARACTERS}"
            raise self._cursor.refused_at(token.at, token.end, "this cannot be the name of a rule", hint)
        return token.text

    def _action(self) -> tuple[Action, float]:
        if self._cursor.accept("hard"):
            self._cursor.expect("block", "after hard")
            return Action.HARD_BLOCK, 0.0
        token = self._cursor.accept(*_ACTIONS)
        if token is None:
            raise self._cursor.refused(f"expected what the rule does, found {self._cursor.found()}", tuple(_ACTIONS), "")
        action = _ACTIONS[token.text]
        return action, self._points() if action is Action.SCORE else 0.0

    def _points(self) -> float:
        sign = self._cursor.accept("+", "-")
        if sign is None:
            raise self._cursor.refused("points need a sign", hint="write score +15 or score -15")
        number = self._plain_number("points")
        if not 0 < number <= MAX_POINTS:
            raise self._cursor.refused_at(sign.at, self._cursor.end, f"points lie between 1 and {MAX_POINTS}, with a sign")
        return float(-number if sign.text == "-" else number)

    def _condition(self) -> Expression:
        self._cursor.expect("if", "and the condition")
        return parse_expression(self._cursor)

    def _read_clauses(self) -> None:
        while self._cursor.token.kind is not TokenKind.END and not self._cursor.token.is_name(*_HEADS):
            token = self._cursor.token
            if token.is_name("test"):
                self._cursor.take()
                self._tests.append(parse_test(self._cursor, token))
                continue
            if token.kind is not TokenKind.NAME or token.text not in self._reader:
                self._refuse_clause()
            if token.text in self._seen:
                raise self._cursor.refused(f"this rule already has a clause {token.text}")
            self._seen.add(token.text)
            self._cursor.take()
            self._reader[token.text]()

    def _refuse_clause(self) -> None:
        clauses = (*self._reader, "test")
        hint = "after a condition come " + ", ".join(clauses)
        if self._cursor.token.text.lower() in WORDS:
            hint = "and, or, not are written small"
        raise self._cursor.refused(f"{self._cursor.found()} does not belong here", (*clauses, *_HEADS), hint)

    def _reason(self) -> None:
        self._clauses["reason"] = self._cursor.expect_kind(TokenKind.STRING, "a string, the reason for people").text

    def _tags(self) -> None:
        tags = [self._cursor.expect_kind(TokenKind.NAME, "a tag").text]
        while self._cursor.accept(","):
            tags.append(self._cursor.expect_kind(TokenKind.NAME, "a tag").text)
        self._clauses["tags"] = tuple(tags)

    def _priority(self) -> None:
        number = self._plain_number("priority")
        if number != int(number) or number > 1_000_000:
            raise self._cursor.refused_at(self._cursor.end - 1, self._cursor.end, "a priority is a whole number up to 1000000")
        self._clauses["priority"] = int(number)

    def _on_missing(self) -> None:
        token = self._cursor.accept(*OnMissing)
        if token is None:
            raise self._cursor.refused(f"expected skip, fire or review, found {self._cursor.found()}", tuple(OnMissing))
        self._clauses["on_missing"] = OnMissing(token.text)

    def _guard(self) -> None:
        self._cursor.expect("max_rate", "after guard")
        self._clauses["guard_max_rate"] = float(self._share("a guard"))

    def _rollout(self) -> None:
        at = self._cursor.token.at
        share = self._share("a rollout") * 10_000
        if share != int(share):
            raise self._cursor.refused_at(at, self._cursor.end, "a rollout has at most two digits after the point")
        self._cursor.expect("by", "and the field that a rollout sticks to")
        field = self._cursor.expect_kind(TokenKind.NAME, "a field of the transaction, such as card_id")
        self._clauses["rollout"] = Rollout(at=field.at, end=field.end, share=int(share), field=field.text)

    def _share(self, what: str) -> Decimal:
        number = parse_number(self._cursor)
        share = Decimal(number.digits) / 100
        if number.unit != "%" or share > 1:
            raise self._cursor.refused_at(number.at, number.end, f"{what} is a percentage from 0% to 100%", "write 0.5%")
        return share

    def _active(self) -> None:
        at = self._cursor.token.at
        if self._cursor.accept("from"):
            self._clauses["active_from_ms"] = self._instant()
        if self._cursor.accept("until"):
            self._clauses["active_until_ms"] = self._instant()
        begin, end = self._clauses.get("active_from_ms"), self._clauses.get("active_until_ms")
        if begin is None and end is None:
            raise self._cursor.refused(f"expected from or until after active, found {self._cursor.found()}", ("from", "until"))
        if begin is not None and end is not None and begin >= end:
            raise self._cursor.refused_at(at, self._cursor.end, "this rule would end before it begins")

    def _instant(self) -> int:
        token = self._cursor.token
        at_ms = instant_ms(token.text) if token.kind in (TokenKind.DATE, TokenKind.STRING) else None
        if at_ms is None:
            raise self._cursor.refused("expected a date or a time", hint="write 2026-01-31 or 2026-01-31T08:00:00Z")
        self._cursor.take()
        return at_ms

    def _plain_number(self, what: str) -> Decimal:
        number = parse_number(self._cursor)
        if number.unit:
            raise self._cursor.refused_at(number.at, number.end, f"{what} takes a number without a unit")
        return Decimal(number.digits)
