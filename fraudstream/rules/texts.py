"""
Texts of many rows at once: each distinct one is kept once where that pays, and asked once.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]
#: Whether each of some texts fits; None is missing.
Answer = Callable[[list[str | None]], Bools]

#: Dictionaries up to this size are asked whole, at the first question; of larger ones only what the rows at hand need.
_ASKED_WHOLE = 1024
_NOT_ASKED = 2


def bools(answers: Iterable[bool]) -> Bools:
    """
    Return truths of Python as an array.
    """
    return np.frombuffer(bytes(answers), np.bool_)


class Words:
    """
    The distinct texts of a column that is read in many batches, with every answer that was ever asked of them.

    Args:
        values: Each once, None where missing.
        distinct: Whether none stands twice, so that a text can be looked up.
    """

    __slots__ = ("_answers", "_index", "_made", "_values", "distinct", "size")

    def __init__(self, values: Sequence[str | None], *, distinct: bool = True) -> None:
        self.size = len(values)
        self.distinct = distinct
        self._answers: dict[Hashable, NDArray[np.uint8]] = {}
        self._made: dict[Hashable, Any] = {}
        self._index: dict[str | None, int] | None = None
        self._values = list(values)

    @property
    def values(self) -> list[str | None]:
        """
        Every text.
        """
        return self._values

    def pick(self, codes: Codes) -> list[str | None]:
        """
        Return the texts of some codes.
        """
        values = self.values
        return [values[code] for code in codes.tolist()]

    def ask(self, key: Hashable, codes: Codes, answer: Answer) -> Bools:
        """
        Return the answer for each code; a text that was asked for the same key in an earlier batch is not asked again.
        """
        known = self._answers.get(key)
        if known is None:
            whole = self.size <= _ASKED_WHOLE
            known = answer(self.values).astype(np.uint8) if whole else np.full(self.size, _NOT_ASKED, np.uint8)
            self._answers[key] = known
        found = known.take(codes)
        if self.size > _ASKED_WHOLE and (unasked := found == _NOT_ASKED).any():
            # A text that stands in several of these rows is asked several times: cheaper than to sort them out.
            fresh = codes[unasked]
            known[fresh] = answer(self.pick(fresh))
            found = known.take(codes)
        return found.view(np.bool_)

    def ask_in(self, members: frozenset[str], codes: Codes) -> Bools:
        """
        Return for each code whether its text is one of many.
        """
        return self.ask(members.__contains__, codes, lambda values: bools(map(members.__contains__, values)))

    def known(self, codes: Codes) -> Bools:
        """
        Return which codes stand for a text.
        """
        return self.ask(_is_known, codes, lambda values: bools(map(_is_known, values)))

    def code(self, wanted: str | None) -> int | None:
        """
        Return the code of a text; None where no row holds it.
        """
        if self._index is None:
            self._index = {value: code for code, value in enumerate(self.values)}
        return self._index.get(wanted)

    def once(self, key: Hashable, make: Callable[[list[str | None]], Any]) -> Any:
        """
        Return what is made of all texts, made once for each key.
        """
        if key not in self._made:
            self._made[key] = make(self.values)
        return self._made[key]


class Texts:
    """
    The texts of a batch: ``values`` are the rows (None where missing) or, with ``codes``, the distinct ones and where each row
    finds its own. With ``words`` the distinct ones are shared with other batches.
    """

    __slots__ = ("_index", "_known", "_values", "codes", "words")

    def __init__(
        self, values: list[str | None] | None, codes: NDArray[np.integer[Any]] | None = None, words: Words | None = None
    ) -> None:
        self._values = values
        self.codes = codes
        self.words = words
        self._known: Bools | None = None
        self._index: dict[str | None, int] | None = None

    @classmethod
    def coded(cls, rows: list[str | None]) -> "Texts":
        """
        Keep each distinct value once.
        """
        index = {value: code for code, value in enumerate(set(rows))}
        found = [index[value] for value in rows]
        # A row of bytes is the quickest way from Python numbers to an array.
        codes = np.frombuffer(bytes(found), np.uint8) if len(index) <= 256 else np.array(found, np.intp)
        texts = cls(list(index), codes)
        texts._index = index
        return texts

    @property
    def values(self) -> list[str | None]:
        """
        The rows, or the distinct values.
        """
        if self._values is None:
            assert self.words is not None, "texts have values of their own, or share them"
            self._values = self.words.values
        return self._values

    def spread(self, answers: NDArray[Any]) -> NDArray[Any]:
        """
        Return one answer per row from one answer per value.
        """
        return answers if self.codes is None else answers[self.codes]

    def ask(self, test: Callable[[str | None], bool]) -> Bools:
        """
        Return the answer of a test for each row, asked once for each value.
        """
        if self.words is not None and self.codes is not None:
            return self.words.ask(test, self.codes, lambda values: bools(map(test, values)))
        return self.spread(bools(map(test, self.values)))

    def ask_in(self, members: frozenset[str]) -> Bools:
        """
        Return which rows hold one of many texts.
        """
        if self.words is not None and self.codes is not None:
            return self.words.ask_in(members, self.codes)
        return self.spread(bools(map(members.__contains__, self.values)))

    def ask_all(self, key: Hashable, answer: Answer) -> Bools:
        """
        Return the answer for each row of a question that takes many texts at once; equal keys must mean equal questions.
        """
        if self.words is not None and self.codes is not None:
            return self.words.ask(key, self.codes, answer)
        return self.spread(answer(self.values))

    def known(self) -> Bools:
        """
        Return which rows have a text.
        """
        if self._known is None:
            if self.words is not None and self.codes is not None:
                self._known = self.words.known(self.codes)
            else:
                self._known = self.ask(_is_known)
        return self._known

    def rows(self) -> list[str | None]:
        """
        Return one text per row.
        """
        if self.codes is None:
            return self.values
        if self.words is not None:
            return self.words.pick(self.codes)
        return [self.values[code] for code in self.codes.tolist()]

    def at(self, rows: NDArray[np.intp]) -> "Texts":
        """
        Return the texts of some rows.
        """
        if self.codes is None:
            values = self.values
            return Texts([values[row] for row in rows.tolist()])
        return Texts(self._values, self.codes[rows], self.words)

    def equal_to(self, wanted: str) -> Bools:
        """
        Return which rows hold exactly this text.
        """
        if self.words is not None and self.codes is not None:
            if not self.words.distinct:
                return self.words.ask(("=", wanted), self.codes, lambda values: bools([value == wanted for value in values]))
            return _equal(self.codes, self.words.code(wanted))
        if self._index is not None and self.codes is not None:
            return _equal(self.codes, self._index.get(wanted))
        return self.spread(bools([value == wanted for value in self.values]))

    def changed(self, change: Callable[[str], str | None]) -> "Texts":
        """
        Return what becomes of each text; missing stays missing.
        """
        if self.words is not None:
            words = self.words.once(("changed", change), lambda values: Words(_changed(values, change), distinct=False))
            return Texts(None, self.codes, words)
        return Texts(_changed(self.values, change), self.codes)

    def lengths(self) -> NDArray[np.float64]:
        """
        Return the characters of each text, NaN where it is missing.
        """
        lengths = _lengths(self.values) if self.words is None else self.words.once("lengths", _lengths)
        return self.spread(lengths)


def _is_known(value: str | None) -> bool:
    return value is not None


def _equal(codes: Codes, code: int | None) -> Bools:
    return np.zeros(len(codes), np.bool_) if code is None else np.equal(codes, code)


def _changed(values: list[str | None], change: Callable[[str], str | None]) -> list[str | None]:
    return [None if value is None else change(value) for value in values]


def _lengths(values: list[str | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else len(value) for value in values], np.float64)
