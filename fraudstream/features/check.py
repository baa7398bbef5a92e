"""
What is written to what is meant: names resolved, types agreed, entities and windows possible. Reports everything at once.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fraudstream.domain.transaction import ENTITY_FIELDS
from fraudstream.features.catalogue import (
    AGGREGATES,
    FIELDS,
    MAX_DELAY_S,
    MAX_WINDOW_S,
    MIN_WINDOW_S,
    TEXT_FIELDS,
    TRUTH_AGGREGATES,
)
from fraudstream.features.definitions import Entity
from fraudstream.features.lexer import Problem
from fraudstream.features.parse import Document, EntityStatement
from fraudstream.features.syntax import Aggregate, Binary, Call, Expression, FeatureRef, Field, Span, Unary, references
from fraudstream.features.typecheck import KNOWN_SINCE, Scope, typed

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(slots=True)
class Meaning:
    """
    A document that has been understood; ``bodies`` stand in the order of its features, ``order`` lists all
    columns, each after what it refers to, ``buckets`` are (seconds, slots) from the finest.
    """

    entities: list[Entity] = field(default_factory=list)
    buckets: tuple[tuple[int, int], ...] = ()
    bodies: list[Aggregate | Expression] = field(default_factory=list)
    order: list[int] = field(default_factory=list)


def nearest(word: str, known: Iterable[str]) -> str:
    """
    Suggest what may have been meant, or list what there is.
    """
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(names)}"


def check(document: Document) -> Meaning:
    """
    Resolve a document; problems are added to ``document.problems``, and the meaning is only to be used when there are none.
    """
    meaning = Meaning()
    _entities(document, meaning)
    columns = _names(document)
    resolved = [_resolved(statement.body, columns) for statement in document.features]
    order = _ordered(document, resolved, columns)
    kinds: dict[str, str] = {}
    bodies: dict[int, Aggregate | Expression] = {}
    meaning.order = order
    for column in order:
        statement, body = document.features[column], resolved[column]
        if isinstance(body, Aggregate):
            bodies[column] = _aggregate(body, document, meaning, kinds)
            kinds[statement.name] = "truth" if body.function in TRUTH_AGGREGATES else "number"
            continue
        bodies[column], kind = typed(body, Scope(kinds), document.problems)
        kinds[statement.name] = kind
        if kind not in ("number", "truth", "any"):
            document.problems.append(
                Problem(
                    body.at,
                    f"a feature is a number, and this is a {kind}",
                    "compare it, or take hour(), minute() or weekday() of it",
                )
            )
    meaning.bodies = [bodies[column] for column in sorted(bodies)]
    return meaning


def _entities(document: Document, meaning: Meaning) -> None:
    for statement in document.entities:
        fields = statement.fields or (ENTITY_FIELDS.get(statement.kind, ""),)
        problem = _entity_problem(statement, fields, meaning.entities)
        if problem is None and statement.buckets is not None:
            problem = _buckets_problem(statement, statement.buckets, meaning)
        if problem is not None:
            document.problems.append(problem)
            continue
        meaning.entities.append(Entity(statement.kind, fields, log=statement.buckets is None))


def _entity_problem(statement: EntityStatement, fields: tuple[str, ...], known: Sequence[Entity]) -> Problem | None:
    at = statement.at
    if not _NAME.fullmatch(statement.kind):
        return Problem(at, f"'{statement.kind}' is no name for an entity", "use small letters, digits and underscores")
    if fields == ("",):
        example = f"entity {statement.kind} by FIELD log"
        return Problem(
            at,
            f"entity '{statement.kind}' does not say which field names it",
            f"write: {example}; {nearest(statement.kind, ENTITY_FIELDS)}",
        )
    if len(fields) > 2 or len(set(fields)) != len(fields):
        return Problem(at, "an entity is named by one field or by two different ones", "remove the others")
    for name in fields:
        if name not in TEXT_FIELDS:
            return Problem(at, f"'{name}' cannot name an entity", nearest(name, TEXT_FIELDS))
    if any(statement.kind == entity.kind or fields == entity.fields for entity in known):
        return Problem(at, f"entity '{statement.kind}' or its fields are declared twice", "keep one of the lines")
    return None


def _buckets_problem(statement: EntityStatement, buckets: tuple[tuple[int, int], ...], meaning: Meaning) -> Problem | None:
    if meaning.buckets and meaning.buckets != buckets:
        return Problem(
            statement.at,
            "all entities kept in buckets share one layout, and this one differs",
            "write the same widths and numbers",
        )
    if len({width for width, _ in buckets}) != len(buckets):
        return Problem(statement.at, "two runs of buckets have the same width", "keep the longer one")
    meaning.buckets = buckets
    return None


def _names(document: Document) -> dict[str, int]:
    """
    Return the column of each name, and report names that are taken or malformed.
    """
    columns: dict[str, int] = {}
    for column, statement in enumerate(document.features):
        name = statement.name
        if not _NAME.fullmatch(name):
            document.problems.append(
                Problem(
                    statement.at, f"'{name}' is no name for a feature", "use small letters, digits and underscores, at most 63"
                )
            )
        elif name in FIELDS:
            document.problems.append(
                Problem(
                    statement.at, f"'{name}' is a field of the transaction", f"choose another name, for example {name}_value"
                )
            )
        elif name in columns:
            document.problems.append(
                Problem(statement.at, f"feature '{name}' is defined twice", "rename or remove one of the two")
            )
        columns.setdefault(name, column)
    return columns


def _resolved(body: Aggregate | Expression, columns: Mapping[str, int]) -> Aggregate | Expression:
    """
    Turn names of features, which are read as fields, into references.
    """
    if not isinstance(body, Aggregate):
        return _with_references(body, columns)
    return body if body.where is None else replace(body, where=_with_references(body.where, columns))


def _with_references(node: Expression, columns: Mapping[str, int]) -> Expression:
    match node:
        case Field(name, False) if name not in (*FIELDS, *KNOWN_SINCE) and name in columns:
            return FeatureRef(name, node.at)
        case Call(_, arguments):
            return replace(node, arguments=tuple(_with_references(argument, columns) for argument in arguments))
        case Unary(_, operand):
            return replace(node, operand=_with_references(operand, columns))
        case Binary(_, left, right):
            return replace(node, left=_with_references(left, columns), right=_with_references(right, columns))
        case _:
            return node


def _ordered(document: Document, bodies: Sequence[Aggregate | Expression], columns: Mapping[str, int]) -> list[int]:
    """
    Return all columns such that each comes after those that it refers to; a cycle is reported once.
    """
    done: dict[int, bool] = {}
    order: list[int] = []

    def visit(column: int, at: Span) -> None:
        if column in done:
            if not done[column]:
                name = document.features[column].name
                document.problems.append(
                    Problem(at, f"feature '{name}' is defined by itself", "break the circle of references")
                )
            return
        done[column] = False
        for node in references(bodies[column]):
            visit(columns[node.name], node.at)
        done[column] = True
        order.append(column)

    for column, statement in enumerate(document.features):
        visit(column, statement.at)
    return order


def _aggregate(body: Aggregate, document: Document, meaning: Meaning, kinds: Mapping[str, str]) -> Aggregate:
    """
    Check one aggregate and fill in where its past is kept.
    """
    problems = document.problems
    problems.extend(_argument_problems(body))
    problems.extend(_window_problems(body))
    where = body.where
    if where is not None:
        where, kind = typed(where, Scope(kinds, past=True), problems)
        if kind not in ("truth", "any"):
            problems.append(
                Problem(where.at, f"a condition is true or false, and this is a {kind}", "compare it with something")
            )
    by = tuple(ENTITY_FIELDS.get(name, name) for name in body.by)
    entity, same, problem = _found(body, by, meaning.entities)
    if problem is not None:
        problems.append(problem)
    if entity is None:
        return body
    body = replace(body, by=by, where=where, entity=entity.kind, same=same)
    return body if entity.log else _on_buckets(body, meaning.buckets, problems)


def _argument_problems(body: Aggregate) -> Iterable[Problem]:
    wanted = AGGREGATES[body.function].argument
    if wanted == "" and body.argument:
        yield Problem(body.at, f"'{body.function}' takes nothing in its brackets", f"write: {body.function}()")
    elif wanted == "amount" and body.argument != "amount":
        yield Problem(body.at, f"'{body.function}' looks at amounts only", f"write: {body.function}(amount)")
    elif wanted == "text" and body.argument not in TEXT_FIELDS:
        yield Problem(body.at, f"'{body.function}' cannot look at '{body.argument}'", nearest(body.argument, TEXT_FIELDS))


def _window_problems(body: Aggregate) -> Iterable[Problem]:
    if body.over_s is not None and not MIN_WINDOW_S <= body.over_s <= MAX_WINDOW_S:
        yield Problem(body.over_at, f"a window of {body.over_s} seconds is not possible", "choose one from 1m to 90d")
    if body.delayed_s > MAX_DELAY_S:
        yield Problem(body.at, f"a delay of {body.delayed_s} seconds is not possible", "choose one of at most 90d")
    if body.delayed_s and body.including_current:
        yield Problem(
            body.at, "the current transaction is never inside a delayed window", "remove 'including current', or 'delayed'"
        )


def _found(
    body: Aggregate, by: tuple[str, ...], entities: Sequence[Entity]
) -> tuple[Entity | None, tuple[str, ...], Problem | None]:
    """
    Return the entity that is named by just these fields, else a log of one of the two whose records tell the other.
    """
    if not by:
        return None, (), None
    for name in by:
        if name not in TEXT_FIELDS:
            return (
                None,
                (),
                Problem(body.by_at, f"unknown field '{name}' after 'by'", nearest(name, (*TEXT_FIELDS, *ENTITY_FIELDS))),
            )
    if len(by) > 2 or len(set(by)) != len(by):
        return None, (), Problem(body.by_at, "history hangs on one field or on two different ones", "remove the others")
    for entity in entities:
        if set(entity.fields) == set(by):
            return entity, (), None
    for entity in entities:
        if entity.log and len(by) == 2 and entity.fields[0] in by and len(entity.fields) == 1:
            return entity, tuple(name for name in by if name != entity.fields[0]), None
    kind = next((kind for kind, name in ENTITY_FIELDS.items() if (name,) == by), "NAME by " + ", ".join(by))
    return None, (), Problem(body.by_at, f"nothing keeps the past of {' and '.join(by)}", f"declare it: entity {kind} log")


def _on_buckets(body: Aggregate, buckets: tuple[tuple[int, int], ...], problems: list[Problem]) -> Aggregate:
    """
    Choose the finest resolution that holds the window, and refuse what counts and sums cannot answer.
    """
    remedy = f"declare the entity as a log: entity {body.entity} log"
    if not AGGREGATES[body.function].on_buckets:
        problems.append(Problem(body.at, f"buckets cannot answer '{body.function}': they hold counts, sums and frauds", remedy))
    if body.where is not None:
        problems.append(
            Problem(body.where.at, "buckets cannot tell one transaction from another, so 'where' has no answer", remedy)
        )
    if body.newest is not None:
        problems.append(Problem(body.at, "buckets do not know which transactions are the newest", remedy))
    if body.over_s is None:
        problems.append(Problem(body.at, "buckets need a window", "add for example: over 1h"))
        return body
    for index, (width, slots) in enumerate(buckets):
        # One bucket more than the window, so that the newest never overwrites one that is still looked at.
        if body.over_s % width == 0 and body.delayed_s % width == 0 and (body.over_s + body.delayed_s) // width < slots:
            return replace(body, resolution=index)
    held = ", ".join(f"multiples of {width} s up to {width * (slots - 1)} s" for width, slots in buckets)
    problems.append(
        Problem(
            body.at,
            f"the buckets of '{body.entity}' do not hold this window and delay",
            f"they hold {held}: change one of the two",
        )
    )
    return body
