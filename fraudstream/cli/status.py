"""
How the system is: ``fraudstream status``, ``lag``, ``streams``, ``pending`` and ``workers``.
"""

import asyncio
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import exits, load_settings
from fraudstream.cli.looked import Looked, chosen, names_in, refuse_unknown, show_as
from fraudstream.cli.screen import finding_lines, headline, table
from fraudstream.cli.spans import Every, seconds

RedisUrl = Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")]
PostgresUrl = Annotated[str | None, typer.Option(help="Address of PostgreSQL or TimescaleDB (POSTGRES_URL).")]
Config = Annotated[str | None, typer.Option(help="TOML file with settings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object (with --watch one a line).")]
Watch = Annotated[bool, typer.Option("--watch", help="Look again and again until stopped.")]
Times = Annotated[int | None, typer.Option(help="Stop --watch after so many looks.", min=1)]
Group = Annotated[str | None, typer.Option(help="Only this group, or several with commas.")]


@exits
def status(
    groups: Annotated[str | None, typer.Option(help="Groups that must be served, with commas; all but labels.")] = None,
    watch: Watch = False,
    every: Every = "2s",  # type: ignore[assignment]  # the parser reads the default as well
    times: Times = None,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    One screen: healthy or not, what is wrong, and the command to type. Exit 1 when unhealthy, 4 when Redis is away.

    Example: fraudstream status --watch
    """
    settings = load_settings(redis_url=redis_url, postgres_url=postgres_url, config=config)
    looked = Looked(settings, groups=groups)

    def show(look: Any) -> bool:
        from fraudstream.app.findings import healthy

        well = healthy(look.findings)
        show_as(as_json, "fraudstream.status/1", lambda: _status_data(look, healthy=well), lambda: _status_text(look))
        return well

    looked.through(show, watch=watch, every_s=every, times=times)


@exits
def lag(
    group: Group = None,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", parser=seconds, metavar="SPAN", help="Age of the oldest unread entry.")
    ] = "30s",  # type: ignore[assignment]
    max_entries: Annotated[int | None, typer.Option(help="Entries that were not read; no limit when not given.", min=0)] = None,
    watch: Watch = False,
    every: Every = "2s",  # type: ignore[assignment]
    times: Times = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    How far each group lies behind. Exit 1 when one is over a limit, so that it can serve as a check.

    Example: fraudstream lag --group fraud-check --max-seconds 10s
    """
    settings = load_settings(redis_url=redis_url, config=config)
    limits = {"max_seconds": max_seconds, "max_entries": max_entries}

    def over(one: Any) -> bool:
        entries = one.lag_entries
        too_many = max_entries is not None and (entries is None or entries > max_entries)
        return too_many or one.oldest_unread_age_s > max_seconds

    def show(look: Any) -> bool:
        found = chosen(look.overview.groups, group)
        rows = [
            (
                *(one.stream, one.group, one.lag_entries, _age(one.oldest_unread_age_s)),
                *(one.pending_entries, _age(one.oldest_pending_age_s), len(one.workers), "OVER" if over(one) else ""),
            )
            for one in found
        ]
        head = ("STREAM", "GROUP", "LAG", "OLDEST", "PENDING", "OLDEST", "WORKERS", "")
        data = [{**_group_data(one), "over": over(one)} for one in found]
        show_as(as_json, "fraudstream.lag/1", lambda: {**limits, "groups": data}, lambda: table(head, rows))
        return not any(map(over, found))

    Looked(settings).through(show, watch=watch, every_s=every, times=times)


@exits
def streams(redis_url: RedisUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """
    Every stream: entries, memory as Redis reports it, age of the first entry.

    Example: fraudstream streams
    """
    import msgspec

    from fraudstream.app.findings import size

    settings = load_settings(redis_url=redis_url, config=config)

    def show(look: Any) -> bool:
        overview = look.overview
        rows = [
            (one.stream, one.entries, size(one.memory_bytes), _age(one.oldest_age_s), one.groups, one.last_id)
            for one in overview.streams
        ]
        head = ("STREAM", "ENTRIES", "MEMORY", "OLDEST", "GROUPS", "LAST ID")
        data = {"streams": msgspec.to_builtins(overview.streams)}
        show_as(as_json, "fraudstream.streams/1", lambda: data, lambda: table(head, rows))
        return True

    Looked(settings).through(show, watch=False, every_s=0.0, times=1)


@exits
def workers(group: Group = None, redis_url: RedisUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """
    Every consumer by its heartbeat: alive, stepping in for another group, or gone and with how much in its hands.

    Example: fraudstream workers --group recorder
    """
    settings = load_settings(redis_url=redis_url, config=config)

    def show(look: Any) -> bool:
        found = [(one, consumer) for one in chosen(look.overview.groups, group) for consumer in one.consumers]
        rows = [(one.group, _state(who), who.pending, _age(who.quiet_s), who.name) for one, who in found]
        data = [
            {"group": one.group, "stream": one.stream, "name": who.name, "state": _state(who), "pending": who.pending,
             "quiet_s": who.quiet_s}
            for one, who in found
        ]  # fmt: skip
        text = table(("GROUP", "STATE", "PENDING", "GONE FOR", "CONSUMER"), rows) if rows else "no consumer was ever seen"
        show_as(as_json, "fraudstream.workers/1", lambda: {"workers": data}, lambda: text)
        return True

    Looked(settings).through(show, watch=False, every_s=0.0, times=1)


@exits
def pending(
    group: Group = None,
    min_idle: Annotated[
        float, typer.Option("--min-idle", parser=seconds, metavar="SPAN", help="Only what nobody has touched for so long.")
    ] = "0s",  # type: ignore[assignment]
    limit: Annotated[int, typer.Option("--limit", "-n", help="Most entries of each group.", min=1, max=10_000)] = 20,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Entries that were read and not acknowledged, the oldest first: whose they are, for how long, and at which try.

    Example: fraudstream pending --group recorder --min-idle 30s
    """
    import msgspec

    from fraudstream.app.looking import pending as look
    from fraudstream.settings import GROUPS

    settings = load_settings(redis_url=redis_url, config=config)
    names = names_in(group) or GROUPS
    refuse_unknown(names)
    found = asyncio.run(look(settings, names, min_idle_s=min_idle, count=limit))
    rows = [
        (one.group, one.entry_id, _age(one.age_s), _age(one.idle_s), one.deliveries, _owner(one)) for one in found
    ]  # fmt: skip
    head = ("GROUP", "ENTRY", "AGE", "IDLE", "TRIES", "HELD BY")
    text = table(head, rows) if rows else "nothing is pending"
    show_as(as_json, "fraudstream.pending/1", lambda: {"entries": msgspec.to_builtins(found)}, lambda: text)


def _status_data(look: Any, *, healthy: bool) -> dict[str, Any]:
    import msgspec

    seen = msgspec.to_builtins(look.overview)
    return {
        "healthy": healthy,
        "at_ms": seen["at_ms"],
        "findings": msgspec.to_builtins(look.findings),
        "server": seen["server"],
        "streams": seen["streams"],
        "groups": [_group_data(one) for one in look.overview.groups],
        "dead_letters": seen["dead_letters"],
        "undeliverable": seen["undeliverable"],
    }


def _group_data(group: Any) -> dict[str, Any]:
    import msgspec

    data: dict[str, Any] = msgspec.to_builtins(group)
    return {**data, "workers": len(group.workers), "gone": len(group.gone)}


def _status_text(look: Any) -> str:
    from fraudstream.app.findings import Level

    bad = [one for one in look.findings if one.level is not Level.OK]
    failed = [one for one in bad if one.level is Level.FAIL]
    overview = look.overview
    groups = [
        (one.group, len(one.workers), one.lag_entries, _age(one.oldest_unread_age_s), one.pending_entries,
         _age(one.oldest_pending_age_s), one.retrying_entries, len(one.gone))
        for one in overview.groups
    ]  # fmt: skip
    blocks = [
        headline(_verdict(failed, len(bad) - len(failed)), good=not failed),
        "\n".join(finding_lines(one) for one in sorted(bad, key=lambda one: one.level is not Level.FAIL)),
        table(("GROUP", "WORKERS", "LAG", "OLDEST", "PENDING", "OLDEST", "RETRYING", "GONE"), groups),
        table(("STREAM", "ENTRIES", "OLDEST"), [(one.stream, one.entries, _age(one.oldest_age_s)) for one in overview.streams]),
        "\n".join(finding_lines(one) for one in look.findings if one.level is Level.OK and one.about in _SERVERS),
    ]
    return "\n\n".join(block for block in blocks if block)


#: What is shown at the end of the screen, also when it is fine.
_SERVERS = ("redis", "memory", "database")


def _verdict(failed: list[Any], warnings: int) -> str:
    if failed:
        return f"UNHEALTHY: {', '.join(dict.fromkeys(one.about for one in failed))}"
    return "healthy" + (f", {warnings} to look at" if warnings else "")


def _state(consumer: Any) -> str:
    if not consumer.alive:
        return "gone"
    return "stepping in" if consumer.stepping_in else "alive"


def _owner(entry: Any) -> str:
    if entry.consumer.startswith("__"):
        return "nobody, waits for its next try"
    return str(entry.consumer) + ("" if entry.consumer_alive else " (gone)")


def _age(seconds_: float) -> str:
    from fraudstream.app.findings import duration

    return duration(seconds_) if seconds_ else "-"
