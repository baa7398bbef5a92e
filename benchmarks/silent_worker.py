"""
A worker that counts and logs nothing, for comparison: see ``benchmarks/telemetry.py``.
"""

from typing import Any

from fraudstream.cli.main import run
from fraudstream.telemetry.report import GroupReport


def _nothing(self: GroupReport, *_given: Any, **_named: Any) -> None:
    """
    Tell nobody.
    """


if __name__ == "__main__":
    for name in ("read", "in_hand", "handled", "touched", "completed", "decided", "timed", "invalid"):
        setattr(GroupReport, name, _nothing)
    run()
