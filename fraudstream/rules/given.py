"""
The transactions that stand in tests, as written.
"""

from fraudstream.rules.cursor import Cursor
from fraudstream.rules.lexer import Token, TokenKind
from fraudstream.rules.parser import parse_literal
from fraudstream.rules.syntax import GivenList, GivenValue, RuleTest


def parse_test(cursor: Cursor, head: Token) -> RuleTest:
    """
    Read a test behind its first word.

    Raises:
        Refused: At the first token that does not fit.
    """
    expectation = cursor.accept("hit", "miss")
    if expectation is None:
        raise cursor.refused(f"expected hit or miss after test, found {cursor.found()}", ("hit", "miss"))
    cursor.expect("{", "and the transaction of the test")
    values: list[GivenValue] = []
    lists: list[GivenList] = []
    while not cursor.token.is_symbol("}"):
        if cursor.token.kind is TokenKind.LIST:
            lists.append(_given_list(cursor))
        else:
            values.append(_given_value(cursor))
        if cursor.accept(",") is None:
            break
    cursor.expect("}", "to close the test")
    hit = expectation.text == "hit"
    return RuleTest(at=head.at, end=cursor.end, hit=hit, values=tuple(values), lists=tuple(lists))


def _given_value(cursor: Cursor) -> GivenValue:
    token = cursor.token
    # ``amount:1,`` has a lone colon; ``:amount: 1`` is what people write after a rule.
    if token.kind not in (TokenKind.NAME, TokenKind.ATTRIBUTE):
        raise cursor.refused(f"expected the name of a field or feature, found {cursor.found()}")
    cursor.take()
    if token.kind is TokenKind.NAME:
        cursor.expect(":", f"after {token.text}")
    if cursor.accept("null"):
        return GivenValue(at=token.at, end=token.end, name=token.text, value=None)
    value = parse_literal(cursor)
    return GivenValue(at=token.at, end=value.end, name=token.text, value=value)


def _given_list(cursor: Cursor) -> GivenList:
    token = cursor.take()
    cursor.expect(":", f"after @{token.text}")
    cursor.expect("(", "and the entries of the list")
    entries: list[str] = []
    while not cursor.token.is_symbol(")"):
        entries.append(cursor.expect_kind(TokenKind.STRING, "an entry of the list, a string").text)
        if cursor.accept(",") is None:
            break
    cursor.expect(")", "after the last entry")
    return GivenList(at=token.at, end=cursor.end, name=token.text, entries=tuple(entries))
