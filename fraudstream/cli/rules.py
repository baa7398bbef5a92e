"""
``fraudstream rules``: look at rule files before anybody works by them.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.asking import AsJson, Config, columns, plain_text
from fraudstream.cli.entry import BAD_NEWS, exits, load_settings, print_json

rules_app = typer.Typer(help="Rules: check, test, publish and look at them.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="Rule file.")]
Features = Annotated[Path | None, typer.Option(help="Feature definitions (FRAUDSTREAM_FEATURES).")]
Lists = Annotated[Path | None, typer.Option(help="Folder of the lists (FRAUDSTREAM_LISTS).")]


def bench_for(config: str | None, features: Path | None, lists: Path | None, **more: Any) -> Any:
    """
    Return what rules are held against.
    """
    from fraudstream.app.rule_files import RuleBench

    return RuleBench(load_settings(config=config, features_path=_text(features), lists_path=_text(lists), **more))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@rules_app.command("check")
@exits
def check_command(
    file: File, features: Features = None, lists: Lists = None, config: Config = None, as_json: AsJson = False
) -> None:
    """
    Say whether a rule file can be used: its words, its types, its limits, and its tests.

    Example: fraudstream rules check models/default.rules
    """
    import msgspec

    found = bench_for(config, features, lists).check(file)
    if as_json:
        print_json("fraudstream.rules_check/1", msgspec.to_builtins(found))
    elif found.ok:
        typer.echo(f"{file}: ok, {found.rules} rules, {found.tests} tests passed, set {found.rule_set[:12]}")
    else:
        typer.echo(plain_text(found.text), err=True)
    if not found.ok:
        raise typer.Exit(BAD_NEWS)


@rules_app.command("test")
@exits
def run_tests_command(
    file: File,
    features: Features = None,
    lists: Lists = None,
    show_all: Annotated[bool, typer.Option("--all", help="Also show the tests that pass.")] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Run the tests that stand beside the rules.

    Example: fraudstream rules test my.rules
    """
    import msgspec

    runs = bench_for(config, features, lists).test(file)
    failed = [run for run in runs if not run.passed]
    if as_json:
        results = msgspec.to_builtins(runs)
        print_json("fraudstream.rules_test/1", {"passed": len(runs) - len(failed), "failed": len(failed), "results": results})
    else:
        for run in runs if show_all else failed:
            typer.echo(_run_line(file, run))
        typer.echo(f"{file}: {len(runs) - len(failed)} of {len(runs)} tests passed")
    if failed:
        raise typer.Exit(BAD_NEWS)


def _run_line(file: Path, run: Any) -> str:
    said = "ok  " if run.passed else "FAIL"
    why = "" if run.passed else f"\n      must {run.expected}, got {run.got}" + (f": {run.problem}" if run.problem else "")
    return plain_text(f"{said}  {file}:{run.line}: {run.rule_id}: {run.test}{why}")


@rules_app.command("lint")
@exits
def lint_command(
    file: File, features: Features = None, lists: Lists = None, config: Config = None, as_json: AsJson = False
) -> None:
    """
    Name what is allowed and looks like a mistake: never true, always true, doubled, unreachable, untested, unused lists.

    Example: fraudstream rules lint models/default.rules
    """
    import msgspec

    found = bench_for(config, features, lists).lint(file)
    if as_json:
        print_json("fraudstream.rules_lint/1", {"findings": msgspec.to_builtins(found)})
    else:
        for finding in found:
            place = f"{file}:{finding.line}" if finding.line else str(file)
            typer.echo(f"{place}: {finding.kind.value}: {finding.message}")
        typer.echo(f"{file}: {len(found)} findings")
    if found:
        raise typer.Exit(BAD_NEWS)


@rules_app.command("fuzz")
@exits
def fuzz_command(
    checks: Annotated[int, typer.Option(help="Pairs of a rule and a row to compare, at least.", min=1)] = 1_000_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same rules and rows.")] = 1,
    as_json: AsJson = False,
) -> None:
    """
    Compare both evaluators on random rules and random rows; one disagreement is a fault of ours.

    Example: fraudstream rules fuzz --checks 1000000 --json
    """
    import time

    from fraudstream.rules.fuzz import fuzz

    started = time.perf_counter()
    made, disagreements = fuzz(checks, seed)
    seconds = round(time.perf_counter() - started, 2)
    if as_json:
        print_json(
            "fraudstream.rules_fuzz/1", {"checks": made, "disagreements": disagreements, "seed": seed, "seconds": seconds}
        )
    else:
        typer.echo(f"{made:,} checks in {seconds:g} s with seed {seed}: {disagreements:,} disagreements")
    if disagreements:
        raise typer.Exit(BAD_NEWS)


def print_rules(rules: Any, where: str, *, as_json: bool) -> None:
    """
    Print a set as one line for each rule.
    """
    import msgspec

    from fraudstream.app.rule_files import listed

    found = listed(rules)
    if as_json:
        data = {"from": where, "rule_set": rules.id, "rules": msgspec.to_builtins(found)}
        print_json("fraudstream.rules_list/1", data)
        return
    rows = [(rule.rule_id, _does(rule), rule.priority, rule.tests, ", ".join(rule.tags), rule.reason) for rule in found]
    typer.echo(columns(("rule", "does", "priority", "tests", "tags", "reason"), rows))
    typer.echo(f"{len(found)} rules, set {rules.id[:12]} from {where}")


def _does(rule: Any) -> str:
    points = f" {rule.points:+g}" if rule.action == "score" else ""
    limits = [rule.rollout, "limited in time" if rule.active_from_ms or rule.active_until_ms else ""]
    said = f"{'shadow ' if rule.shadow else ''}{rule.action.replace('_', ' ')}{points}"
    return ", ".join([said, *filter(None, limits)])
