"""
From characters to tokens. No regular expressions: one pass, linear in the length of the source.
"""

from enum import StrEnum

import msgspec

from fraudstream.domain.steps import Steps, at_once
from fraudstream.rules.problems import Problem, Problems

#: Longest string literal, in bytes of UTF-8.
MAX_STRING_BYTES = 256
#: Longest number literal, in characters; the largest amount has thirteen digits.
MAX_NUMBER_CHARACTERS = 32
#: Tokens of one step.
_TOKENS_AT_ONCE = 32

_DIGITS = frozenset("0123456789")
_NAME_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NAME = _NAME_START | _DIGITS
_DATE = _DIGITS | frozenset("-:TZ+.")
_PAIRS = ("!=", "<=", ">=")
_SINGLES = frozenset("=<>+-*/(),{}:%")
_HINTS = {"==": "write a single =", "&&": "write and", "||": "write or", "<>": "write !="}


class TokenKind(StrEnum):
    """
    What a token is.
    """

    NUMBER = "number"
    STRING = "string"
    DATE = "date"
    NAME = "name"
    ATTRIBUTE = "attribute"
    LIST = "list"
    SYMBOL = "symbol"
    END = "end of file"


class Token(msgspec.Struct, frozen=True, gc=False):
    """
    One word of the source. ``text`` is its value (a string without quotes, an attribute without colons); ``at`` and ``end``
    are its place in the source; ``unit`` is what stands right behind a number, as in ``5m``.
    """

    kind: TokenKind
    text: str
    at: int
    end: int
    unit: str = ""

    def is_symbol(self, text: str) -> bool:
        """
        Say whether this is that operator or bracket.
        """
        return self.kind is TokenKind.SYMBOL and self.text == text

    def is_name(self, *texts: str) -> bool:
        """
        Say whether this is one of those words.
        """
        return self.kind is TokenKind.NAME and self.text in texts


def tokenise(text: str, problems: Problems) -> list[Token]:
    """
    Return the tokens of a source, an END last. Comments and layout carry no meaning.

    A character that starts no token is noted in ``problems`` and skipped.
    """
    return at_once(tokens_of(text, problems))


def tokens_of(text: str, problems: Problems) -> Steps[list[Token]]:
    """
    Do the same in steps.
    """
    return _Lexer(text, problems).run()


class _Lexer:
    def __init__(self, text: str, problems: Problems) -> None:
        self._text = text
        self._problems = problems
        self._at = 0

    def run(self) -> Steps[list[Token]]:
        tokens: list[Token] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            if character in " \t\r\n":
                self._at += 1
            elif character == "#":
                end = self._text.find("\n", self._at)
                self._at = end if end >= 0 else len(self._text)
            else:
                token = self._token(character)
                if token is not None:
                    tokens.append(token)
                    self._at = token.end
                    if len(tokens) % _TOKENS_AT_ONCE == 0:
                        yield
        tokens.append(Token(TokenKind.END, "", len(self._text), len(self._text)))
        return tokens

    def _token(self, character: str) -> Token | None:
        if character in _DIGITS:
            return self._number()
        if character in _NAME_START:
            end = self._while(self._at, _NAME)
            return self._make(TokenKind.NAME, self._text[self._at : end], end)
        if character in "\"'":
            return self._string(character)
        if character == "@":
            return self._list()
        if character == ":":
            return self._attribute()
        return self._symbol(character)

    def _make(self, kind: TokenKind, text: str, end: int, unit: str = "") -> Token:
        return Token(kind, text, self._at, end, unit)

    def _while(self, at: int, allowed: frozenset[str]) -> int:
        while at < len(self._text) and self._text[at] in allowed:
            at += 1
        return at

    def _number(self) -> Token:
        if self._is_date():
            end = self._while(self._at, _DATE)
            return self._make(TokenKind.DATE, self._text[self._at : end], end)
        end = self._while(self._at, _DIGITS)
        if self._text[end : end + 1] == "." and self._text[end + 1 : end + 2] in _DIGITS:
            end = self._while(end + 1, _DIGITS)
        digits = self._text[self._at : end]
        if len(digits) > MAX_NUMBER_CHARACTERS:
            self._note(end - self._at, f"a number has at most {MAX_NUMBER_CHARACTERS} characters")
            digits = "0"
        unit_end = end + 1 if self._text[end : end + 1] == "%" else self._while(end, _NAME)
        return self._make(TokenKind.NUMBER, digits, unit_end, self._text[end:unit_end])

    def _is_date(self) -> bool:
        shape = self._text[self._at : self._at + 10]
        digits = shape[:4] + shape[5:7] + shape[8:]
        return len(shape) == 10 and shape[4] == shape[7] == "-" and all(character in _DIGITS for character in digits)

    def _string(self, quote: str) -> Token | None:
        parts: list[str] = []
        at = self._at + 1
        while at < len(self._text) and self._text[at] not in (quote, "\n"):
            # A backslash before anything else stays: LIKE reads \% and \_ itself.
            if self._text[at] == "\\" and self._text[at + 1 : at + 2] in (quote, "\\"):
                at += 1
            parts.append(self._text[at])
            at += 1
        if self._text[at : at + 1] != quote:
            self._note(at - self._at, "this string has no end on its line", f"close it with {quote}")
            self._at = at
            return None
        value = "".join(parts)
        if len(value.encode(errors="surrogatepass")) > MAX_STRING_BYTES:
            self._note(at + 1 - self._at, f"a string has at most {MAX_STRING_BYTES} bytes")
        return self._make(TokenKind.STRING, value, at + 1)

    def _list(self) -> Token | None:
        end = self._while(self._at + 1, _NAME)
        if end == self._at + 1:
            self._note(1, "the name of a list must follow @")
            self._at = end
            return None
        return self._make(TokenKind.LIST, self._text[self._at + 1 : end], end)

    def _attribute(self) -> Token:
        end = self._while(self._at + 1, _NAME | {"."})
        name = self._text[self._at + 1 : end]
        if name and name[0] in _NAME_START and self._text[end : end + 1] == ":":
            return self._make(TokenKind.ATTRIBUTE, name, end + 1)
        return self._make(TokenKind.SYMBOL, ":", self._at + 1)

    def _symbol(self, character: str) -> Token | None:
        pair = self._text[self._at : self._at + 2]
        if pair in _HINTS:
            self._note(2, f"there is no operator {pair}", _HINTS[pair])
            self._at += 2
            return None
        if pair in _PAIRS:
            return self._make(TokenKind.SYMBOL, pair, self._at + 2)
        if character in _SINGLES:
            return self._make(TokenKind.SYMBOL, character, self._at + 1)
        self._note(1, f"the character {character!r} has no meaning here")
        self._at += 1
        return None

    def _note(self, length: int, message: str, hint: str = "") -> None:
        self._problems.add(Problem(self._at, length, message, hint))
