"""
Rule files as text: the words of one rule, and the small changes that people make in a hurry.
"""

from datetime import UTC, datetime

from fraudstream.domain.errors import InvalidRule
from fraudstream.domain.steps import at_once
from fraudstream.rules.lexer import Token, tokenise
from fraudstream.rules.load import canonical
from fraudstream.rules.problems import Problems, did_you_mean
from fraudstream.rules.statements import parse_rules
from fraudstream.rules.syntax import RuleStatement


def source_of(source: str, rule_id: str) -> str:
    """
    Return one rule as it is written, without the comments around it.

    Raises:
        InvalidRule: The source cannot be read, or has no such rule.
    """
    text = canonical(source)
    statement, _ = _find(text, rule_id)
    return text[statement.at : statement.end]


def in_shadow(source: str, rule_id: str) -> str:
    """
    Return a source in which one rule only watches; a rule that already does is left as it is.

    Raises:
        InvalidRule: The source cannot be read, or has no such rule.
    """
    text = canonical(source)
    statement, _ = _find(text, rule_id)
    if statement.shadow:
        return text
    named = text.startswith("rule", statement.at)
    head = "shadow " if named else f"shadow rule {rule_id} "
    return text[: statement.at] + head + text[statement.at :]


def out_of_shadow(source: str, rule_id: str) -> str:
    """
    Return a source in which one rule has a say; a rule that already has one is left as it is.

    Raises:
        InvalidRule: The source cannot be read, or has no such rule.
    """
    text = canonical(source)
    statement, tokens = _find(text, rule_id)
    if not statement.shadow:
        return text
    word = next(token for token in tokens if token.at >= statement.at and token.is_name("shadow"))
    behind = next(token for token in tokens if token.at >= word.end)
    return text[: word.at] + text[behind.at :]


def asleep_until(source: str, rule_id: str, until_ms: int) -> str:
    """
    Return a source in which one rule is in force only for payments made at or after a time, whatever it said before.

    A rule that would end before it begins is put in shadow instead.

    Args:
        source: A rule file.
        rule_id: The rule.
        until_ms: Milliseconds since 1970; whole seconds are kept, rounded up.

    Raises:
        InvalidRule: The source cannot be read, or has no such rule.
    """
    text = canonical(source)
    statement, tokens = _find(text, rule_id)
    begin_ms = max(-(-until_ms // 1000) * 1000, statement.active_from_ms or 0)
    end_ms = statement.active_until_ms
    if end_ms is not None and end_ms <= begin_ms:
        return in_shadow(text, rule_id)
    clause = f'active from "{_written(begin_ms)}"' + (f' until "{_written(end_ms)}"' if end_ms is not None else "")
    at, end = _active_clause(statement, tokens)
    return f"{text[:at]}{clause}{text[end:]}" if end > at else f"{text[:at]} {clause}{text[at:]}"


def _find(text: str, rule_id: str) -> tuple[RuleStatement, list[Token]]:
    problems = Problems(text, "<rules>")
    tokens = tokenise(text, problems)
    statements = {statement.rule_id: statement for statement in at_once(parse_rules(tokens, text, problems))}
    problems.raise_if_any()
    if rule_id not in statements:
        hint = did_you_mean(rule_id, statements)
        raise InvalidRule(f"there is no rule {rule_id}" + (f"; {hint}" if hint else ""))
    return statements[rule_id], tokens


def _active_clause(statement: RuleStatement, tokens: list[Token]) -> tuple[int, int]:
    """
    Return the first and last character of the clause ``active``; the end of the condition twice without one.
    """
    inside = [token for token in tokens if statement.condition.end <= token.at < statement.end]
    in_tests = [(test.at, test.end) for test in statement.tests]
    bare = [token for token in inside if not any(at <= token.at < end for at, end in in_tests)]
    place = next((at for at, token in enumerate(bare) if token.is_name("active")), None)
    if place is None:
        return statement.condition.end, statement.condition.end
    # Each of from and until is followed by one token, the time.
    last = place
    while last + 1 < len(bare) and bare[last + 1].is_name("from", "until"):
        last += 2
    return bare[place].at, bare[last].end


def _written(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
