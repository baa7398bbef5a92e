"""
``fraudstream bench reload`` and ``bench lists``: what changes of rules and lists do to a busy fleet.
"""

import asyncio
from typing import Annotated, Any

import typer

from fraudstream.cli.bench import bench_app, commit
from fraudstream.cli.entry import BAD_NEWS, exits, inherited, print_json

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Baseline = Annotated[float, typer.Option(help="Seconds at full speed without a change, as a measure of the machine.", min=1)]


@bench_app.command("reload")
@exits
def reload_command(
    pushes: Annotated[int, typer.Option(help="Rule sets that are pushed and activated.", min=1)] = 100,
    every: Annotated[float, typer.Option(help="Seconds from one push to the next.", min=0.1)] = 0.6,
    baseline: Baseline = 60.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Change the rules of a busy fleet of our own all the time, and execute every decision again; exit 1 when one is not the same.

    Example: fraudstream bench reload --json
    """
    import msgspec

    from fraudstream.app.bench_reload import bench_reload
    from fraudstream.cli.progress import progress

    with progress(quiet=quiet) as shown:
        work = bench_reload(pushes=pushes, every_s=every, baseline_s=baseline, inherited=inherited(), progress=shown)
        report = asyncio.run(work)
    if as_json:
        print_json("fraudstream.bench_reload/1", {**msgspec.to_builtins(report), "commit": commit()})
    else:
        _print_reload(report)
    if not report.good:
        raise typer.Exit(BAD_NEWS)


@bench_app.command("lists")
@exits
def lists_command(
    entries: Annotated[int, typer.Option(help="Entries of the list.", min=1_000)] = 1_000_000,
    baseline: Baseline = 10.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Measure a very long list: memory, look-ups, and how soon a busy fleet of our own judges by it.

    Example: fraudstream bench lists --entries 1000000 --json
    """
    import msgspec

    from fraudstream.app.bench_lists import bench_lists
    from fraudstream.cli.progress import progress

    with progress(quiet=quiet) as shown:
        report = asyncio.run(bench_lists(entries=entries, baseline_s=baseline, inherited=inherited(), progress=shown))
    if as_json:
        print_json("fraudstream.bench_lists/1", {**msgspec.to_builtins(report), "commit": commit()})
    else:
        _print_lists(report)


def _print_reload(report: Any) -> None:
    from fraudstream.cli.screen import table

    typer.echo(
        f"{report.transactions:,} payments, {report.pushes} pushes, {report.refused} wrong sets refused, "
        f"{report.applied} sets taken over, {report.rule_sets_seen} named by decisions\n"
        f"lost {report.lost}, doubled {report.doubled}, degraded {report.degraded}, "
        f"of unknown rules {report.unknown_rule_set}, other hits when executed again {report.other_hits}"
    )
    rows = [_phase(name, one) for name, one in (("no", report.without_pushes), ("yes", report.with_pushes))]
    typer.echo(table(("pushes", *_PHASE), rows))
    met, because = report.takeovers.stalls, report.takeovers.because
    typer.echo(
        f"{met.looks} looks met a takeover: {met.over['50_ms']} more than 50 ms late for whatever reason, "
        f"{because.over['50_ms']} because of it; at most {_bound(because)} because of it"
    )
    for held in report.held:
        typer.echo(
            f"building {held.rules} rules takes {held.cpu_ms} ms of CPU in {held.slices} slices between batches, "
            f"of {held.longest_ms} ms at most"
        )


_PHASE = ("transactions/s", "longest stall", "over 20 ms", "over 50 ms", "over 100 ms", "looks", "its own over 50 ms")


def _phase(name: str, one: Any) -> tuple[Any, ...]:
    over = one.stalls.over
    return (
        name,
        round(one.transactions_per_second),
        _bound(one.stalls),
        over["20_ms"],
        over["50_ms"],
        over["100_ms"],
        one.stalls.looks,
    )


def _bound(stalls: Any) -> str:
    return "very long" if stalls.longest_ms is None else f"< {stalls.longest_ms:g} ms"


def _print_lists(report: Any) -> None:
    from fraudstream.cli.screen import table

    alone = report.look_ups
    typer.echo(
        f"{alone.entries:,} entries: packed in {alone.pack_s} s to {alone.body_mb} MB, opened in {alone.open_ms} ms, "
        f"changed in {alone.change_ms} ms\n"
        f"a look-up takes {alone.ns_per_miss:.0f} ns when the value is not there and {alone.ns_per_hit:.0f} ns when it is "
        f"(a set of strings: {alone.ns_per_miss_of_a_set:.0f} ns)\n"
        f"workers had {report.rss_mb_before} MB before and {report.rss_mb_after} MB after; "
        f"the longest command of Redis took {report.slowest_redis_ms} ms, {report.redis_over_5_ms} took more than 5 ms"
    )
    rows = [_phase("none", report.without_change), *(_phase(one.what, one.during) for one in report.activations)]
    typer.echo(table(("change", *_PHASE), rows))
    for one in report.activations:
        typer.echo(f"{one.what}: {one.stored_mb} MB stored in {one.store_s} s, judged by everywhere {one.everywhere_s} s later")
