"""
A backtest from the outside: which rules, which payments, which lists as they were, and the report.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from fraudstream.adapters.decision_tables import holds_decisions, masked, query_decisions, read_decisions, read_label_file
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.app.connections import address
from fraudstream.app.list_files import ListFiles
from fraudstream.app.list_library import ListLibrary
from fraudstream.app.loading import load_rulebook
from fraudstream.app.people import fleet_tokens
from fraudstream.app.rule_files import RuleBench
from fraudstream.domain.errors import InvalidRule, InvalidSettings, InvalidSource, InvalidTransaction, TransientError
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import records
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.replay import replay
from fraudstream.producers.files import read_file
from fraudstream.producers.labelled import Labelled
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import read_rules
from fraudstream.rules.ruleset import RuleSet
from fraudstream.rules.table import table_of
from fraudstream.scoring.load import load_model
from fraudstream.settings import Settings, locate
from fraudstream.training.backtest import MATURITY_DAYS, backtest
from fraudstream.training.backtest_report import Report, report
from fraudstream.training.payments import FRAUD, LEGITIMATE, NO_DECISION, UNKNOWN, Payments, payments_of

#: The name of the comparison with what was decided at the time.
RECORDED = "recorded"
#: Transactions replayed at once; values do not depend on it.
_BATCH = 512


class BacktestPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    What to try on what.

    ``data`` is an export of decisions or a file of transactions to replay; None reads the database. ``baseline`` is a rule
    file, or ``recorded`` for the decisions as they were made; None is the rules of the settings. ``known_at`` is the moment up
    to which labels have come in, None is now. ``mapping`` says how the columns of a transaction file are read.
    """

    rules: Path
    data: Path | None = None
    baseline: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    labels: Path | None = None
    known_at: datetime | None = None
    maturity_days: float = MATURITY_DAYS
    mapping: str | None = None


async def run_backtest(settings: Settings, plan: BacktestPlan) -> tuple[Report, RuleSet]:
    """
    Return the report of a backtest, and the candidate.

    Raises:
        InvalidRule: The rules cannot be used.
        InvalidSource: The payments cannot be read.
        InvalidSettings: No payments are named.
        DecisionStoreUnavailable: The database does not answer.
    """
    bench, policy = await _bench(settings, plan), load_rulebook(settings).policy
    candidate = bench.load(read_rules(plan.rules), name=str(plan.rules))
    baseline = _baseline(settings, plan, bench)
    known_at = plan.known_at or datetime.now(UTC)
    payments, notes = await _payments(settings, plan, bench.features, known_at)
    if not len(payments):
        raise InvalidSource(f"there is no payment to judge in this span{_why(payments.left_out)}")
    kept = await _lists_of_then(settings, payments, candidate, baseline)
    known_at_ms = known_at.timestamp() * 1000
    found = backtest(
        candidate,
        baseline,
        payments,
        policy,
        known_at_ms=known_at_ms,
        maturity_days=plan.maturity_days,
        list_at=lambda _, version: kept.get(version),
    )
    told = report(found, known_at_ms=known_at_ms, maturity_days=plan.maturity_days)
    return msgspec.structs.replace(told, notes=(*notes, *told.notes)), candidate


async def _bench(settings: Settings, plan: BacktestPlan) -> RuleBench:
    """
    Return what loads rules: for decisions on record, in which tokens stand for people, with tokens in rules and lists too.

    With Redis away, and no key in the settings, a rule that asks for one person finds nobody.
    """
    if plan.data is None or holds_decisions(plan.data):
        with suppress(TransientError):
            tokens = await fleet_tokens(settings)
            return RuleBench(settings, *ListFiles(settings, tokens).read(), written=tokens.text)
    return RuleBench(settings)


def _baseline(settings: Settings, plan: BacktestPlan, bench: RuleBench) -> RuleSet | None:
    if plan.baseline == RECORDED:
        return None
    path = locate(settings.rules_path) if plan.baseline is None else Path(plan.baseline)
    return bench.load(read_rules(path), name=str(path))


def _why(left_out: Mapping[str, int]) -> str:
    return "".join(f"; left out: {rows:,}, {reason}" for reason, rows in left_out.items())


async def _payments(
    settings: Settings, plan: BacktestPlan, features: FeatureSet, known_at: datetime
) -> tuple[Payments, list[str]]:
    labels = None if plan.labels is None else read_label_file(plan.labels, until=known_at)
    if plan.data is None:
        if settings.postgres_url is None:
            raise InvalidSettings("name the payments: --data FILE, or a database with --postgres-url or POSTGRES_URL")
        table = await query_decisions(settings.postgres_url, since=plan.since, until=plan.until, known_at=known_at)
        return payments_of(table, features.id, features.names), []
    if holds_decisions(plan.data):
        table = read_decisions(plan.data, since=plan.since, until=plan.until, labels=labels)
        notes = ["personal fields of this file are masked: rules and lists over them find nothing; export with --unmask"]
        return payments_of(table, features.id, features.names), notes if masked(table) else []
    return _replayed(settings, plan, features, labels), []


def _replayed(settings: Settings, plan: BacktestPlan, features: FeatureSet, labels: Mapping[str, str] | None) -> Payments:
    """
    Compute features and score of every payment of a file again, by the kernel and the model that serve.

    The whole file moves the states; only payments of the span are judged.
    """
    assert plan.data is not None, "there is a file to replay"
    model = load_model(locate(settings.model_path), features.names, feature_set=features.id)
    store = MemoryEntityStore(features)
    kept: list[Transaction] = []
    frauds: list[bool | None] = []
    matrices, scores = [np.zeros((0, len(features.names)), np.float32)], [np.zeros(0, np.float64)]
    source, seen = read_file(plan.data, plan.mapping), set[str]()
    while batch := list(islice(source, _BATCH)):
        fresh = [one for one in batch if one.transaction_id not in seen and not seen.add(one.transaction_id)]  # type: ignore[func-returns-value]
        if not fresh:
            continue
        paid = [_transaction(one, plan.data, settings.currency) for one in fresh]
        (matrix,) = replay(features, [paid], store=store)
        known = [(one, row.fraud) for one, row in zip(paid, fresh, strict=True) if row.fraud is not None]
        if features.reads_labels and known:
            store.set_labels(records(features, [one for one, _ in known]), [fraud for _, fraud in known])
        inside = [at for at, one in enumerate(paid) if _inside(one, plan)]
        if inside:
            kept += [paid[at] for at in inside]
            frauds += [fresh[at].fraud for at in inside]
            matrices.append(matrix[inside])
            scores.append(model.score(matrix[inside]).astype(np.float64))
    told = labels or {}
    return Payments(
        table=table_of(kept, np.concatenate(matrices)),
        occurred_ms=np.array([one.occurred_at_ms for one in kept], np.int64),
        decided=np.full(len(kept), NO_DECISION, np.uint8),
        probability=np.concatenate(scores),
        truth=np.array([_truth(fraud, told.get(one.transaction_id)) for one, fraud in zip(kept, frauds, strict=True)], np.int8),
    )


def _inside(paid: Transaction, plan: BacktestPlan) -> bool:
    at = datetime.fromtimestamp(paid.occurred_at_ms / 1000, UTC)
    return (plan.since is None or at >= plan.since) and (plan.until is None or at < plan.until)


def _truth(fraud: bool | None, label: str | None) -> int:
    if label is not None:
        return {"fraud": FRAUD, "legitimate": LEGITIMATE}.get(label, 2)
    return UNKNOWN if fraud is None else FRAUD if fraud else LEGITIMATE


def _transaction(one: Labelled, path: Path, currency: str) -> Transaction:
    try:
        return parse_transaction(one.body, now_ms=one.occurred_at_ms, default_currency=currency)
    except InvalidTransaction as exc:
        raise InvalidSource(f"{path}: transaction {one.transaction_id}: {exc.detail}; correct or remove the row") from None


async def _lists_of_then(
    settings: Settings, payments: Payments, candidate: RuleSet, baseline: RuleSet | None
) -> dict[str, ListContents]:
    """
    Return the lists that payments were decided with and that are others today, by version, as far as Redis has them.
    """
    today = {**candidate.lists, **(baseline.lists if baseline is not None else {})}
    wanted = {
        version
        for versions, _ in payments.versions
        for name, version in versions.items()
        if name in today and version != today[name]
    }
    if not wanted:
        return {}
    found: dict[str, ListContents] = {}
    try:
        async with connected(address(settings), connections=1) as client:
            library = ListLibrary(RedisLists(client))
            for version in sorted(wanted):
                try:
                    found[version] = await library.contents(version)
                except InvalidRule:
                    # The report names every version that is not at hand.
                    continue
    except TransientError:
        return found
    return found
