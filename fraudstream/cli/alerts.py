"""
``fraudstream alerts``: look at what people are told of, answer it, receive Slack's buttons, deal with what was not delivered.
"""

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from fraudstream.cli.asking import REFUSED, AsJson, Config, PostgresUrl, RedisUrl, columns, confirmed, plain_text, who
from fraudstream.cli.entry import BAD_NEWS, PARTLY, UNREACHABLE, exits, load_settings, log_to_stderr, print_json

alerts_app = typer.Typer(help="What people are told of, and what they say to it.", no_args_is_help=True)
undeliverable_app = typer.Typer(help="Alerts that reached nobody.", no_args_is_help=True)
alerts_app.add_typer(undeliverable_app, name="undeliverable")

_R = TypeVar("_R")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
#: Longest snooze, in seconds: what should be quiet for longer is a change of the rules.
_LONGEST_S = 30 * 86_400
Execute = Annotated[bool, typer.Option("--execute", help="Do it; otherwise only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]


def answering(work: Callable[[Any, Any], Awaitable[_R]], **overrides: Any) -> _R:
    """
    Do one piece of work with the alert groups, as whoever runs this command.
    """
    from fraudstream.adapters.redis_alert_answers import Actor
    from fraudstream.app.alert_people import open_answers

    settings = load_settings(**overrides)
    actor = Actor(*who())

    async def main() -> _R:
        async with open_answers(settings) as opened:
            return await work(opened, actor)

    return asyncio.run(main())


@alerts_app.command("list")
@exits
def list_alerts(
    most: Annotated[int, typer.Option("-n", help="At most so many, the youngest first.", min=1, max=10_000)] = 20,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> None:
    """
    List the alert groups of the last two days; personal data masked.

    Example: fraudstream alerts list -n 50
    """
    from fraudstream.app.alert_people import shown_group

    async def work(opened: Any, _actor: Any) -> list[dict[str, Any]]:
        return [shown_group(one) for one in await opened.answers.recent(most)]

    found = answering(work, redis_url=redis_url, config=config)
    if as_json:
        print_json("fraudstream.alerts_list/1", {"alerts": found})
        return
    head = ["alert_id", "severity", "transactions", "value", "last_at", "answer", "title"]
    typer.echo(columns(head, [[one[name] for name in head] for one in found]) if found else "no alerts")
    if found:
        typer.echo(f"next: fraudstream alerts show {found[0]['alert_id']}")


@alerts_app.command("show")
@exits
def show(
    alert: Annotated[str, typer.Argument(help="Alert, or a transaction that is in it.")],
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> None:
    """
    Show one alert group: why, how much, who was told, who answered.

    Example: fraudstream alerts show al_0123456789abcdef
    """
    from fraudstream.app.alert_people import whole_group

    async def work(opened: Any, _actor: Any) -> dict[str, Any] | None:
        return await whole_group(opened, alert)

    found = answering(work, redis_url=redis_url, config=config)
    if found is None:
        _absent(alert)
    elif as_json:
        print_json("fraudstream.alert_group/1", found)
    else:
        for name, value in found.items():
            if value not in ("", None, {}, [], 0):
                _print(name, value)


def _print(name: str, value: Any) -> None:
    if isinstance(value, dict):
        lines = [f"  {key}: {plain_text(text)}" for key, text in value.items()]
    elif isinstance(value, list):
        lines = [f"  {plain_text(text)}" for text in value]
    else:
        typer.echo(f"{name}: {plain_text(value)}")
        return
    typer.echo("\n".join([f"{name}:", *lines]))


def _absent(alert: str) -> None:
    typer.echo(f"no alert {alert}; groups are kept for two days after their last payment", err=True)
    raise typer.Exit(BAD_NEWS)


@alerts_app.command("ack")
@exits
def acknowledge(
    alert_id: Annotated[str, typer.Argument(help="Alert, as alerts list shows it.")],
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Say that you look after an alert; its message in Slack says so too.

    Example: fraudstream alerts ack al_0123456789abcdef
    """

    async def work(opened: Any, actor: Any) -> Any:
        _say_audit(opened)
        return await opened.answers.acknowledge(alert_id, actor)

    marked = answering(work, redis_url=redis_url, postgres_url=postgres_url, config=config)
    if marked.mark.value == "absent":
        _absent(alert_id)
    if as_json:
        print_json("fraudstream.alert_ack/1", {"alert_id": alert_id, "mark": marked.mark.value, "by": marked.by})
    else:
        typer.echo(f"acknowledged {alert_id}" if marked.mark.value == "done" else f"already acknowledged by {marked.by}")


@alerts_app.command("snooze")
@exits
def snooze(
    why: Why,
    rule: Annotated[str | None, typer.Option(help="Rule about which nobody is to be told.")] = None,
    alert_id: Annotated[
        str | None, typer.Option("--alert", help="Instead: the rule of this alert, for its card or device.")
    ] = None,
    span: Annotated[str, typer.Option("--for", help="How long: 30m, 24h, 7d; it ends by itself.")] = "24h",
    end: Annotated[bool, typer.Option("--end", help="End the snooze of a rule now.")] = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Tell nobody about a rule for a time. Decisions stay as they are; what was not told stands in alerts list.

    Example: fraudstream alerts snooze --rule card_testing_burst --for 1h --reason "load test"
    """
    from fraudstream.adapters.redis_alert_answers import Snooze

    if (rule is None) == (alert_id is None):
        raise typer.BadParameter("give --rule or --alert")
    seconds = _seconds(span)

    async def work(opened: Any, actor: Any) -> dict[str, Any]:
        until_ms = opened.now_ms + int(seconds * 1000)
        if end:
            return {"ended": await opened.answers.wake(Snooze(rule_id=rule or "", until_ms=0)), "rule": rule}
        _say_audit(opened)
        if alert_id is not None:
            marked = await opened.answers.snooze_alert(alert_id, until_ms, actor, reason=why)
            return {"snoozed": marked.mark.value == "done", "alert_id": alert_id, "until_ms": until_ms}
        await opened.answers.snooze(Snooze(rule_id=rule or "", until_ms=until_ms), actor, reason=why)
        return {"snoozed": True, "rule": rule, "until_ms": until_ms}

    done = answering(work, redis_url=redis_url, postgres_url=postgres_url, config=config)
    if as_json:
        print_json("fraudstream.alert_snooze/1", done)
    elif done.get("snoozed"):
        typer.echo(f"snoozed {rule or alert_id} for {span}")
    else:
        typer.echo("ended" if done.get("ended") else "nothing was changed")
    if not done.get("snoozed") and not done.get("ended"):
        raise typer.Exit(BAD_NEWS)


def _seconds(span: str) -> float:
    found = _SPAN.fullmatch(span)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= _LONGEST_S:
        raise typer.BadParameter("write 30m, 24h or 7d; at most 30d", param_hint="--for")
    return seconds


def _say_audit(opened: Any) -> None:
    if not opened.audited:
        typer.echo("on record in the database once an alerter with POSTGRES_URL has copied the journal", err=True)


@alerts_app.command("test")
@exits
def send_one(
    channel: Annotated[str, typer.Option(help="console, slack, email or webhook.")] = "console",
    severity: Annotated[str, typer.Option(help="critical, warning or info.")] = "info",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """
    Send a made-up alert on one channel; it is no part of any figure. The exit code is 4 when the channel does not take it.

    Example: fraudstream alerts test --channel slack
    """
    from fraudstream.app.alert_people import send_test
    from fraudstream.domain.alert import Severity
    from fraudstream.domain.errors import AlertFailed

    if severity not in set(Severity):
        raise typer.BadParameter("choose from critical, warning, info", param_hint="--severity")
    settings = load_settings(config=config, alert_channels=channel)
    try:
        sent = asyncio.run(send_test(settings, channel, Severity(severity)))
    except AlertFailed as exc:
        typer.echo(f"error: {channel} did not take it: {exc.detail}", err=True)
        raise typer.Exit(UNREACHABLE) from None
    if as_json:
        print_json("fraudstream.alert_test/1", sent)
    else:
        typer.echo(f"{channel} took {sent['alert_id']} for {sent['recipient']}")


@alerts_app.command("serve")
@exits
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; Slack must reach it through a proxy that speaks TLS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65_535)] = 8080,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Receive the buttons of Slack messages (POST /slack/interactions) until told to stop.

    Example: fraudstream alerts serve --port 8080
    """
    from fraudstream.app.alert_presses import serve_presses

    settings = load_settings(redis_url=redis_url, postgres_url=postgres_url, config=config)
    log_to_stderr(settings)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve_presses(settings, host, port, stop, ready=lambda taken: typer.echo(f"listening on http://{host}:{taken}"))

    asyncio.run(main())


@undeliverable_app.command("list")
@exits
def list_undeliverable(
    most: Annotated[int, typer.Option("-n", help="At most so many, the youngest first.", min=1, max=10_000)] = 20,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> None:
    """
    List alerts that reached nobody on a channel, and why.

    Example: fraudstream alerts undeliverable list
    """
    from fraudstream.app.alert_people import shown_letter

    async def work(opened: Any, _actor: Any) -> list[dict[str, Any]]:
        return [shown_letter(one) for one in await opened.answers.undelivered(most)]

    found = answering(work, redis_url=redis_url, config=config)
    if as_json:
        print_json("fraudstream.undeliverable_list/1", {"letters": found})
        return
    head = ["letter_id", "channel", "alert_id", "severity", "reason", "tries", "error"]
    typer.echo(columns(head, [[one[name] for name in head] for one in found]) if found else "no undeliverable alerts")
    if found:
        typer.echo(f"next: fraudstream alerts undeliverable resend {found[0]['letter_id']} --execute")


Letters = Annotated[list[str] | None, typer.Argument(help="Letters, as undeliverable list shows them.")]
Every = Annotated[bool, typer.Option("--all", help="Every letter.")]


@undeliverable_app.command("resend")
@exits
def resend(
    letters: Letters = None,
    every: Every = False,
    execute: Execute = False,
    yes: Yes = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Have undeliverable alerts told again on their channel, by the alerter: a dry run unless --execute is given.

    Example: fraudstream alerts undeliverable resend --all --execute
    """
    where = {"redis_url": redis_url, "postgres_url": postgres_url, "config": config}
    _take_out(letters, every=every, execute=execute, yes=yes, as_json=as_json, again=True, why="", **where)


@undeliverable_app.command("discard")
@exits
def discard(
    why: Why,
    letters: Letters = None,
    every: Every = False,
    execute: Execute = False,
    yes: Yes = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Throw undeliverable alerts away for good: a dry run unless --execute is given.

    Example: fraudstream alerts undeliverable discard 1768478400000-0 --reason "test" --execute
    """
    where = {"redis_url": redis_url, "postgres_url": postgres_url, "config": config}
    _take_out(letters, every=every, execute=execute, yes=yes, as_json=as_json, again=False, why=why, **where)


def _take_out(
    letters: list[str] | None, *, every: bool, execute: bool, yes: bool, as_json: bool, again: bool, why: str, **where: Any
) -> None:
    if bool(letters) == every:
        typer.echo("refused: name letters, or give --all to mean every one", err=True)
        raise typer.Exit(REFUSED)
    for one in letters or ():
        if re.fullmatch(r"\d+-\d+(@\d+)?", one, re.ASCII) is None:
            raise typer.BadParameter(f"{one!r} is no letter; fraudstream alerts undeliverable list shows them")
    verb = "resend" if again else "discard"
    if execute:
        confirmed(f"{verb.capitalize()} the undeliverable alerts?", yes=yes)

    async def work(opened: Any, actor: Any) -> list[dict[str, Any]]:
        meant = await opened.answers.undelivered(10_000) if every else []
        meant += [found for one in letters or () if (found := await opened.answers.undelivered_one(one)) is not None]
        if execute:
            _say_audit(opened)
        return [
            {
                "letter_id": one.letter_id,
                "channel": one.channel,
                "alert_id": one.alert_id,
                "done": execute and await opened.answers.take_out(one, actor, again=again, reason=why),
            }
            for one in meant
        ]

    found = answering(work, **where)
    done = sum(1 for one in found if one["done"])
    known = {one["letter_id"] for one in found}
    missing = [one for one in letters or () if one not in known]
    if as_json:
        print_json(
            f"fraudstream.undeliverable_{verb}/1", {"executed": execute, "done": done, "letters": found, "missing": missing}
        )
    else:
        typer.echo(columns(["letter_id", "channel", "alert_id"], [list(one.values())[:3] for one in found]))
        told = f"{verb}: {done} of {len(found)}" if execute else f"dry run: {len(found)} are meant; add --execute"
        typer.echo(told + "".join(f"\nno letter {one}" for one in missing))
    if execute and (missing or done < len(found)):
        raise typer.Exit(PARTLY)
