"""
``fraudstream backup`` and ``fraudstream restore``: rules, lists, models and records as one archive.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.asking import AsJson, Config, PostgresUrl, RedisUrl, moment_of, who
from fraudstream.cli.entry import PARTLY, exits, load_settings, print_json

Only = Annotated[str | None, typer.Option(help="Parts with commas: rules,lists,models,records; all when not given.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@exits
def backup(
    target: Annotated[Path, typer.Argument(help="A new file that ends in .tar, or a new folder.")],
    only: Only = None,
    since: Annotated[str | None, typer.Option(help="Records from then on: 7d, or 2026-01-15T12:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Records before then.")] = None,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Write rules, lists, models and records into one archive, beside a running fleet. Only its owner may read it.

    Example: fraudstream backup nightly.tar
    """
    import msgspec

    from fraudstream.app.backup import BackupPlan, back_up
    from fraudstream.app.letters import Actor
    from fraudstream.cli.progress import progress

    plan = BackupPlan(
        parts=_parts(only),
        since=None if since is None else moment_of(since, "--since"),
        until=None if until is None else moment_of(until, "--until"),
    )
    settings = load_settings(redis_url=redis_url, postgres_url=postgres_url, config=config)
    with progress(quiet=quiet) as shown:
        done = asyncio.run(back_up(settings, plan, target, Actor(*who()), shown))
    if as_json:
        print_json("fraudstream.backup_made/1", msgspec.to_builtins(done))
    else:
        typer.echo(f"{done.file}: {done.bytes:,} bytes, archive {done.archive}")
        typer.echo("\n".join(_about(part, told) for part, told in done.about.items()))
        typer.echo(f"try it: fraudstream restore {done.file} --dry-run")
    for model in done.missing:
        typer.echo(f"model {model[:12]} was pushed once and is gone from the registry: it is not in the archive", err=True)
    if done.missing:
        raise typer.Exit(PARTLY)


@exits
def restore(
    source: Annotated[Path, typer.Argument(help="What fraudstream backup wrote: the file, or the folder.")],
    only: Only = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Prove the archive and look at the target.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Into a target that is not empty: rules, lists and models are replaced, rows only added."),
    ] = False,
    expect: Annotated[str, typer.Option(help="Digits that the backup printed as its archive.")] = "",
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Put an archive back: every member is proven first, each part comes whole or not at all, missing tables are made.

    Example: fraudstream restore nightly.tar --only rules,lists --dry-run
    """
    import msgspec

    from fraudstream.app.letters import Actor
    from fraudstream.app.restore import RestorePlan
    from fraudstream.app.restore import restore as put_back
    from fraudstream.cli.progress import progress

    plan = RestorePlan(parts=_parts(only), force=force, dry_run=dry_run, expected=expect)
    settings = load_settings(redis_url=redis_url, postgres_url=postgres_url, config=config)
    with progress(quiet=quiet) as shown:
        done = asyncio.run(put_back(settings, plan, source, Actor(*who()), shown))
    if as_json:
        print_json("fraudstream.restored/1", msgspec.to_builtins(done))
        return
    typer.echo(f"archive {done.archive} of {done.made_at}: every member is what was written")
    for part, told in done.about.items():
        typer.echo(_about(part, told))
        if part in done.in_the_way:
            typer.echo(f"  there before: {done.in_the_way[part]}")
        if part in done.restored:
            typer.echo(
                "  restored: " + (", ".join(f"{n:,} {name}" for name, n in done.restored[part].items() if n) or "nothing new")
            )
    typer.echo(_next(done))


def _next(done: Any) -> str:
    if done.dry_run:
        return "nothing was restored (--dry-run)" + (
            "; the target is not empty, so it takes --force" if done.in_the_way else ""
        )
    if "records" in done.restored:
        return "next: fraudstream db maintain; then, where Redis is new: fraudstream features backfill"
    return "running workers take it over within seconds: fraudstream rules workers"


def _about(part: str, told: dict[str, Any]) -> str:
    match part:
        case "rules":
            return f"rules: {told['versions']} sets, {told['changes']} changes, in force {_called(told['in_force'])}"
        case "lists":
            in_force = ", ".join(f"@{name} {version[:12]}" for name, version in told["in_force"].items())
            return f"lists: {told['versions']} versions, {told['changes']} changes, in force {in_force or 'the files'}"
        case "models":
            others = [f"canary {told['canary'][:12]}"] if told["canary"] else []
            others += [f"shadow {one[:12]}" for one in told["shadows"]]
            champion = _called(told["in_force"])
            return f"models: {told['models']}, {told['changes']} changes, in force {', '.join([champion, *others])}"
        case _:
            span = (
                f" from {told['since'] or 'the beginning'} to {told['until'] or 'now'}"
                if told["since"] or told["until"]
                else ""
            )
            return f"records{span}: " + ", ".join(f"{rows:,} {table}" for table, rows in told["rows"].items() if rows)


def _called(digest: str) -> str:
    return digest[:12] or "the file of the settings (not in the archive)"


def _parts(only: str | None) -> tuple[str, ...]:
    from fraudstream.app.backup import PARTS

    if only is None:
        return PARTS
    wanted = [one.strip() for one in only.split(",")]
    unknown = [one for one in wanted if one not in PARTS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)} is none of {', '.join(PARTS)}", param_hint="--only")
    return tuple(one for one in PARTS if one in wanted)
