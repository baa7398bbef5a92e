"""
``fraudstream doctor``: what is wrong, and what to do about it.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import BAD_NEWS, UNREACHABLE, exits, load_settings, print_json
from fraudstream.cli.screen import finding_lines, headline
from fraudstream.cli.spans import seconds


@exits
def doctor(
    slack: Annotated[bool, typer.Option("--slack", help="Ask Slack whether it knows our token; posts nothing.")] = False,
    between: Annotated[
        float,
        typer.Option(parser=seconds, metavar="SPAN", help="Pause between two looks, to see what falls behind or stands still."),
    ] = "2s",  # type: ignore[assignment]  # the parser reads the default as well
    redis_url: Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")] = None,
    postgres_url: Annotated[str | None, typer.Option(help="Address of PostgreSQL or TimescaleDB (POSTGRES_URL).")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder or ONNX file (ML_MODEL_PATH).")] = None,
    config: Annotated[str | None, typer.Option(help="TOML file with settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """
    Examine Redis, streams, groups, workers, database, model, rules and features; say what to do for each thing found.

    Exit 1 when something fails, 4 when Redis is away.

    Example: fraudstream doctor --json
    """
    import msgspec

    from fraudstream.app.doctor import examine
    from fraudstream.app.findings import Limits, healthy

    settings = load_settings(redis_url=redis_url, postgres_url=postgres_url, model_path=model, config=config)
    limits = Limits(memory_ratio=settings.memory_limit_ratio)
    examined = asyncio.run(examine(settings, limits, between_s=between, slack=slack))
    findings = [*examined.findings, *secrets_in(os.environ)]
    well = healthy(findings)
    if as_json:
        print_json("fraudstream.doctor/1", {"healthy": well, "findings": msgspec.to_builtins(findings)})
    else:
        typer.echo("\n".join([_verdict(findings, good=well), *map(finding_lines, findings)]))
    if not well:
        raise typer.Exit(BAD_NEWS if examined.reachable else UNREACHABLE)


def secrets_in(environment: Mapping[str, str]) -> list[Any]:
    """
    Return a warning for each secret that stands in the environment itself, where child processes and crash reports see it.
    """
    from fraudstream.app.findings import Finding, Level
    from fraudstream.settings import CATALOGUE

    variables = [variable for setting in CATALOGUE.values() if setting.secret for variable in setting.variables]
    return [
        Finding(
            level=Level.WARN,
            about="settings",
            says=f"{variable} holds a secret in the environment",
            command=f"put it into a file that only we can read, and set {variable}_FILE to its path",
        )
        for variable in variables
        if _is_secret(environment.get(variable, ""))
    ]


def _is_secret(value: str) -> bool:
    """
    Say whether a value must not be seen: an address only is one where it carries a password.
    """
    if "://" in value:
        user, at, _ = value.partition("://")[2].rpartition("@")
        return bool(at) and ":" in user
    return bool(value.strip())


def _verdict(findings: list[Any], *, good: bool) -> str:
    counts = {level: sum(one.level.value == level for one in findings) for level in ("fail", "warn", "ok")}
    text = f"{counts['fail']} failed, {counts['warn']} to look at, {counts['ok']} fine"
    return headline(("healthy: " if good else "UNHEALTHY: ") + text, good=good)
