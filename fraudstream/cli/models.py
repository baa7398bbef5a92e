"""
``fraudstream model``: the models of a running fleet. List, push, promote, roll back, canary, shadow, history.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from fraudstream.cli.asking import REFUSED, AsJson, Config, PostgresUrl, RedisUrl, columns, plain_text, who
from fraudstream.cli.entry import BAD_NEWS, exits, load_settings, print_json
from fraudstream.cli.model_parity import model_app
from fraudstream.cli.rule_sets import moment

__all__ = ["model_app"]

P = ParamSpec("P")
R = TypeVar("R")

Reason = Annotated[str, typer.Option(help="Why; it stays in the history.")]
Actor = Annotated[str | None, typer.Option(help="Who does it (FRAUDSTREAM_ACTOR); the user of this machine otherwise.")]
Registry = Annotated[str | None, typer.Option(help="Folder or URL of the pushed models (FRAUDSTREAM_MODEL_REGISTRY).")]
Features = Annotated[str | None, typer.Option(help="Feature definitions of the fleet (FRAUDSTREAM_FEATURES).")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Version, or first digits of the hash, of a pushed model.")]

_IN_USE = "in use everywhere within two seconds"


def refusals(command: Callable[P, R]) -> Callable[P, R]:
    """
    Turn a refused change into a sentence and exit code 6, and a model that cannot be used into its faults and exit code 1.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from fraudstream.domain.errors import IncompatibleModel, ModelRefused

        try:
            return command(*args, **kwargs)
        except ModelRefused as exc:
            typer.echo(f"refused: {plain_text(exc)}", err=True)
            raise typer.Exit(REFUSED) from None
        except IncompatibleModel as exc:
            typer.echo(plain_text(exc), err=True)
            raise typer.Exit(BAD_NEWS) from None

    return exits(wrapped)


def _at_desk(work: Callable[[Any], Awaitable[R]], **options: Any) -> R:
    """
    Do one piece of work at the desk for models.
    """
    from fraudstream.app.models import open_model_desk

    settings = load_settings(**options)

    async def main() -> R:
        async with open_model_desk(settings, settings.actor or who()[0]) as desk:
            return await work(desk)

    return asyncio.run(main())


@model_app.command("push")
@refusals
def push_command(
    path: Annotated[Path, typer.Argument(help="Model folder, or .onnx file with its .json beside it.")],
    reason: Reason,
    promote: Annotated[bool, typer.Option("--promote", help="Make it the champion at once.")] = False,
    actor: Actor = None,
    registry: Registry = None,
    features: Features = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Check a model against the features of the fleet and keep it in the registry, so that it can be promoted.

    Example: fraudstream model push candidate --reason "trained on June"
    """
    import msgspec

    async def work(desk: Any) -> tuple[Any, Any]:
        pushed = await desk.push(path, reason=reason)
        return pushed, await desk.promote(pushed.model, reason=reason) if promote else None

    pushed, changed = _at_desk(
        work, actor=actor, model_registry=registry, features_path=features, redis_url=redis_url, config=config
    )
    if as_json:
        data = {"pushed": msgspec.to_builtins(pushed), "changed": msgspec.to_builtins(changed)}
        print_json("fraudstream.model_push/1", data)
        return
    typer.echo(f"{'pushed' if pushed.new else 'known since before'}: {pushed.version}, {pushed.model[:12]}, in {pushed.place}")
    typer.echo(_changed(changed) if changed else f"next: fraudstream model promote {pushed.model[:12]} --reason …")


@model_app.command("promote")
@refusals
def promote_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Version or first digits of a hash; 'file' for the settings'.")],
    reason: Reason,
    actor: Actor = None,
    registry: Registry = None,
    features: Features = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Make a pushed model the one that decides, on the whole fleet, without a pause. A canary ends with that.

    Example: fraudstream model promote june-2 --reason "better on held-out days, calm as a shadow"
    """
    _change(
        lambda desk: desk.promote(model, reason=reason),
        as_json,
        actor=actor, model_registry=registry, features_path=features, redis_url=redis_url, config=config,
    )  # fmt: skip


@model_app.command("rollback")
@refusals
def rollback_command(
    reason: Reason,
    actor: Actor = None,
    registry: Registry = None,
    features: Features = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Undo the last promotion or canary; again and again, down to the file of the settings. Shadows stay.

    Example: fraudstream model rollback --reason "blocks too many"
    """
    _change(
        lambda desk: desk.rollback(reason=reason),
        as_json,
        actor=actor, model_registry=registry, features_path=features, redis_url=redis_url, config=config,
    )  # fmt: skip


@model_app.command("canary")
@refusals
def canary_command(
    reason: Reason,
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Version or first digits of a hash; none with --off.")
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the cards that it decides for, always the same.", min=0, max=1)] = 0.05,
    off: Annotated[bool, typer.Option("--off", help="End it: the champion decides for all.")] = False,
    actor: Actor = None,
    registry: Registry = None,
    features: Features = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Let a pushed model decide for a share of the cards (of the customers, where there is no card); the decisions name it.

    Example: fraudstream model canary june-2 --share 0.05 --reason "first trial"
    """
    if off == (model is not None):
        raise typer.BadParameter("name a model, or give --off")
    _change(
        lambda desk: desk.canary(model, share=share, reason=reason),
        as_json,
        actor=actor, model_registry=registry, features_path=features, redis_url=redis_url, config=config,
    )  # fmt: skip


@model_app.command("shadow")
@refusals
def shadow_command(
    model: Model,
    reason: Reason,
    off: Annotated[bool, typer.Option("--off", help="Let it score no more.")] = False,
    actor: Actor = None,
    registry: Registry = None,
    features: Features = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Let a pushed model score everything and decide nothing; any number may do so at once.

    Example: fraudstream model shadow june-2 --reason "a week beside the champion"
    """
    _change(
        lambda desk: desk.shadow(model, off=off, reason=reason),
        as_json,
        actor=actor, model_registry=registry, features_path=features, redis_url=redis_url, config=config,
    )  # fmt: skip


@model_app.command("shadow-report")
@refusals
def shadow_report_command(
    model: Model,
    features: Features = None,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Hold a shadow against what was decided: where they part, and with labels who was right.

    Example: fraudstream model shadow-report june-2
    """
    import msgspec

    from fraudstream.app.shadow_report import shadow_report

    settings = load_settings(features_path=features, redis_url=redis_url, postgres_url=postgres_url, config=config)
    found = asyncio.run(shadow_report(settings, model, actor=who()[0]))
    if as_json:
        print_json("fraudstream.model_shadow_report/1", msgspec.to_builtins(found))
        return
    typer.echo(f"{found.rows:,} payments, mean score {found.mean_decided:.4f} decided, {found.mean_shadow:.4f} shadow,")
    typer.echo(f"rank correlation {found.correlation:.3f}")
    typer.echo(columns(("decided -> shadow", "payments"), list(found.outcomes.items())))
    if found.truth is None:
        typer.echo("no labels of both kinds yet")
    else:
        truth = found.truth
        typer.echo(f"{truth.rows:,} with a label, {truth.frauds:,} frauds: average precision {truth.decided_ap:.4f} decided,")
        typer.echo(f"{truth.shadow_ap:.4f} shadow; AUC {truth.decided_auc:.4f} decided, {truth.shadow_auc:.4f} shadow")


@model_app.command("list")
@refusals
def list_command(
    registry: Registry = None,
    features: Features = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    List the pushed models, the newest first: who decides, who is on trial, who only watches, and what cannot be used.

    Example: fraudstream model list
    """
    import msgspec

    pointer, listed = _at_desk(
        lambda desk: desk.models(), model_registry=registry, features_path=features, redis_url=redis_url, config=config
    )
    if as_json:
        print_json("fraudstream.model_list/1", {"in_use": msgspec.to_builtins(pointer), "models": msgspec.to_builtins(listed)})
        return
    rows = [
        (one.role, one.version, one.model[:12], one.trained_until[:10], moment(one.at_ms), one.author, one.reason)
        for one in listed
    ]
    typer.echo(columns(("role", "version", "model", "trained until", "pushed", "by", "why"), rows))
    for one in listed:
        if one.problem:
            typer.echo(f"{one.version} cannot be used: {plain_text(one.problem)}")
    typer.echo(_in_use(pointer))


@model_app.command("history")
@refusals
def history_command(
    limit: Annotated[int, typer.Option(help="The last so many lines.", min=1)] = 20,
    features: Features = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Show who changed the models, when and why, the last change first.

    Example: fraudstream model history
    """
    import msgspec

    pointer, entries = _at_desk(lambda desk: desk.history(), features_path=features, redis_url=redis_url, config=config)
    last = entries[::-1][:limit]
    if as_json:
        data = {"in_use": msgspec.to_builtins(pointer), "history": msgspec.to_builtins(last)}
        print_json("fraudstream.model_history/1", data)
        return
    rows = [
        (moment(one.at_ms), one.kind, _short(one.champion), _canary(one), _shadows(one), one.actor, one.reason) for one in last
    ]
    typer.echo(columns(("when", "what", "champion", "canary", "shadows", "who", "why"), rows))
    typer.echo(_in_use(pointer))


def _change(work: Callable[[Any], Awaitable[Any]], as_json: bool, **options: Any) -> None:
    import msgspec

    changed = _at_desk(work, **options)
    if as_json:
        print_json("fraudstream.model_change/1", msgspec.to_builtins(changed))
    else:
        typer.echo(_changed(changed))


def _changed(pointer: Any) -> str:
    return f"{_in_use(pointer)} (change {pointer.seq}, {pointer.kind} by {pointer.actor}), {_IN_USE}"


def _in_use(pointer: Any) -> str:
    parts = [f"champion {_short(pointer.champion)}"]
    if pointer.canary:
        parts.append(f"canary {_canary(pointer)}")
    if pointer.shadows:
        parts.append(f"shadows {_shadows(pointer)}")
    return ", ".join(parts)


def _short(model: str) -> str:
    return model[:12] or "the file of the settings"


def _canary(one: Any) -> str:
    return f"{one.canary[:12]} for {one.share:.3g}" if one.canary else ""


def _shadows(one: Any) -> str:
    return " ".join(model[:12] for model in one.shadows)
