"""
``fraudstream chaos``: break a fleet of our own in every way we know, and see whether its books balance.
"""

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import BAD_NEWS, exits, inherited, print_json


@exits
def chaos(
    profile: Annotated[
        str, typer.Option(help="How much: slice, commit, counters (100,000 and kills) or full; control is what --control runs.")
    ] = "commit",
    seed: Annotated[int, typer.Option(help="Of every choice; the same seed plans the same faults.")] = 1,
    control: Annotated[
        str, typer.Option(help="Break the protocol on purpose: the run must fail. 'list' names, 'all' tries all.")
    ] = "",
    redis_binary: Annotated[str | None, typer.Option(help="A server program to run on; the embedded Valkey otherwise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """
    Kill, stop, cut, flush and poison a fleet of real processes on servers of its own, then compare every book exactly.

    Exit code 1 when anything was lost, doubled or miscounted.

    Example: fraudstream chaos --profile commit --seed 7
    """
    import msgspec

    from fraudstream.chaos.controlled import control_plan, run_controls
    from fraudstream.chaos.controls import CONTROLS
    from fraudstream.chaos.plan import PROFILES
    from fraudstream.chaos.run import ChaosPlan, run_chaos
    from fraudstream.cli.progress import progress

    if control == "list":
        for name, one in CONTROLS.items():
            typer.echo(f"{name:<24} {one.harm}")
        return
    _check("profile", profile, PROFILES)
    _check("control", control, ("", "all", *CONTROLS))
    given: dict[str, Any] = {"binary": redis_binary, "inherited": inherited()}
    with progress(quiet=quiet or as_json) as shown:
        if control == "all":
            passed = _show_controls(asyncio.run(run_controls(seed, progress=shown, **given)), as_json=as_json)
        else:
            plan = ChaosPlan(name=profile, profile=PROFILES[profile], seed=seed, **given)
            report = asyncio.run(run_chaos(control_plan(control, seed, **given) if control else plan, shown))
            passed = report.passed
            if as_json:
                print_json("fraudstream.chaos/1", msgspec.to_builtins(report))
            else:
                _print_report(report)
    if not passed:
        raise typer.Exit(BAD_NEWS)


def _check(what: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise typer.BadParameter(f"there is no {what} {value!r}; one of: {', '.join(name for name in known if name)}")


def _show_controls(report: Any, *, as_json: bool) -> bool:
    import msgspec

    from fraudstream.cli.screen import table

    if as_json:
        print_json("fraudstream.chaos_controls/1", msgspec.to_builtins(report))
        return bool(report.passed)
    rows = [("nothing broken", "passed" if report.honest else "FAILED", "; ".join(report.problems))]
    for one in report.controls:
        found = ", ".join(f"{name} {count}" for name, count in one.shown.items())
        rows.append((one.control, "caught" if one.caught else "NOT CAUGHT", found))
    typer.echo(table(("control", "verdict", "what told"), rows))
    return bool(report.passed)


def _print_report(report: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Chaos {report.profile}, seed {report.seed}, {report.server}", show_header=False)
    table.add_row("transactions", f"{report.transactions:,}, sent again {report.duplicates:,}")
    table.add_row("faults", ", ".join(f"{name} {count}" for name, count in report.faults.items() if count))
    table.add_row("labelled places", ", ".join(f"{name} {count}" for name, count in report.crash_points.items() if count))
    table.add_row("connections", ", ".join(f"{name} {count}" for name, count in report.connection_faults.items()))
    table.add_row("fenced", f"{report.fenced} results of workers that were too late")
    table.add_row("decided at once", f"{report.together} payments by processes of both groups")
    table.add_row("lost, doubled", f"{report.lost}, {report.doubled}")
    table.add_row("counters wrong", f"{report.counter_errors} of {report.counters_checked:,} entities")
    table.add_row("vectors wrong", f"{report.vector_errors} of {report.vectors_checked:,} computed again")
    letters = f"{report.dead_letters}; innocents {report.dead_letter_innocents}, missing {report.dead_letter_missing}"
    table.add_row("dead letters", f"{letters}, twice {report.dead_letter_doubled}")
    alerts = f"flagged {report.flagged:,}; missing {report.alerts_missing}, sent again {report.alerts_doubled}"
    table.add_row("alerts", f"{alerts}, lost with a history {report.alerts_lost_with_history}")
    table.add_row("left behind", f"pending {report.pending}, consumers {report.consumers_left}, keys {report.keys_left}")
    table.add_row("degraded", f"{report.degraded:,}; later than the deadline {report.late_without_model}")
    table.add_row("seconds", f"{report.seconds}")
    Console().print(table)
    for problem in report.problems:
        typer.echo(f"  {problem}")
    typer.echo("PASSED" if report.passed else "FAILED")
