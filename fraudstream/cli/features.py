"""
``fraudstream features``: what is declared, whether a file is right, and whether the values are.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import BAD_NEWS, exits, load_settings, print_json

features_app = typer.Typer(help="The features: their file, their values, and checks of both.", no_args_is_help=True)

FeaturesFile = Annotated[Path | None, typer.Option("--features", help="Definitions file (FRAUDSTREAM_FEATURES).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@features_app.callback()
def features() -> None:
    """
    The features: their file, their values, and checks of both.
    """


def _declared(path: Path | None) -> Any:
    from fraudstream.app.loading import load_rulebook

    return load_rulebook(load_settings(features_path=None if path is None else str(path))).features


@features_app.command("list")
@exits
def list_command(features_path: FeaturesFile = None, as_json: AsJson = False) -> None:
    """
    Show every feature with unit, default, window and sentence.

    Example: fraudstream features list
    """
    from fraudstream.cli.screen import table
    from fraudstream.features.inspected import window

    declared = _declared(features_path)
    if as_json:
        print_json(
            "fraudstream.features-list/1", {**_summary(declared), "features": [_shown(one) for one in declared.features]}
        )
        return
    rows = [(one.name, one.unit, _number(one.default), window(one), one.description) for one in declared.features]
    typer.echo(table(("feature", "unit", "default", "window", "about"), rows))
    typer.echo(_summary_text(declared))


def _number(value: float) -> str:
    return f"{value:g}"


def _shown(one: Any) -> dict[str, Any]:
    from fraudstream.features.inspected import window

    return {
        "name": one.name,
        "unit": one.unit,
        "default": None if one.default != one.default else one.default,
        "window": window(one),
        "about": one.description,
        "source": one.source,
    }


def _summary(declared: Any) -> dict[str, Any]:
    return {
        "feature_set": declared.id,
        "count": len(declared.names),
        "logs": list(declared.logs),
        "buckets": list(declared.rings),
        "record_bytes": {kind: layout.size for kind, layout in declared.layouts.items()},
        "keep_records": declared.log_cap_records,
    }


def _summary_text(declared: Any) -> str:
    kept = ", ".join([*(f"{kind} (log)" for kind in declared.logs), *(f"{kind} (buckets)" for kind in declared.rings)])
    sizes = ", ".join(f"{layout.size} ({kind})" for kind, layout in declared.layouts.items())
    size = f"; records of {sizes} bytes, at most {declared.log_cap_records} per log" if sizes else ""
    return f"{len(declared.names)} features, set {declared.id}; keeps {kept or 'nothing'}{size}"


@features_app.command("check")
@exits
def check_command(file: Annotated[Path, typer.Argument(help="Definitions file.")], as_json: AsJson = False) -> None:
    """
    Read a definitions file and show every problem with line, caret and remedy; ends with 1 when there is one.

    Example: fraudstream features check models/default.features
    """
    from fraudstream.domain.errors import InvalidFeatures, InvalidSettings
    from fraudstream.features.load import load_features

    try:
        declared = load_features(file.read_text(encoding="utf-8"), name=str(file))
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidSettings(f"{file} cannot be read ({exc})") from None
    except InvalidFeatures as exc:
        if as_json:
            print_json("fraudstream.features-check/1", {"ok": False, "problems": str(exc)})
        else:
            typer.echo(str(exc), err=True)
        raise typer.Exit(BAD_NEWS) from None
    if as_json:
        print_json("fraudstream.features-check/1", {"ok": True, **_summary(declared)})
    else:
        typer.echo(f"{file} is right: {_summary_text(declared)}")


@features_app.command("explain")
@exits
def explain_command(
    transaction_id: Annotated[str, typer.Argument(help="Id of a decided transaction.")],
    redis_url: Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")] = None,
    postgres_url: Annotated[str | None, typer.Option(help="Address of the database (POSTGRES_URL).")] = None,
    features_path: FeaturesFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Show the features behind a decision: as recorded, from the states as they stand now, window, events in it, quality.

    Example: fraudstream features explain txn_42
    """
    import msgspec

    from fraudstream.app.feature_values import explain_features

    path = None if features_path is None else str(features_path)
    settings = load_settings(redis_url=redis_url, postgres_url=postgres_url, features_path=path)
    found = asyncio.run(explain_features(settings, transaction_id))
    if found is None:
        typer.echo(f"no decision on record for {transaction_id!r}", err=True)
        raise typer.Exit(BAD_NEWS)
    if as_json:
        print_json("fraudstream.features-explain/1", msgspec.to_builtins(found))
    else:
        typer.echo(_explained_text(found))


def _explained_text(found: Any) -> str:
    from fraudstream.cli.screen import table

    head = ("feature", "recorded", "now", "unit", "events", "quality", "window")
    rows = [
        (one.name, _value(one.recorded), _value(one.now), one.unit, _value(one.events), one.quality, one.window)
        for one in found.features
    ]
    return "\n".join([f"{found.transaction_id}, feature set {found.feature_set}", *found.notes, table(head, rows)])


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.9g}"


@features_app.command("replay")
@exits
def replay_command(
    file: Annotated[Path, typer.Argument(help="CSV, JSON Lines or Parquet, in the order of event time; may be .gz.")],
    output: Annotated[Path, typer.Option(help="Parquet file to write.")],
    mapping: Annotated[str | None, typer.Option(help="Columns: generic, paysim, handbook, or a mapping file.")] = None,
    features_path: FeaturesFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Stream a history through the very kernel that serves, and write one vector per transaction.

    Example: fraudstream features replay history.csv --output vectors.parquet
    """
    from fraudstream.app.feature_values import replay_file

    path = None if features_path is None else str(features_path)
    settings = load_settings(features_path=path)
    declared = _declared(features_path)
    rows = replay_file(declared, file, output, mapping=mapping, currency=settings.currency)
    if as_json:
        data = {"rows": rows, "output": str(output), "feature_set": declared.id, "features": list(declared.names)}
        print_json("fraudstream.features-replay/1", data)
    else:
        typer.echo(f"{rows:,} vectors of {len(declared.names)} features written to {output}")


@features_app.command("migrate")
@exits
def migrate_command(
    old: Annotated[Path, typer.Option("--from", help="The definitions file that the states were kept by until now.")],
    redis_url: Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")] = None,
    features_path: FeaturesFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Carry the entity states over to the definitions in force, before the workers restart with them.

    Run it once while the old workers still run, and again when they have stopped: what is carried over already stays.

    Example: fraudstream features migrate --from models/previous.features
    """
    from fraudstream.app.carry import migrate_states
    from fraudstream.cli.progress import progress

    path = None if features_path is None else str(features_path)
    settings = load_settings(redis_url=redis_url, features_path=path)
    with progress(quiet=as_json) as shown:
        carried = asyncio.run(migrate_states(settings, old, shown))
    _show_carried("fraudstream.features-migrate/1", carried, as_json=as_json)


@features_app.command("backfill")
@exits
def backfill_command(
    redis_url: Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")] = None,
    postgres_url: Annotated[str | None, typer.Option(help="Address of the database (POSTGRES_URL).")] = None,
    features_path: FeaturesFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Fill the entity states from the decisions and labels on record, where they do not know them: a new feature starts warm.

    Example: fraudstream features backfill --features models/default.features
    """
    from fraudstream.app.carry import backfill_states
    from fraudstream.cli.progress import progress

    path = None if features_path is None else str(features_path)
    settings = load_settings(redis_url=redis_url, postgres_url=postgres_url, features_path=path)
    with progress(quiet=as_json) as shown:
        carried = asyncio.run(backfill_states(settings, shown))
    _show_carried("fraudstream.features-backfill/1", carried, as_json=as_json)


def _show_carried(schema: str, carried: Any, *, as_json: bool) -> None:
    import msgspec

    from fraudstream.cli.screen import table

    if as_json:
        print_json(schema, msgspec.to_builtins(carried))
        return
    if carried.transactions:
        typer.echo(f"{carried.transactions:,} decisions and {carried.labels:,} labels on record")
    rows = [(kind, count, carried.changed[kind]) for kind, count in carried.read.items()]
    typer.echo(
        table(("entity", "states found", "states changed"), rows) if rows else "the layout is the same: nothing to carry over"
    )
    if carried.cold:
        typer.echo(f"cold until they fill, or until: fraudstream features backfill; {', '.join(carried.cold)}")


@features_app.command("parity")
@exits
def parity_command(
    sample: Annotated[float, typer.Option(help="Share of the entities, by the hash of their ids.", min=0, max=1)] = 0.01,
    postgres_url: Annotated[str | None, typer.Option(help="Address of the database (POSTGRES_URL).")] = None,
    features_path: FeaturesFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Compute recorded vectors again offline and compare them bit for bit; ends with 1 when one over logs differs.

    Example: fraudstream features parity --sample 0.05
    """
    import msgspec

    from fraudstream.app.parity import run_parity
    from fraudstream.cli.screen import table

    path = None if features_path is None else str(features_path)
    found = asyncio.run(run_parity(load_settings(postgres_url=postgres_url, features_path=path), sample=sample))
    if as_json:
        print_json("fraudstream.features-parity/1", msgspec.to_builtins(found))
    else:
        rows = [(name, one.compared, one.mismatches, one.missing, one.extra) for name, one in found.features.items()]
        left = f"{found.other_feature_set:,} of another feature set, {found.without_vector:,} without a vector"
        typer.echo(f"{found.rows:,} vectors of feature set {found.feature_set} compared; {left}")
        typer.echo(table(("feature", "compared", "mismatches", "missing", "extra"), rows))
    if found.exact_mismatches:
        raise typer.Exit(BAD_NEWS)


@features_app.command("golden")
@exits
def golden_command(
    data: Annotated[Path, typer.Option(help="Folder with transactions.parquet and golden_features.parquet.")],
    path: Annotated[str, typer.Option(help="online (through Redis) or offline (in memory).")] = "offline",
    limit: Annotated[int | None, typer.Option(help="Compare only so many rows, the first by time.", min=1)] = None,
    features_path: FeaturesFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Compare our fifteen handbook features with the authors' own values; ends with 1 when more than the two tied rows differ.

    Example: fraudstream features golden --data handbook --path online --limit 2000
    """
    import msgspec

    from fraudstream.app.golden import run_golden
    from fraudstream.settings import locate

    if path not in ("online", "offline"):
        raise typer.BadParameter(f"--path is online or offline, not {path!r}")
    declared = _declared(features_path or locate(Path("models/handbook15.features")))
    report = asyncio.run(run_golden(declared, data, online=path == "online", limit=limit))
    if as_json:
        print_json("fraudstream.features-golden/1", msgspec.to_builtins(report))
    else:
        typer.echo(_golden_text(report))
    if len(report.differing) > _TIED_ROWS:
        raise typer.Exit(BAD_NEWS)


#: Golden rows whose authors counted a transaction of the same second in the other order.
_TIED_ROWS = 2


def _golden_text(report: Any) -> str:
    from fraudstream.cli.screen import table

    ids = ", ".join(map(str, report.differing)) or "none"
    head = f"{report.rows:,} golden rows, {report.path}, {report.seconds} s; rows that differ: {ids}"
    return "\n".join([head, table(("feature", "mismatches"), list(report.mismatches.items()))])
