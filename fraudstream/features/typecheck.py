"""
Types of expressions: number, text, truth, time; and of what is known of past transactions: outcome, label.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fraudstream.domain.transaction import NUMBER_FIELDS
from fraudstream.features.catalogue import FIELDS, FUNCTIONS, LABELS, OUTCOMES, PAST_NUMBERS, TEXT_FIELDS
from fraudstream.features.lexer import Problem
from fraudstream.features.syntax import Binary, Call, Expression, FeatureRef, Field, Number, Text, Unary
from fraudstream.features.words import word

_ORDER = ("<", "<=", ">", ">=")
#: Words that a past transaction can be asked for beside its fields.
KNOWN_SINCE: Mapping[str, Mapping[str, int]] = {"outcome": OUTCOMES, "label": LABELS}


@dataclass(frozen=True, slots=True)
class Scope:
    """
    What an expression may name: the features already checked, by type, and in the ``past`` the fields of a past transaction.
    """

    features: Mapping[str, str]
    past: bool = False


def typed(node: Expression, scope: Scope, problems: list[Problem]) -> tuple[Expression, str]:  # noqa: PLR0911
    """
    Return the node with every word coded, and its type; ``any`` after a problem, so that one mistake is told once.
    """
    match node:
        case Number():
            return node, "number"
        case Text(value):
            return replace(node, code=word(value)), "text"
        case Field():
            return node, _field(node, scope, problems)
        case FeatureRef(name):
            return node, scope.features.get(name, "any")
        case Call():
            return _call(node, scope, problems)
        case Unary(operator, operand):
            inner, kind = typed(operand, scope, problems)
            wanted = "truth" if operator == "not" else "number"
            return replace(node, operand=inner), _demand(inner, kind, wanted, problems)
        case Binary():
            return _binary(node, scope, problems)


def _field(node: Field, scope: Scope, problems: list[Problem]) -> str:
    name = node.name
    past = scope.past and not node.current
    if past and name in KNOWN_SINCE:
        return name
    if node.current and not scope.past:
        problems.append(Problem(node.at, "'current.' is for conditions on past transactions", f"write: {name}"))
    elif name not in FIELDS:
        problems.append(_unknown(node, scope))
    elif past and name in NUMBER_FIELDS and name not in PAST_NUMBERS:
        problems.append(
            Problem(
                node.at,
                f"records of the past do not keep '{name}'",
                f"they keep {', '.join((*PAST_NUMBERS, 'timestamp', *TEXT_FIELDS))}",
            )
        )
    else:
        return "time" if name == "timestamp" else "number" if name in NUMBER_FIELDS else "text"
    return "any"


def _unknown(node: Field, scope: Scope) -> Problem:
    if node.name in KNOWN_SINCE:
        return Problem(node.at, f"'{node.name}' is known of past transactions only", "use it in the 'where' of an aggregate")
    known = [*FIELDS, *scope.features, *(KNOWN_SINCE if scope.past else ())]
    close = difflib.get_close_matches(node.name, known, n=1, cutoff=0.7)
    remedy = f"did you mean '{close[0]}'?" if close else f"fields are: {', '.join(FIELDS)}"
    return Problem(node.at, f"unknown field or feature '{node.name}'", remedy)


def _demand(node: Expression, kind: str, wanted: str, problems: list[Problem]) -> str:
    if kind in (wanted, "any"):
        return wanted
    problems.append(Problem(node.at, f"this is a {kind} where a {wanted} is needed", _REMEDIES[wanted]))
    return "any"


_REMEDIES = {
    "truth": "compare it with something, for example: > 0",
    "number": "use a field or feature that is a number",
    "time": "use: timestamp",
    "text": "use a field that holds a word, or a text in quotes",
}


def _call(node: Call, scope: Scope, problems: list[Problem]) -> tuple[Expression, str]:
    if node.name not in FUNCTIONS:
        close = difflib.get_close_matches(node.name, FUNCTIONS, n=1, cutoff=0.7)
        remedy = f"did you mean '{close[0]}'?" if close else f"functions are: {', '.join(FUNCTIONS)}"
        problems.append(Problem(node.at, f"unknown function '{node.name}'", remedy))
        return node, "any"
    wanted, answer = FUNCTIONS[node.name]
    repeats = wanted[-1] == "..."
    least = len(wanted) - 1 if repeats else len(wanted)
    if len(node.arguments) < least or (len(node.arguments) > least and not repeats):
        problems.append(
            Problem(
                node.at,
                f"'{node.name}' takes {least} argument(s){' or more' if repeats else ''}",
                f"it got {len(node.arguments)}",
            )
        )
        return node, "any"
    arguments = []
    for place, argument in enumerate(node.arguments):
        inner, kind = typed(argument, scope, problems)
        arguments.append(inner)
        need = wanted[min(place, least - 1)]
        if need != "any":
            _demand(inner, kind, need, problems)
    return replace(node, arguments=tuple(arguments)), answer


def _binary(node: Binary, scope: Scope, problems: list[Problem]) -> tuple[Expression, str]:
    left, left_kind = typed(node.left, scope, problems)
    right, right_kind = typed(node.right, scope, problems)
    if node.operator in ("and", "or"):
        _demand(left, left_kind, "truth", problems)
        _demand(right, right_kind, "truth", problems)
        return replace(node, left=left, right=right), "truth"
    if node.operator in _ORDER or node.operator in ("+", "-", "*", "/"):
        _demand(left, left_kind, "number", problems)
        _demand(right, right_kind, "number", problems)
        return replace(node, left=left, right=right), "truth" if node.operator in _ORDER else "number"
    left, right = _equal(left, left_kind, right, right_kind, problems)
    return replace(node, left=left, right=right), "truth"


def _equal(
    left: Expression, left_kind: str, right: Expression, right_kind: str, problems: list[Problem]
) -> tuple[Expression, Expression]:
    """
    Check ``=`` and ``!=``: numbers with numbers, texts with texts, outcomes and labels with one of their words.
    """
    for kinds, values in KNOWN_SINCE.items():
        if left_kind == kinds:
            return left, _enumerated(right, kinds, values, problems)
        if right_kind == kinds:
            return _enumerated(left, kinds, values, problems), right
    if left_kind != right_kind and "any" not in (left_kind, right_kind):
        problems.append(Problem(right.at, f"a {left_kind} is compared with a {right_kind}", "both sides must be of one type"))
    elif left_kind in ("truth", "time"):
        problems.append(
            Problem(
                left.at, f"a {left_kind} cannot be compared with =", "use it as it stands, with 'not', or take hour() of a time"
            )
        )
    return left, right


def _enumerated(node: Expression, name: str, values: Mapping[str, int], problems: list[Problem]) -> Expression:
    if isinstance(node, Text) and node.value in values:
        return replace(node, code=values[node.value])
    known: Sequence[str] = list(values)
    problems.append(Problem(node.at, f"'{name}' is never this", f"it is one of: {', '.join(known)}"))
    return node
