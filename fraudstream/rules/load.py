"""
From the text of a rule file to a rule set that has passed its own tests.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import msgspec

from fraudstream.domain.errors import InvalidRule
from fraudstream.domain.steps import Steps, at_once
from fraudstream.rules.checker import Checker
from fraudstream.rules.embedded import run_tests
from fraudstream.rules.explain import build_explain
from fraudstream.rules.lexer import Token, tokens_of
from fraudstream.rules.lists import ListContents, read_list, versions
from fraudstream.rules.plan import rewritten
from fraudstream.rules.problems import Problem, Problems, Refused, did_you_mean
from fraudstream.rules.rates import Rates
from fraudstream.rules.row import build_row
from fraudstream.rules.rule import PRECEDENCE, Rule
from fraudstream.rules.ruleset import ReadyRule, RuleSet, lists_read, versions_read
from fraudstream.rules.statements import parse_rules
from fraudstream.rules.syntax import OnMissing, RuleStatement
from fraudstream.rules.vector import build
from fraudstream.rules.vocabulary import TEXT_FIELDS, Attribute, attributes

Lists = Mapping[str, ListContents]
#: A rule set that names no list needs none.
NO_LISTS: Lists = MappingProxyType({})


def canonical(source: str) -> str:
    """
    Return a source with one kind of line end, no blanks at the ends of lines, and no empty lines at its ends.
    """
    unix = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip() for line in unix.split("\n")).strip("\n") + "\n"


def load_rules(
    source: str,
    *,
    features: Sequence[str],
    lists: Lists = NO_LISTS,
    rates: Rates | None = None,
    name: str = "<rules>",
    tested: bool = True,
    written: Callable[[str], str] = str,
) -> RuleSet:
    """
    Build a rule set from its text and run the tests that stand beside its rules.

    Args:
        source: The rules; see docs/rules.md for the language.
        features: Names of the columns that ``evaluate`` will be given, in order.
        lists: What the lists hold that the rules may name.
        rates: What currencies are worth; without, an amount of one is unknown in payments of another. Tests go without.
        name: What errors call the source, such as the path of its file.
        tested: Whether to run the tests; without, the set is for looking at, not for use.
        written: How a text stands in payments and lists, where that is not as people write it in rules and tests: tokens for
            e-mail addresses.

    Raises:
        InvalidRule: Anything at all is wrong, a failing test included; the text shows every problem with line, caret and hint.
    """
    return at_once(
        load_in_steps(source, features=features, lists=lists, rates=rates, name=name, tested=tested, written=written)
    )


def load_in_steps(
    source: str,
    *,
    features: Sequence[str],
    lists: Lists = NO_LISTS,
    rates: Rates | None = None,
    name: str = "<rules>",
    tested: bool = True,
    written: Callable[[str], str] = str,
) -> Steps[RuleSet]:
    """
    Do the same in steps: a worker builds between its batches.

    Raises:
        InvalidRule: As ``load_rules``, from any step.
    """
    text = canonical(source)
    problems = Problems(text, name)
    versions(lists)
    tokens = yield from tokens_of(text, problems)
    known = attributes(features)
    statements = yield from parse_rules(tokens, text, problems)
    _refuse_doubles(statements, problems)
    checker = Checker(known, lists)
    rules = list[Rule]()
    for statement in statements:
        if (rule := _rule(statement, checker, text, problems)) is not None:
            rules.append(_in_payments(rule, written))
        yield
    for rule in rules if tested else ():
        run_tests(rule, known, lists, problems, written)
        yield
    problems.raise_if_any()
    rules.sort(key=lambda rule: (PRECEDENCE[rule.action], rule.priority, rule.rule_id))
    contents = lists_read(rules, lists)
    ready, slots = yield from _ready(rules, contents, rates, text, tokens, known)
    return RuleSet(
        id=sha256(text.encode(errors="surrogatepass")).hexdigest(),
        source=text,
        rules=tuple(rules),
        features=tuple(features),
        lists=versions_read(rules, contents, rates),
        contents=contents,
        rates=rates,
        ready=ready,
        slots=slots,
        doubtful=any(rule.on_missing is not OnMissing.SKIP for rule in rules),
    )


def load_rules_file(
    path: Path,
    *,
    features: Sequence[str],
    lists: Lists = NO_LISTS,
    rates: Rates | None = None,
    written: Callable[[str], str] = str,
) -> RuleSet:
    """
    Build a rule set from a file; see ``load_rules``.

    Raises:
        InvalidRule: The file cannot be read, or what it says cannot be used.
    """
    return load_rules(read_rules(path), features=features, lists=lists, rates=rates, name=str(path), written=written)


def load_lists(folder: Path, written: Callable[[str], str] = str) -> dict[str, ListContents]:
    """
    Read every ``NAME.list`` of a folder; the rules call it ``@NAME``. A folder that does not exist holds no lists.
    ``written`` says how an entry stands in payments.

    Raises:
        InvalidRule: A file cannot be read, or its name is no name of a list.
    """
    lists = {path.stem: read_list(read_rules(path), written) for path in sorted(folder.glob("*.list"))}
    versions(lists)
    return lists


def read_rules(path: Path) -> str:
    """
    Return the text of a rule or list file.

    Raises:
        InvalidRule: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidRule(f"{path}: cannot be read as text: {exc}") from exc


def _refuse_doubles(statements: Sequence[RuleStatement], problems: Problems) -> None:
    seen: dict[str, RuleStatement] = {}
    for statement in statements:
        first = seen.setdefault(statement.rule_id, statement)
        if first is not statement:
            where = f"the other one stands in line {problems.line(first.at)}"
            problems.add(Problem(statement.at, 1, f"there are two rules {statement.rule_id}", where))


def _rule(statement: RuleStatement, checker: Checker, text: str, problems: Problems) -> Rule | None:
    try:
        condition = checker.condition(statement.condition)
    except Refused as refused:
        problems.add(refused.problem)
        return None
    rollout = statement.rollout
    if rollout is not None and rollout.field not in TEXT_FIELDS:
        hint = did_you_mean(rollout.field, TEXT_FIELDS) or "choose from " + ", ".join(TEXT_FIELDS)
        length = rollout.end - rollout.at
        problems.add(Problem(rollout.at, length, f"a rollout cannot stick to {rollout.field!r}", hint))
        return None
    return Rule(
        rule_id=statement.rule_id,
        action=statement.action,
        points=statement.points,
        shadow=statement.shadow,
        reason=statement.reason or statement.rule_id.replace("_", " "),
        tags=statement.tags,
        priority=statement.priority,
        on_missing=statement.on_missing,
        guard_max_rate=statement.guard_max_rate,
        rollout=rollout,
        active_from_ms=statement.active_from_ms,
        active_until_ms=statement.active_until_ms,
        text=text[statement.condition.at : statement.condition.end],
        written=statement.condition,
        condition=condition,
        tests=statement.tests,
        line=problems.line(statement.at),
    )


def _in_payments(rule: Rule, written: Callable[[str], str]) -> Rule:
    return rule if written is str else msgspec.structs.replace(rule, condition=rewritten(rule.condition, written))


def _ready(  # noqa: PLR0917 - everything that a rule is built from
    rules: Sequence[Rule],
    lists: Lists,
    rates: Rates | None,
    text: str,
    tokens: Sequence[Token],
    known: Mapping[str, Attribute],
) -> Steps[tuple[tuple[ReadyRule, ...], int]]:
    conditions, slots = yield from build((rule.condition, rule.on_missing is not OnMissing.SKIP) for rule in rules)
    starts = [token.at for token in tokens]
    ready = []
    for rule, condition in zip(rules, conditions, strict=True):
        own = tokens[bisect_left(starts, rule.written.at) : bisect_left(starts, rule.written.end)]
        explain = build_explain(text, own, rule.written, known)
        ready.append(ReadyRule(rule, condition, build_row(rule.condition, lists, rates), explain))
        yield
    return tuple(ready), slots
