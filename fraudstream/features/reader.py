"""
A place in a list of tokens: what the parser looks at, takes, and refuses.
"""

from fraudstream.features.lexer import Problem, Token
from fraudstream.features.syntax import Span


class Refused(Exception):
    """
    The statement cannot be read further.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


class Reader:
    """
    Goes through tokens one by one; problems that do not end the statement are noted in the list that it is given.
    """

    def __init__(self, found: list[Token], problems: list[Problem]) -> None:
        self._tokens = found
        self._next = 0
        self._problems = problems

    @property
    def token(self) -> Token:
        """
        The token in hand.
        """
        return self._tokens[self._next]

    @property
    def following(self) -> Token:
        """
        The token after the one in hand; the end follows itself.
        """
        return self._tokens[min(self._next + 1, len(self._tokens) - 1)]

    @property
    def previous(self) -> Token:
        """
        The token that was taken last.
        """
        return self._tokens[self._next - 1]

    def advance(self) -> Token:
        """
        Take the token in hand; the end stays in hand.
        """
        token = self.token
        if token.kind != "end":
            self._next += 1
        return token

    def sees(self, *texts: str) -> bool:
        """
        Say whether the token in hand is one of these words or symbols.
        """
        return self.token.kind in {"name", "symbol"} and self.token.text in texts

    def accept(self, *texts: str) -> bool:
        """
        Take the token in hand if it is one of these.
        """
        if not self.sees(*texts):
            return False
        self.advance()
        return True

    def expect(self, text: str, remedy: str) -> Token:
        """
        Take this word or symbol.

        Raises:
            Refused: Something else stands here.
        """
        if not self.sees(text):
            raise self.refuse(f"expected '{text}', found {self.shown()}", remedy)
        return self.advance()

    def expect_kind(self, kind: str, what: str, remedy: str) -> Token:
        """
        Take a token of this kind.

        Raises:
            Refused: Something else stands here.
        """
        if self.token.kind != kind:
            raise self.refuse(f"expected {what}, found {self.shown()}", remedy)
        return self.advance()

    def shown(self) -> str:
        """
        Return the token in hand as a message names it.
        """
        return self.token.text if self.token.kind in {"end", "text"} else f"'{self.token.text}'"

    def refuse(self, what: str, remedy: str) -> Refused:
        """
        Return the error that says what is wrong with the token in hand.
        """
        return Refused(Problem(self.token.at, what, remedy))

    def report(self, at: Span, what: str, remedy: str) -> None:
        """
        Note a problem and go on.
        """
        self._problems.append(Problem(at, what, remedy))
