"""
The evaluator of the road: conditions over a whole batch, as two bitmaps (is true, is false), shared between all rules.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import reduce
from operator import or_
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.steps import Steps
from fraudstream.rules.columns import Batch, Floats, Mask
from fraudstream.rules.lists import ListContents, Networks, email_domain, read_network
from fraudstream.rules.masks import COMPARE, OPPOSITE, Masks, Shared, Thresholds, all_of, any_of, remembered
from fraudstream.rules.matching import text_test
from fraudstream.rules.plan import (
    Always,
    And,
    Calculation,
    Compare,
    Constant,
    Feature,
    InNetworks,
    Major,
    Missing,
    MoneyConstant,
    Not,
    Number,
    NumberCall,
    NumberField,
    NumberIn,
    Or,
    Plan,
    Text,
    TextCall,
    TextConstant,
    TextEquals,
    TextField,
    TextIn,
    TextLength,
    TextListed,
    TextMatches,
    Truth,
    cost,
)
from fraudstream.rules.texts import Texts
from fraudstream.rules.vector_numbers import CALCULATIONS, CALLS

Numbers = Callable[[Batch], Floats]
TextsOf = Callable[[Batch], Texts]


class Condition:
    """
    One condition ready to run: where it is true, and, only if somebody asked for it, where it is unknown.
    """

    __slots__ = ("truth", "unknown")

    def __init__(self, truth: Masks, falsity: Masks | None) -> None:
        self.truth = truth
        self.unknown: Masks | None = None if falsity is None else lambda batch: ~(truth(batch) | falsity(batch))


def build(conditions: Iterable[tuple[Truth, bool]]) -> Steps[tuple[list[Condition], int]]:
    """
    Return the conditions ready to run over one batch, and how many memo slots a batch needs.

    What occurs more than once, in one rule or in several, is computed once per batch. Lists and rates come with the batch.

    Args:
        conditions: Each with whether it must also tell false from unknown.
    """
    wanted = list(conditions)
    trial = _Builder(Counter())
    for condition, doubtful in wanted:
        trial.condition(condition, doubtful=doubtful)
        yield
    builder, built = _Builder(trial.asked), list[Condition]()
    for condition, doubtful in wanted:
        built.append(builder.condition(condition, doubtful=doubtful))
        yield
    return built, builder.slots


class _Builder:
    """
    Builds one function per node. ``asked`` counts who wants which node, so that a second run knows what to remember.
    """

    def __init__(self, counts: Counter[tuple[str, Plan]]) -> None:
        self._counts = counts
        self._built: dict[tuple[str, Plan], Callable[[Batch], Any]] = {}
        self.asked: Counter[tuple[str, Plan]] = Counter()
        self.slots = 0
        self._thresholds: dict[str, Thresholds] = {}
        self._values: dict[tuple[str, Number], Shared] = {}

    def condition(self, node: Truth, *, doubtful: bool) -> Condition:
        return Condition(self.truth(node), self.falsity(node) if doubtful else None)

    def truth(self, node: Truth) -> Masks:
        return self._shared("true", node, lambda: self._truth(node))

    def falsity(self, node: Truth) -> Masks:
        return self._shared("false", node, lambda: self._falsity(node))

    def number(self, node: Number) -> Numbers:
        return self._shared("number", node, lambda: self._number(node))

    def text(self, node: Text) -> TextsOf:
        return self._shared("text", node, lambda: self._text(node))

    def _shared(self, role: str, node: Plan, make: Callable[[], Callable[[Batch], Any]]) -> Callable[[Batch], Any]:
        key = (role, node)
        self.asked[key] += 1
        built = self._built.get(key)
        if built is None:
            built = make()
            if self._counts[key] > 1 and not _at_hand(node):
                built = remembered(built, self.slots)
                self.slots += 1
            self._built[key] = built
        return built

    def _truth(self, node: Truth) -> Masks:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of condition
        match node:
            case Always():
                answer = np.bool_(node.value)
                return lambda _: answer
            case Compare():
                return self._compare(node.op, node)
            case NumberIn():
                return self._number_in(node)
            case TextEquals():
                return self._text_equals(node)
            case TextIn():
                return self._per_text(node.value, frozenset(node.members).__contains__)
            case TextListed():
                return self._listed(node)
            case TextMatches():
                return self._per_text(node.value, _known_only(text_test(node.op, node.pattern)))
            case InNetworks():
                return self._in_networks(node, inside=True)
            case Missing():
                return self._missing(node)
            case Not():
                return self.falsity(node.operand)
            case And():
                return all_of([(self.truth(term), cost(term)) for term in node.operands])
            case Or():
                return any_of([self.truth(term) for term in node.operands])
            case _:
                assert_never(node)

    def _falsity(self, node: Truth) -> Masks:  # noqa: C901, PLR0911 - one case for each kind of condition
        match node:
            case Always():
                answer = np.bool_(not node.value)
                return lambda _: answer
            case Compare():
                return self._compare(OPPOSITE[node.op], node)
            case NumberIn():
                truth, value = self.truth(node), self.number(node.value)
                return lambda batch: ~(truth(batch) | np.isnan(value(batch)))
            case InNetworks():
                return self._in_networks(node, inside=False)
            case TextEquals():
                truth, left, right = self.truth(node), self.text(node.left), self.text(node.right)
                return lambda batch: left(batch).known() & right(batch).known() & ~truth(batch)
            case TextIn() | TextListed() | TextMatches():
                truth, texts = self.truth(node), self.text(node.value)
                return lambda batch: texts(batch).known() & ~truth(batch)
            case Missing():
                truth = self.truth(node)
                return lambda batch: ~truth(batch)
            case Not():
                return self.truth(node.operand)
            case And():
                return any_of([self.falsity(term) for term in node.operands])
            case Or():
                return all_of([(self.falsity(term), cost(term)) for term in node.operands])
            case _:
                assert_never(node)

    def _compare(self, op: str, node: Compare) -> Masks:
        if isinstance(node.left, Feature) and isinstance(node.right, Constant):
            return self._threshold(op, node.left.column, node.right.value)
        if isinstance(node.right, Constant) and not isinstance(node.left, Constant):
            return self._shared_threshold(op, node.left, node.right.value)
        compare, left, right = COMPARE[op], self.number(node.left), self.number(node.right)
        return lambda batch: compare(left(batch), right(batch))

    def _threshold(self, op: str, column: int, threshold: float) -> Masks:
        if op not in self._thresholds:
            self._thresholds[op] = Thresholds(op, self.slots)
            self.slots += 1
        return self._thresholds[op].add(column, threshold)

    def _shared_threshold(self, op: str, value: Number, threshold: float) -> Masks:
        computed, key = self.number(value), (op, value)
        if key not in self._values:
            self._values[key] = Shared(op, computed, self.slots)
            self.slots += 1
        return self._values[key].add(threshold)

    def _number_in(self, node: NumberIn) -> Masks:
        value, members = self.number(node.value), node.members
        return lambda batch: reduce(or_, [np.equal(value(batch), member) for member in members])

    def _text_equals(self, node: TextEquals) -> Masks:
        left, right = node.left, node.right
        if isinstance(left, TextConstant):
            left, right = right, left
        texts = self.text(left)
        if isinstance(right, TextConstant):
            wanted = right.value
            return lambda batch: texts(batch).equal_to(wanted)
        others = self.text(right)

        def equal(batch: Batch) -> Mask:
            pairs = zip(texts(batch).rows(), others(batch).rows(), strict=True)
            return np.array([one is not None and one == other for one, other in pairs], np.bool_)

        return equal

    def _per_text(self, value: Text, test: Callable[[Any], bool]) -> Masks:
        texts = self.text(value)

        return lambda batch: texts(batch).ask(test)

    def _listed(self, node: TextListed) -> Masks:
        texts, name = self.text(node.value), node.name

        def listed(batch: Batch) -> Mask:
            contents, column = batch.lists[name], texts(batch)
            if contents.plain:
                return column.ask_in(contents.exact)
            held = column.ask_all((contents, "holds"), contents.holds)
            if contents.timed and (rows := held.nonzero()[0]).size:
                held[rows] = contents.holds(column.at(rows).rows(), batch.number("timestamp")[rows])
            return held

        return listed

    def _in_networks(self, node: InNetworks, *, inside: bool) -> Masks:
        if node.name:
            return self._in_list_of_networks(node, inside=inside)
        networks = Networks(network for text in node.networks if (network := read_network(text)))
        return self._per_text(node.value, _known_only(lambda text: networks.contains(text) is inside))

    def _in_list_of_networks(self, node: InNetworks, *, inside: bool) -> Masks:
        texts, name = self.text(node.value), node.name

        def in_networks(batch: Batch) -> Mask:
            contents, column = batch.lists[name], texts(batch)
            if contents.timed:
                found, addresses = contents.in_networks(column.rows(), batch.number("timestamp"))
                return found if inside else addresses & ~found
            return column.ask_all((contents, inside), lambda values: _networks(contents, values, inside=inside))

        return in_networks

    def _missing(self, node: Missing) -> Masks:
        if isinstance(node.operand, TextConstant | TextField | TextCall):
            texts = self.text(node.operand)
            return lambda batch: ~texts(batch).known()
        value = self.number(node.operand)
        return lambda batch: np.isnan(value(batch))

    def _number(self, node: Number) -> Numbers:  # noqa: PLR0911 - one case for each kind of number
        match node:
            case Constant():
                constant = np.float64(node.value)
                return lambda _: constant
            case MoneyConstant():
                minor, currency = node.minor, node.currency
                return lambda batch: batch.money(minor, currency)
            case NumberField():
                name = node.name
                return lambda batch: batch.number(name)
            case Feature():
                column = node.column
                return lambda batch: batch.feature(column)
            case Major():
                operand = self.number(node.operand)
                return lambda batch: operand(batch) / batch.scale()
            case Calculation():
                calculate, left, right = CALCULATIONS[node.op], self.number(node.left), self.number(node.right)
                return lambda batch: calculate(left(batch), right(batch))
            case NumberCall():
                call, arguments = CALLS[node.function], [self.number(argument) for argument in node.arguments]
                return lambda batch: call(batch, [argument(batch) for argument in arguments])
            case TextLength():
                texts = self.text(node.operand)
                return lambda batch: texts(batch).lengths()
            case _:
                assert_never(node)

    def _text(self, node: Text) -> TextsOf:
        match node:
            case TextConstant():
                value = node.value
                return lambda batch: Texts([value], np.zeros(batch.size, np.intp))
            case TextField():
                name = node.name
                return lambda batch: batch.text(name)
            case TextCall(function="coalesce"):
                choices = [self.text(argument) for argument in node.arguments]
                return lambda batch: _first_known([choice(batch) for choice in choices])
            case TextCall():
                change: Callable[[str], str | None] = str.lower if node.function == "lower" else email_domain
                texts = self.text(node.arguments[0])
                return lambda batch: texts(batch).changed(change)
            case _:
                assert_never(node)


def _at_hand(node: Plan) -> bool:
    """
    Say whether the batch itself remembers the answer.
    """
    if isinstance(node, Compare):
        return isinstance(node.left, Feature) and isinstance(node.right, Constant)
    return isinstance(node, Feature | NumberField | TextField | Constant)


def _known_only(test: Callable[[str], bool]) -> Callable[[str | None], bool]:
    return lambda text: text is not None and test(text)


def _networks(contents: ListContents, values: list[str | None], *, inside: bool) -> NDArray[np.bool_]:
    found, addresses = contents.in_networks(values)
    return found if inside else addresses & ~found


def _first_known(choices: list[Texts]) -> Texts:
    rows = zip(*(choice.rows() for choice in choices), strict=True)
    return Texts([next((text for text in row if text is not None), None) for row in rows])
