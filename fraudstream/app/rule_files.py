"""
Looks at one rule file: what is wrong with it, how its tests go, what it says, and what looks like a mistake.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from fraudstream.app.list_files import ListFiles
from fraudstream.app.loading import load_rulebook
from fraudstream.domain.errors import InvalidRule
from fraudstream.rules.embedded import results
from fraudstream.rules.lint import Finding, lint
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import canonical, load_rules, read_rules
from fraudstream.rules.rates import Rates
from fraudstream.rules.rule import Rule
from fraudstream.rules.ruleset import RuleSet
from fraudstream.settings import Settings


class RuleProblem(msgspec.Struct, frozen=True):
    """
    One fault for tools; line and column count from 1, and ``hint`` says what to do.
    """

    line: int
    column: int
    message: str
    hint: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """
    Whether a file can be used. ``text`` shows every problem with line and caret; it is empty when there is none.

    ``problems`` are the same for tools.
    """

    file: str
    ok: bool
    rule_set: str = ""
    rules: int = 0
    tests: int = 0
    lists: dict[str, str] = {}
    problems: list[RuleProblem] = []
    text: str = ""


class RuleTestRun(msgspec.Struct, frozen=True, kw_only=True):
    """
    How one test of one rule went; ``line`` counts from 1, ``test`` is its text.
    """

    rule_id: str
    line: int
    test: str
    expected: str
    got: str
    passed: bool
    problem: str


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """
    One rule as a person looks it up; ``guard_max_rate`` is a share in [0, 1], ``rollout`` in words, times are ms since 1970.
    """

    rule_id: str
    action: str
    points: float
    shadow: bool
    priority: int
    on_missing: str
    condition: str
    reason: str
    tags: tuple[str, ...]
    guard_max_rate: float | None
    rollout: str
    active_from_ms: int | None
    active_until_ms: int | None
    tests: int
    line: int


class RuleBench:
    """
    What rules are held against: the features that the settings name, and lists.

    Args:
        settings: Name the files.
        lists: What the lists hold; those of the files when not given.
        rates: What currencies are worth, beside lists that are given.
        written: How a text stands in lists that are given, and in payments.

    Raises:
        ConfigurationError: The features or a list cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        lists: Mapping[str, ListContents] | None = None,
        rates: Rates | None = None,
        *,
        written: Callable[[str], str] = str,
    ) -> None:
        self._written = written
        self.features = load_rulebook(settings).features
        files = ListFiles(settings).read() if lists is None else (lists, rates)
        self.lists: Mapping[str, ListContents] = files[0]
        self.rates = files[1]

    def load(self, source: str, *, name: str) -> RuleSet:
        """
        Build a rule set that has passed its tests.

        Raises:
            InvalidRule: Shows every problem.
        """
        return load_rules(
            source, features=self.features.names, lists=self.lists, rates=self.rates, name=name, written=self._written
        )

    def check(self, path: Path) -> Checked:
        """
        Say whether a file can be used.

        Raises:
            InvalidRule: It cannot be read at all.
        """
        try:
            rules = self.load(read_rules(path), name=str(path))
        except InvalidRule as exc:
            if not exc.places:
                raise
            problems = [RuleProblem(*place) for place in exc.places]
            return Checked(file=str(path), ok=False, problems=problems, text=str(exc))
        tests = sum(len(rule.tests) for rule in rules.rules)
        return Checked(file=str(path), ok=True, rule_set=rules.id, rules=len(rules.rules), tests=tests, lists=dict(rules.lists))

    def test(self, path: Path) -> list[RuleTestRun]:
        """
        Run every test of a file, in the order of the file.

        Raises:
            InvalidRule: The rules cannot be read; a test that fails is no such reason.
        """
        source = canonical(read_rules(path))
        rules = load_rules(source, features=self.features.names, lists=self.lists, name=str(path), tested=False)
        runs = [
            RuleTestRun(
                rule_id=result.rule_id,
                line=source.count("\n", 0, result.at) + 1,
                test=" ".join(source[result.at : result.end].split()),
                expected=result.expected,
                got=result.got,
                passed=result.passed,
                problem=result.problem,
            )
            for result in results(rules.rules, self.features.names, self.lists)
        ]
        return sorted(runs, key=lambda run: run.line)

    def lint(self, path: Path) -> list[Finding]:
        """
        Return what is allowed in a file and looks like a mistake.

        Raises:
            InvalidRule: The file cannot be used.
        """
        return lint(self.load(read_rules(path), name=str(path)), self.lists)


def listed(rules: RuleSet) -> list[Listed]:
    """
    Return every rule of a set, the strongest first.
    """
    return [_listed(rule) for rule in rules.rules]


def _listed(rule: Rule) -> Listed:
    rollout = rule.rollout
    return Listed(
        rule_id=rule.rule_id,
        action=rule.action.value,
        points=rule.points,
        shadow=rule.shadow,
        priority=rule.priority,
        on_missing=rule.on_missing.value,
        condition=" ".join(rule.text.split()),
        reason=rule.reason,
        tags=rule.tags,
        guard_max_rate=rule.guard_max_rate,
        rollout="" if rollout is None else f"{rollout.share / 100:g}% by {rollout.field}",
        active_from_ms=rule.active_from_ms,
        active_until_ms=rule.active_until_ms,
        tests=len(rule.tests),
        line=rule.line,
    )
