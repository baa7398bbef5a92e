"""
A rule set over a table: the conditions of the road, run over large slices, and the rows that each rule fires on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudstream.rules.row import Row
from fraudstream.rules.rule import Rule, share_of
from fraudstream.rules.ruleset import ReadyRule, RuleSet
from fraudstream.rules.syntax import OnMissing
from fraudstream.rules.table import Slice, Table
from fraudstream.rules.texts import bools

#: Rows of one slice: few enough for the caches, many enough that numpy's work outweighs its calls.
SLICE_ROWS = 16_384

Rows = NDArray[np.intp]
_NO_ROWS = np.zeros(0, np.intp)


@dataclass(frozen=True, slots=True)
class Fired:
    """
    Where one rule fires, as ascending rows of the table: because its condition is true, or because it is unknown.

    ``errors`` counts the rows that the rule failed on and therefore said nothing of.
    """

    rule: Rule
    known: Rows
    doubtful: Rows
    errors: int = 0

    @property
    def rows(self) -> Rows:
        """
        Every row that the rule fires on, ascending.
        """
        return self.known if not self.doubtful.size else np.sort(np.concatenate((self.known, self.doubtful)))


def sweep(rules: RuleSet, table: Table, *, slice_rows: int = SLICE_ROWS, within: Rows | None = None) -> list[Fired]:
    """
    Return where each rule fires, in the order of the set; the answers of ``RuleSet.evaluate`` without its explanations.

    A rule that fails on a slice is tried on each row alone, so that only the culprit goes without it.

    Args:
        rules: Judged by the lists and rates that the set holds.
        table: Its features stand in the columns of the set.
        slice_rows: Rows that are worked at once; answers do not depend on it.
        within: The rows to look at, ascending; all when not given.

    Raises:
        ValueError: The table has other features.
    """
    if table.features.shape[1] != len(rules.features):
        raise ValueError(f"the table has {table.features.shape[1]} features, these rules need {len(rules.features)}")
    found = [_Found(ready) for ready in rules.ready]
    with np.errstate(all="ignore"):
        for begin in range(0, table.rows if within is None else len(within), slice_rows):
            part = table.slice(begin, begin + slice_rows, rules.slots, within)
            part.lists, part.rates = rules.contents, rules.rates
            for one in found:
                one.look(part, table)
    return [one.fired() for one in found]


class _Found:
    """
    Collects the rows of one rule.
    """

    def __init__(self, ready: ReadyRule) -> None:
        self._ready = ready
        self._known: list[Rows] = []
        self._doubtful: list[Rows] = []
        self._errors = 0

    def look(self, part: Slice, table: Table) -> None:
        for known, doubtful in self._answers(part, table):
            if known.size:
                self._known.append(known)
            if doubtful.size:
                self._doubtful.append(doubtful)

    def _answers(self, part: Slice, table: Table) -> Iterator[tuple[Rows, Rows]]:
        """
        Yield where the rule fires; where it fails, half by half, until the culprit is alone.
        """
        condition = self._ready.condition
        try:
            known = self._rows(condition.truth(part), part)
            yield known, _NO_ROWS if condition.unknown is None else self._rows(condition.unknown(part), part)
        except Exception:  # noqa: BLE001 - one rule must not take the others down, nor one row the others
            if part.size == 1:
                yield self._alone(int(part.places(np.zeros(1, np.intp))[0]), table)
                return
            middle = part.size // 2
            for rows in (np.arange(middle), np.arange(middle, part.size)):
                yield from self._answers(part.few(rows), table)

    def _rows(self, mask: NDArray[np.bool_] | np.bool_, part: Slice) -> Rows:
        """
        Return where in the table a mask is true and the rule in force.
        """
        rows = mask.nonzero()[0] if isinstance(mask, np.ndarray) and mask.ndim else np.arange(part.size if mask else 0)
        if rows.size and not self._ready.always:
            rows = rows[concerned(self._ready.rule, part.few(rows))]
        return part.places(rows) if rows.size else _NO_ROWS

    def _alone(self, place: int, table: Table) -> tuple[Rows, Rows]:
        """
        Return what the reference evaluator says of one row.
        """
        rule, here = self._ready.rule, np.array([place], np.intp)
        try:
            transaction = table.transaction(place)
            verdict = self._ready.verdict(Row(transaction, table.features[place].tolist()))
            fires = verdict is True or (verdict is None and rule.on_missing is not OnMissing.SKIP)
            if not fires or not rule.concerns(transaction):
                return _NO_ROWS, _NO_ROWS
        except Exception:  # noqa: BLE001 - the culprit is found: this rule says nothing of this row
            self._errors += 1
            return _NO_ROWS, _NO_ROWS
        return (here, _NO_ROWS) if verdict is True else (_NO_ROWS, here)

    def fired(self) -> Fired:
        return Fired(self._ready.rule, _joined(self._known), _joined(self._doubtful), self._errors)


def concerned(rule: Rule, part: Slice) -> NDArray[np.bool_]:
    """
    Return for which rows a rule is in force: at their time, and rolled out to their entity; see ``Rule.concerns``.
    """
    wanted = np.ones(part.size, np.bool_)
    if rule.active_from_ms is not None:
        wanted &= part.number("timestamp") >= rule.active_from_ms
    if rule.active_until_ms is not None:
        wanted &= part.number("timestamp") < rule.active_until_ms
    rollout = rule.rollout
    if rollout is not None:
        rule_id, share = rule.rule_id, rollout.share
        wanted &= part.text(rollout.field).ask_all(
            (rule_id, share), lambda keys: bools(key is not None and share_of(rule_id, key) < share for key in keys)
        )
    return wanted


def _joined(parts: Sequence[Rows]) -> Rows:
    return np.concatenate(parts) if parts else _NO_ROWS
