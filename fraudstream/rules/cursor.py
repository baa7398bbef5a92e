"""
A place in a row of tokens, and the ways to move it on.
"""

from collections.abc import Sequence

from fraudstream.rules.lexer import Token, TokenKind
from fraudstream.rules.problems import Problem, Refused, did_you_mean


class Cursor:
    """
    Reads tokens one after the other; what does not fit ends the statement with ``Refused``.
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def token(self) -> Token:
        """
        The token in hand.
        """
        return self._tokens[self._at]

    @property
    def next(self) -> Token:
        """
        The token behind the one in hand.
        """
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    @property
    def end(self) -> int:
        """
        Where the last token that was taken ends.
        """
        return self._tokens[self._at - 1].end if self._at else 0

    def take(self) -> Token:
        """
        Return the token in hand and go on; the END is never left behind.
        """
        token = self._tokens[self._at]
        if token.kind is not TokenKind.END:
            self._at += 1
        return token

    def accept(self, *texts: str) -> Token | None:
        """
        Take the token if it is one of these words or symbols.
        """
        token = self.token
        if token.kind in (TokenKind.NAME, TokenKind.SYMBOL) and token.text in texts:
            return self.take()
        return None

    def expect(self, text: str, why: str) -> Token:
        """
        Take this very word or symbol.

        Raises:
            Refused: Something else stands here.
        """
        token = self.accept(text)
        if token is None:
            raise self.refused(f"expected {text!r} {why}, found {self.found()}", (text,))
        return token

    def expect_kind(self, kind: TokenKind, what: str) -> Token:
        """
        Take a token of this kind.

        Raises:
            Refused: Something else stands here.
        """
        if self.token.kind is not kind:
            raise self.refused(f"expected {what}, found {self.found()}")
        return self.take()

    def found(self) -> str:
        """
        Say in words what stands here.
        """
        token = self.token
        shown = {TokenKind.END: "the end of the file", TokenKind.STRING: "a string", TokenKind.ATTRIBUTE: f":{token.text}:"}
        return shown.get(token.kind, repr(token.text))

    def refused(self, message: str, known: Sequence[str] = (), hint: str = "") -> Refused:
        """
        Return the error that ends a statement at the token in hand; its hint is the nearest of the known words, or ``hint``.
        """
        token = self.token
        near = did_you_mean(token.text, known) if token.kind is TokenKind.NAME else ""
        return self.refused_at(token.at, token.end, message, near or hint)

    def refused_at(self, at: int, end: int, message: str, hint: str = "") -> Refused:
        """
        Return the error that ends a statement because of something already read.
        """
        return Refused(Problem(at, max(1, end - at), message, hint))
