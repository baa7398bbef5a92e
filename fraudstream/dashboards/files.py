"""
The files that are written: one per dashboard, one of recordings, one of alerts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from fraudstream.dashboards import alerts, objectives
from fraudstream.dashboards.decisions import DECISIONS
from fraudstream.dashboards.delivery import DELIVERY
from fraudstream.dashboards.grafana import render
from fraudstream.dashboards.investigations import INVESTIGATIONS
from fraudstream.dashboards.overview import OVERVIEW
from fraudstream.dashboards.panels import Board
from fraudstream.dashboards.rules import Group, rendered
from fraudstream.dashboards.storage import STORAGE
from fraudstream.dashboards.workers import WORKERS

BOARDS: Sequence[Board] = (OVERVIEW, WORKERS, DECISIONS, DELIVERY, STORAGE, INVESTIGATIONS)
RULES: Mapping[str, Sequence[Group]] = {"recording.yml": objectives.recordings(), "alerts.yml": alerts.groups()}
_WRITTEN = "# Written by: fraudstream dashboards build\n"


class _Dumper(yaml.SafeDumper):
    """
    Writes no anchors: a rule file is read by people.
    """

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 the signature is theirs
        """
        Repeat what is the same.
        """
        return True


def built() -> dict[str, str]:
    """
    Return the text of every file by its path inside the folder of dashboards.
    """
    return {board.file: render(board) for board in BOARDS} | {
        f"prometheus/rules/{name}": text for name, text in rule_files().items()
    }


def rule_files(*, divided_by: int = 1) -> dict[str, str]:
    """
    Return the text of the rule files, every duration divided.
    """
    return {
        name: _WRITTEN + yaml.dump(rendered(groups, divided_by=divided_by), Dumper=_Dumper, sort_keys=False, width=10_000)
        for name, groups in RULES.items()
    }


def write(folder: Path) -> list[Path]:
    """
    Write every file that is not there as it should be, and return which.
    """
    changed = []
    for name, text in built().items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed
