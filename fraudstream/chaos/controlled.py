"""
All negative controls after one another, and before them the same run with nothing broken.
"""

from collections.abc import Mapping

import msgspec

from fraudstream.app.demo import Progress
from fraudstream.chaos.controls import CONTROLS
from fraudstream.chaos.plan import PROFILES
from fraudstream.chaos.run import ChaosPlan, ChaosReport, run_chaos


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """
    How one control went. ``shown`` are the figures that had to tell; ``caught`` says that one of them did.
    """

    control: str
    harm: str
    shown: dict[str, int]
    caught: bool
    seconds: float


class ControlsReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    ``honest`` says that the run with nothing broken passed, ``passed`` that it did and every control was caught.
    """

    seed: int
    server: str
    honest: bool
    problems: list[str]
    controls: list[Tried]
    passed: bool


def control_plan(control: str, seed: int, *, binary: str | None, inherited: Mapping[str, str]) -> ChaosPlan:
    """
    Return the run in which a control does its harm; without a name, the same run with nothing broken.
    """
    needs = CONTROLS[control].needs if control else {}
    profile = msgspec.structs.replace(PROFILES["control"], **needs)
    return ChaosPlan(name="control", profile=profile, seed=seed, control=control, binary=binary, inherited=dict(inherited))


async def run_controls(seed: int, *, binary: str | None, inherited: Mapping[str, str], progress: Progress) -> ControlsReport:
    """
    Run them all.

    Raises:
        ConfigurationError: A server or worker did not start, or a control does not fit what it breaks any more.
    """
    honest = await run_chaos(control_plan("", seed, binary=binary, inherited=inherited), progress)
    progress.step(f"nothing broken: {'passed' if honest.passed else honest.problems}")
    tried: list[Tried] = []
    for name in CONTROLS:
        report = await run_chaos(control_plan(name, seed, binary=binary, inherited=inherited), progress)
        tried.append(_tried(report))
        progress.step(f"{name}: {'caught' if tried[-1].caught else 'NOT CAUGHT'} {tried[-1].shown}")
    return ControlsReport(
        seed=seed,
        server=honest.server,
        honest=honest.passed,
        problems=honest.problems,
        controls=tried,
        passed=honest.passed and all(one.caught for one in tried),
    )


def _tried(report: ChaosReport) -> Tried:
    control = CONTROLS[report.control]
    shown = {name: int(getattr(report, name)) for name in control.shows}
    return Tried(
        control=report.control,
        harm=control.harm,
        shown=shown,
        caught=not report.passed and any(shown.values()),
        seconds=report.seconds,
    )
