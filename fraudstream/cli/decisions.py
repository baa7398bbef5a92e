"""
``fraudstream decisions``: the decisions on record and their evidence.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from fraudstream.cli.asking import AsJson, Config, PostgresUrl, Unmask, columns, moment_of, plain_text, who
from fraudstream.cli.entry import BAD_NEWS, exits, load_settings, print_json

decisions_app = typer.Typer(help="Decisions on record: look up, search, export, execute again.", no_args_is_help=True)

Entity = Annotated[
    list[str] | None, typer.Option("--entity", help="kind=id: card, user, device, merchant or ip; several must all hold.")
]
Since = Annotated[str | None, typer.Option(help="Decided since then: 30m, 2h, 7d, or ISO 8601.")]
Until = Annotated[str | None, typer.Option(help="Decided before then.")]
Occurred = Annotated[bool, typer.Option("--occurred", help="--since and --until mean the payment's own time.")]
OutcomeOption = Annotated[
    list[str] | None, typer.Option("--outcome", help="approve, challenge, review, block, or flagged for the last three.")
]
Rule = Annotated[str | None, typer.Option(help="Id of a rule that fired.")]
MinScore = Annotated[float | None, typer.Option(help="Score from here on.", min=0, max=1)]
MaxScore = Annotated[float | None, typer.Option(help="Score up to here.", min=0, max=1)]
MinAmount = Annotated[float | None, typer.Option(help="Amount from here on, in major units.")]
MaxAmount = Annotated[float | None, typer.Option(help="Amount up to here, in major units.")]
Currency = Annotated[str | None, typer.Option(help="ISO 4217 code.")]
Degraded = Annotated[bool, typer.Option("--degraded", help="Only decisions made without one of the verdicts.")]
Archive = Annotated[
    list[Path] | None,
    typer.Option(help="Folder with older rules, lists, models and feature definitions; searched to the bottom."),
]
_R = TypeVar("_R")
_FLAGGED = ("challenge", "review", "block")


def _criteria(entity: list[str] | None, since: str | None, until: str | None, outcome: list[str] | None, **others: Any) -> Any:
    from fraudstream.adapters.postgres_search import Criteria
    from fraudstream.domain.decision import Outcome

    named = [one for name in outcome or () for one in (_FLAGGED if name == "flagged" else (name,))]
    if unknown := [name for name in named if name not in {one.value for one in Outcome}]:
        raise typer.BadParameter(f"{unknown[0]!r} is no outcome; choose from approve, challenge, review, block, flagged")
    return Criteria(
        entities=tuple(map(_entity, entity or ())),
        since=None if since is None else moment_of(since, "--since"),
        until=None if until is None else moment_of(until, "--until"),
        outcomes=tuple(dict.fromkeys(map(Outcome, named))),
        **{name: value for name, value in others.items() if value is not None},
    )


def _entity(text: str) -> tuple[str, str]:
    from fraudstream.domain.transaction import ENTITY_FIELDS

    kind, sign, entity = text.partition("=")
    if kind not in ENTITY_FIELDS or not sign:
        kinds = ", ".join(ENTITY_FIELDS)
        raise typer.BadParameter(f"{text!r} is not kind=id with a kind of {kinds}", param_hint="--entity")
    return kind, entity


def _in_case_room(work: Callable[[Any, Any], Awaitable[_R]], **overrides: Any) -> _R:
    from fraudstream.app.case import open_case_room
    from fraudstream.app.letters import Actor

    settings = load_settings(**overrides)

    async def main() -> _R:
        async with open_case_room(settings, Actor(*who())) as room:
            return await work(room, settings)

    return asyncio.run(main())


@decisions_app.command("show")
@exits
def show(
    transaction_id: Annotated[str, typer.Argument(help="Transaction.")],
    unmask: Unmask = False,
    archive: Archive = None,
    as_json: AsJson = False,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Show one decision: the payment, the evidence, what came after it, and whether it can be executed again to the same answer.

    Example: fraudstream decisions show txn_42
    """

    async def work(room: Any, settings: Any) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await room.show(transaction_id, settings, archive or (), unmask=unmask)
        return found

    shown = _in_case_room(work, postgres_url=postgres_url, config=config)
    if shown is None:
        typer.echo(f"no decision of transaction {plain_text(transaction_id)} is on record", err=True)
        raise typer.Exit(BAD_NEWS)
    if as_json:
        print_json("fraudstream.decision_shown/1", _dated(shown))
    else:
        _print_decision(shown)


def _dated(value: Any) -> Any:
    """
    Write times as text, everywhere in a value.
    """
    if isinstance(value, dict):
        return {name: _dated(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_dated(one) for one in value]
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else value


def _print_decision(shown: dict[str, Any]) -> None:
    paid = shown["transaction"]
    degraded = ", ".join(shown["degraded"])
    typer.echo(f"{plain_text(paid['transaction_id'])}: {shown['outcome']}, score {shown['score']:.4f}")
    typer.echo(
        f"  model {_number(shown['probability'])}, rules {shown['points']:+g} points"
        + (f", degraded: {degraded}" if degraded else "")
    )
    _block("payment", [(name, value) for name, value in paid.items() if name != "transaction_id" and value is not None])
    _block("why", [(one["code"], _why(one)) for one in shown["reasons"]])
    _block("rules", [(one["rule_id"], f"{one['action']}: {one.get('explanation', '')}") for one in shown["rule_hits"]])
    _block("shadow rules", [(one["rule_id"], f"{one['action']}: {one.get('explanation', '')}") for one in shown["shadow_hits"]])
    _block("features", [(name, "missing" if value is None else f"{value:g}") for name, value in shown["features"].items()])
    made = [(name, shown[name]) for name in ("rule_set", "model", "feature_set")]
    made += [(f"@{name}", version) for name, version in shown["lists"].items()]
    _block("made with", [*made, *((name, shown[name]) for name in ("occurred_at", "received_at", "decided_at"))])
    for name in ("labels", "alerts", "superseding"):
        _block(name, [(next(iter(one.values())), list(_dated(one).values())[1:]) for one in shown[name]])
    _print_execution(shown["execution"])


def _why(reason: dict[str, Any]) -> str:
    contribution = reason.get("contribution")
    return str(reason["text"]) + ("" if contribution is None else f" ({contribution:+g} log-odds)")


def _number(value: float | None) -> str:
    return "no opinion" if value is None else f"{value:.4f}"


def _block(title: str, pairs: list[tuple[Any, Any]]) -> None:
    if pairs:
        typer.echo(title)
        width = max(len(str(name)) for name, _ in pairs)
        for name, value in pairs:
            typer.echo(f"  {plain_text(name).ljust(width)}  {plain_text(value)}")


def _print_execution(execution: dict[str, Any]) -> None:
    words = {"same": "the same, bit for bit", "differs": "DIFFERS", "not_at_hand": "cannot be executed again"}
    typer.echo(f"executed again: {words[execution['verdict']]}")
    for note in execution["notes"]:
        typer.echo(f"  {plain_text(note)}")
    for one in execution["differences"]:
        typer.echo(f"  {one['field']}: recorded {plain_text(one['recorded'])}, again {plain_text(one['again'])}")


@decisions_app.command("search")
@exits
def search(
    entity: Entity = None,
    since: Since = None,
    until: Until = None,
    occurred: Occurred = False,
    outcome: OutcomeOption = None,
    rule: Rule = None,
    min_score: MinScore = None,
    max_score: MaxScore = None,
    min_amount: MinAmount = None,
    max_amount: MaxAmount = None,
    currency: Currency = None,
    degraded: Degraded = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.", min=1)] = 50,
    unmask: Unmask = False,
    as_json: AsJson = False,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Find decisions, the newest first; what is asked for must all hold.

    Example: fraudstream decisions search --entity card=card_4 --outcome flagged --since 7d
    """
    criteria = _criteria(
        entity, since, until, outcome, occurred=occurred, rule=rule, score_from=min_score, score_to=max_score,
        amount_from=min_amount, amount_to=max_amount, currency=currency, degraded=degraded,
    )  # fmt: skip

    async def work(room: Any, _settings: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await room.search(criteria, limit=limit, unmask=unmask)
        return found

    found = _in_case_room(work, postgres_url=postgres_url, config=config)
    if as_json:
        print_json("fraudstream.decisions/1", {"decisions": found, "limit": limit})
        return
    rows = [_row(one) for one in found]
    head = ["transaction_id", "decided_at", "outcome", "score", "amount", "card", "user", "merchant", "rules"]
    typer.echo(columns(head, rows) if rows else "no decision is so")
    if len(found) == limit:
        typer.echo(f"there may be more than {limit}; raise --limit or use: fraudstream decisions export")


def _row(shown: dict[str, Any]) -> list[Any]:
    from fraudstream.domain.currency import format_minor

    paid = shown["transaction"]
    entities = [paid.get(name) for name in ("card_id", "user_id", "merchant")]
    rules = ",".join(one["rule_id"] for one in shown["rule_hits"])
    amount = format_minor(paid["amount_minor"], paid["currency"])
    return [paid["transaction_id"], shown["decided_at"], shown["outcome"], f"{shown['score']:.4f}", amount, *entities, rules]


@decisions_app.command("export")
@exits
def export(
    path: Annotated[str, typer.Argument(help="File to write: .csv, .jsonl or .parquet; '-' is standard output.")],
    form: Annotated[str | None, typer.Option("--format", help="csv, jsonl or parquet; else as the file is called.")] = None,
    entity: Entity = None,
    since: Since = None,
    until: Until = None,
    occurred: Occurred = False,
    outcome: OutcomeOption = None,
    rule: Rule = None,
    min_score: MinScore = None,
    max_score: MaxScore = None,
    min_amount: MinAmount = None,
    max_amount: MaxAmount = None,
    currency: Currency = None,
    degraded: Degraded = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="At most so many; all when not given.", min=1)] = None,
    unmask: Unmask = False,
    as_json: AsJson = False,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Write decisions to a file, the newest first, however many; personal data masked.

    Example: fraudstream decisions export flagged.parquet --outcome flagged --since 30d
    """
    from fraudstream.adapters.decision_files import FORMS

    chosen = form or {"ndjson": "jsonl"}.get(Path(path).suffix.lstrip("."), Path(path).suffix.lstrip(".")) or "jsonl"
    if chosen not in FORMS or (chosen == "parquet" and path == "-"):
        raise typer.BadParameter(f"choose a form with --format: {', '.join(FORMS)} (parquet to a file only)")
    criteria = _criteria(
        entity, since, until, outcome, occurred=occurred, rule=rule, score_from=min_score, score_to=max_score,
        amount_from=min_amount, amount_to=max_amount, currency=currency, degraded=degraded,
    )  # fmt: skip

    async def work(room: Any, _settings: Any) -> int:
        count: int = await room.export(criteria, path, chosen, sys.stdout, limit=limit, unmask=unmask)
        return count

    count = _in_case_room(work, postgres_url=postgres_url, config=config)
    if as_json and path != "-":
        print_json("fraudstream.decisions_export/1", {"path": path, "format": chosen, "decisions": count, "masked": not unmask})
    else:
        typer.echo(f"wrote {count} decisions" + ("" if unmask else ", personal data masked"), err=True)


@decisions_app.command("explain")
@exits
def explain(
    transaction_ids: Annotated[list[str] | None, typer.Argument(help="Transactions.")] = None,
    sample: Annotated[
        int | None, typer.Option(help="So many decisions on record by chance, instead of named ones.", min=1)
    ] = None,
    archive: Archive = None,
    as_json: AsJson = False,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Execute decisions again from their records and compare bit for bit; exit 1 when one differs or cannot be executed.

    Example: fraudstream decisions explain txn_42
    """
    from fraudstream.app.case import shown_explanation
    from fraudstream.app.shelf import Shelf

    if bool(transaction_ids) == (sample is not None):
        raise typer.BadParameter("name transactions, or give --sample N")

    async def work(room: Any, settings: Any) -> list[dict[str, Any]]:
        shelf = Shelf(settings, archive or ())
        return [
            _absent(one) if isinstance(one, str) else shown_explanation(one)
            async for one in room.explain(transaction_ids or (), shelf, sample=sample)
        ]

    explained = _in_case_room(work, postgres_url=postgres_url, config=config)
    counts = {
        name: sum(1 for one in explained if one["verdict"] == name) for name in ("same", "differs", "not_at_hand", "absent")
    }
    if as_json:
        told = explained if sample is None else [one for one in explained if one["verdict"] != "same"]
        print_json("fraudstream.explain/1", {"counts": counts, "decisions": told})
    else:
        _print_explained(explained, counts)
    if counts["same"] < len(explained):
        raise typer.Exit(BAD_NEWS)


@decisions_app.command("verify")
@exits
def verify(
    sample: Annotated[int, typer.Option(help="So many decisions on record by chance.", min=1)] = 10_000,
    archive: Archive = None,
    as_json: AsJson = False,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Execute decisions by chance again, bit for bit, whatever rules, lists and models made them; exit 1 when one is not the same.

    What is no longer current is looked up by its hash: in Redis, in the registry of models, and in --archive.

    Example: fraudstream decisions verify --sample 10000 --json
    """
    import msgspec

    from fraudstream.app.case import shown_explanation
    from fraudstream.app.shelf import Shelf

    async def work(room: Any, settings: Any) -> Any:
        return await room.verify(Shelf(settings, archive or ()), sample=sample)

    found = _in_case_room(work, postgres_url=postgres_url, config=config)
    counts = msgspec.structs.asdict(found) | {"not_same": [shown_explanation(one) for one in found.not_same]}
    if as_json:
        print_json("fraudstream.verify/1", counts)
    else:
        for one in counts["not_same"]:
            typer.echo(plain_text(one["transaction_id"]))
            _print_execution(one)
        typer.echo(
            f"{found.same:,} of {found.decisions:,} the same, bit for bit, {found.differs:,} differ, "
            f"{found.not_at_hand:,} cannot be executed; made by {found.rule_sets} rule sets, {found.models} models, "
            f"{found.list_versions} versions of lists; {found.seconds:.1f} s"
        )
    if found.same < found.decisions:
        raise typer.Exit(BAD_NEWS)


def _absent(transaction_id: str) -> dict[str, Any]:
    return {
        "transaction_id": transaction_id,
        "verdict": "absent",
        "notes": ["no such decision is on record"],
        "differences": [],
    }


def _print_explained(explained: list[dict[str, Any]], counts: dict[str, int]) -> None:
    for one in explained if len(explained) <= 20 else [one for one in explained if one["verdict"] != "same"][:20]:
        typer.echo(plain_text(one["transaction_id"]))
        if one["verdict"] == "absent":
            typer.echo("  no such decision is on record")
        else:
            _print_execution(one)
    typer.echo(
        ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items() if count) or "no decision is on record"
    )
