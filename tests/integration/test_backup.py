"""
Backup and restore: another system decides and remembers as the first one did, and nothing that is damaged gets in.
"""

import stat
import tarfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import numpy as np
import pytest
from redis import Redis

from fraudstream.adapters.model_folder import ModelFolder
from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.postgres_records import TABLES
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.adapters.redis_models import RedisModels
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.app.backup import BackupPlan, back_up
from fraudstream.app.connections import address
from fraudstream.app.demo import Progress
from fraudstream.app.letters import Actor
from fraudstream.app.list_desk import open_list_desk
from fraudstream.app.model_registry import load_pushed, open_registry
from fraudstream.app.models import ModelDesk
from fraudstream.app.restore import Restored, RestorePlan, restore
from fraudstream.app.rule_sets import open_rule_desk
from fraudstream.domain.decision import Outcome
from fraudstream.domain.errors import DamagedArchive, InvalidSettings, NotAllowed
from fraudstream.local import LocalValkey
from fraudstream.rules.entries import ListEntry
from fraudstream.settings import Settings
from tests.support.builders import a_decision, a_label, a_transaction
from tests.support.shell import answer, run, servers_of
from tests.support.system import rows, shipped_features

SHIPPED = Path(__file__).parents[2] / "models"
FEATURES = shipped_features()
SILENT = Progress(step=lambda _: None, count=lambda _name, _done, _total: None)
ANA = Actor("ana", "test")
RULES = """
rule blocked block if :card_id: in @blocked_cards
  test hit { card_id: "x", @blocked_cards: ("x") }
rule large review if :amount: >= 100 USD
"""
PAYMENTS = [a_transaction(card_id=card, amount_minor=amount) for card in ("stolen", "mine") for amount in (500, 50_000)]


async def taken(settings: Settings, target: Path, **plan: Any) -> Path:
    await back_up(settings, BackupPlan(**plan), target, ANA, SILENT)
    return target


async def put(settings: Settings, source: Path, **plan: Any) -> Restored:
    return await restore(settings, RestorePlan(**plan), source, ANA, SILENT)


@pytest.fixture
async def first(valkey: LocalValkey, database: str, tmp_path: Path) -> Settings:
    """
    A system with rules, a list of two versions, a model and records of two days.
    """
    (tmp_path / "my.rules").write_text(RULES)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "blocked_cards.list").write_text("from_file\n")
    settings = _settings(tmp_path, redis_url=valkey.url, postgres_url=database, model_registry=str(tmp_path / "registry"))
    async with open_list_desk(settings, "ana") as lists:
        await lists.add("blocked_cards", [ListEntry("old", author="ana", reason="case 1", added_ms=5)], reason="case 1")
        await lists.add("blocked_cards", [ListEntry("stolen", author="ana", reason="case 2", added_ms=6)], reason="case 2")
    async with open_rule_desk(settings, "ana") as rules:
        pushed = await rules.push(tmp_path / "my.rules", reason="card testing")
        await rules.activate(pushed.rule_set, reason="reviewed")
    async with connected(address(settings)) as client:
        await RedisLists(client).count_hits({("blocked_cards", "stolen"): 3}, now_ms=7)
        models = ModelDesk(RedisModels(client), open_registry(settings), FEATURES, "ana")
        await models.promote((await models.push(SHIPPED, reason="trained")).model, reason="better")
    await _record(database)
    return settings


async def _record(database: str) -> None:
    store = PostgresDecisionStore(database)
    decisions = [a_decision(one, outcome=Outcome.BLOCK if n % 2 else Outcome.APPROVE) for n, one in enumerate(PAYMENTS)]
    decisions[0] = msgspec.structs.replace(decisions[0], decided_at=decisions[0].decided_at - timedelta(days=1))
    await store.record(decisions)
    await store.record_labels([a_label(transaction_id=PAYMENTS[1].transaction_id, source="tab\there \\ and\nthere")])
    await store.close()


@pytest.fixture
def second(own_valkey: LocalValkey, empty_database: str, tmp_path: Path) -> Settings:
    """
    Another system: nothing in Redis, a database without tables, no models.
    """
    registry = str(tmp_path / "other")
    return _settings(tmp_path, redis_url=own_valkey.url, postgres_url=empty_database, model_registry=registry)


def _settings(folder: Path, **more: str) -> Settings:
    return Settings(rules_path=folder / "my.rules", lists_path=folder / "lists", **more)  # type: ignore[arg-type]


async def judged(settings: Settings) -> tuple[Any, ...]:
    """
    Return what a system in force says of the same payments, and who changed it when.
    """
    matrix = np.random.default_rng(1).exponential(9, (len(PAYMENTS), len(FEATURES.names))).astype(np.float32)
    async with open_rule_desk(settings, "ana") as desk, connected(address(settings)) as client:
        rules = (await desk.in_force()).rules
        models = RedisModels(client)
        note = await models.note((await models.pointer()).champion)
        assert note is not None
        scores = load_pushed(open_registry(settings), note, FEATURES).score(matrix).tolist()
        hits = await RedisLists(client).hits("blocked_cards")
        pointers = (await RedisRuleSets(client).pointer(), await RedisLists(client).pointers(), await models.pointer())
        history = (await desk.history(), await RedisLists(client).history(), await models.history())
    found = [[hit.rule_id for hit in row.hits] for row in rules.evaluate(PAYMENTS, matrix)]
    return found, scores, hits, pointers, history


async def stored(url: str | None) -> dict[str, list[str]]:
    assert url is not None
    tables = {one.name: await rows(url, f"SELECT t::text AS row FROM {one.name} AS t") for one in TABLES}
    return {name: sorted(row["row"] for row in found) for name, found in tables.items() if name != "audit_log"}


@pytest.mark.parametrize("name", ["whole.tar", "whole"])
async def test_another_system_judges_and_remembers_as_the_first_did(
    first: Settings, second: Settings, tmp_path: Path, name: str
) -> None:
    archive = await taken(first, tmp_path / name)

    done = await put(second, archive)

    before, after = await judged(first), await judged(second)
    assert before[0] == [["blocked"], ["blocked", "large"], [], ["large"]]
    assert after == before
    assert await stored(second.postgres_url) == await stored(first.postgres_url)
    assert done.restored["records"]["transaction_ledger"] == len(PAYMENTS)
    assert done.restored["models"]["models"] == 1
    audited = await rows(str(second.postgres_url), "SELECT action FROM audit_log ORDER BY audit_id")
    assert [row["action"] for row in audited] == ["backup", "restore"]
    with Redis.from_url(second.redis_url) as client:
        assert not [key for key in client.keys("*") if b"restoring" in key or client.ttl(key) != -1]


async def test_an_archive_is_for_its_owner_and_leaves_nothing_beside_it(first: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()

    archive = await taken(first, folder / "whole.tar")

    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["whole.tar"]
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json").read()  # type: ignore[union-attr]
        assert {member.uname for member in tar.getmembers()} == {""}
    assert b"postgresql://" not in manifest
    assert b"redis://" not in manifest
    with pytest.raises(InvalidSettings, match="is there already"):
        await taken(first, archive)


async def test_what_is_cut_or_changed_is_refused_by_name_before_anything_is_touched(
    first: Settings, second: Settings, tmp_path: Path
) -> None:
    archive = await taken(first, tmp_path / "whole.tar")
    folder = await taken(first, tmp_path / "whole")
    with tarfile.open(archive) as tar:
        cut = tar.getmember("records/labels-00000.copy.gz")
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[: cut.offset_data + 5])
    whole = bytearray((folder / "rules.keys.gz").read_bytes())
    whole[40] ^= 1
    (folder / "rules.keys.gz").write_bytes(whole)

    with pytest.raises(DamagedArchive, match=r"records/labels-00000\.copy\.gz is cut short"):
        await put(second, tmp_path / "cut.tar")
    with pytest.raises(DamagedArchive, match=r"rules\.keys\.gz is not what was written"):
        await put(second, folder)
    (folder / "rules.keys.gz").unlink()
    with pytest.raises(DamagedArchive, match=r"rules\.keys\.gz is missing"):
        await put(second, folder)
    with pytest.raises(DamagedArchive, match="is archive"):
        await put(second, archive, expected="00000000")

    with Redis.from_url(second.redis_url) as client:
        assert client.keys("*") == []
    assert await rows(str(second.postgres_url), "SELECT 1 FROM pg_tables WHERE tablename = 'transaction_ledger'") == []
    assert open_registry(second).models() == []


async def test_a_target_that_is_not_empty_is_kept_unless_force_is_given(
    first: Settings, second: Settings, tmp_path: Path
) -> None:
    archive = await taken(first, tmp_path / "whole.tar")
    await put(second, archive)
    await PostgresDecisionStore(str(second.postgres_url)).record([a_decision()])
    async with open_rule_desk(second, "ben") as desk:
        await desk.rollback(reason="to the file")

    with pytest.raises(NotAllowed, match=r"the target is not empty \(rules: rules:\{default\}:active"):
        await put(second, archive)
    looked = await put(second, archive, dry_run=True)
    again = await put(second, archive, force=True)

    assert looked.restored == {}
    assert set(looked.in_the_way) == {"rules", "lists", "models", "records"}
    assert sum(again.restored["records"].values()) == 0, "rows that are there are not added twice"
    assert len((await stored(second.postgres_url))["transaction_ledger"]) == len(PAYMENTS) + 1
    async with connected(address(second)) as client:
        pointer = await RedisRuleSets(client).pointer()
    async with connected(address(first)) as client:
        assert pointer.rule_set == (await RedisRuleSets(client).pointer()).rule_set
    assert pointer.seq > 2, "whoever saw the pointer before sees that it is another one"


async def test_only_rows_of_the_decision_that_stands_in_the_ledger_are_added(
    first: Settings, second: Settings, tmp_path: Path
) -> None:
    archive = await taken(first, tmp_path / "whole.tar", parts=("records",))
    await put(second, archive)
    for table in ("transaction_ledger", "approved_transactions", "labels"):
        await rows(str(second.postgres_url), f"DELETE FROM {table}")
    await PostgresDecisionStore(str(second.postgres_url)).record([a_decision(PAYMENTS[0])])

    await put(second, archive, force=True)

    ids = await rows(str(second.postgres_url), "SELECT transaction_id FROM decisions")
    assert sorted(row["transaction_id"] for row in ids) == sorted(one.transaction_id for one in PAYMENTS)
    assert len((await stored(second.postgres_url))["labels"]) == 1


async def test_records_of_a_time_and_parts_by_name_are_all_that_is_taken(
    first: Settings, second: Settings, tmp_path: Path
) -> None:
    since = a_decision().decided_at - timedelta(hours=1)
    archive = await taken(first, tmp_path / "day", parts=("lists", "records"), since=since)

    done = await put(second, archive)

    assert set(done.restored) == {"lists", "records"}
    assert done.restored["records"]["transaction_ledger"] == len(PAYMENTS) - 1
    async with connected(address(second)) as client:
        assert (await RedisRuleSets(client).pointer()).seq == 0


async def test_numbers_of_the_database_go_on_after_those_that_were_restored(
    first: Settings, second: Settings, tmp_path: Path
) -> None:
    archive = await taken(first, tmp_path / "whole.tar", parts=("records",))
    before = await rows(str(first.postgres_url), "SELECT audit_id, at, actor, action FROM audit_log")

    await put(second, archive)

    after = await rows(str(second.postgres_url), "SELECT audit_id, at, actor, action FROM audit_log ORDER BY audit_id")
    assert [tuple(row) for row in after[: len(before)]] == [tuple(row) for row in before]
    assert after[-1]["action"] == "restore"


async def test_who_may_not_see_personal_data_may_not_take_it_along(first: Settings, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(first, unmask_actors=("ben",))

    with pytest.raises(NotAllowed, match="records hold it"):
        await taken(settings, tmp_path / "whole.tar")
    await taken(settings, tmp_path / "rules.tar", parts=("rules",))

    tried = await rows(str(first.postgres_url), "SELECT actor, outcome FROM audit_log WHERE action = 'backup'")
    assert [tuple(row) for row in tried] == [("ana", "failure")]


async def test_a_model_whose_bytes_are_gone_is_named(first: Settings, tmp_path: Path) -> None:
    model = ModelFolder(Path(first.model_registry)).models()[0]
    (Path(first.model_registry) / model / "fraud.onnx").unlink()

    done = await back_up(first, BackupPlan(parts=("models",)), tmp_path / "models.tar", ANA, SILENT)

    assert done.missing == (model,)


async def test_every_table_of_ours_is_in_an_archive(database: str) -> None:
    known = {one.name for one in TABLES} | {"schema_migrations"}

    found = await rows(
        database,
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = current_schema()::regnamespace",
    )

    assert {row["relname"] for row in found} == known


async def test_rows_in_many_files_come_back_whole(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fraudstream.adapters.postgres_records.PART_BYTES", 2_000)
    store = PostgresDecisionStore(database)
    await store.record([a_decision(outcome=Outcome.REVIEW) for _ in range(2_500)])
    settings = Settings(postgres_url=database)

    archive = await taken(settings, tmp_path / "many", parts=("records",))

    files = sorted(path.name for path in (archive / "records").glob("fraud_transactions-*"))
    assert len(files) >= 3
    connection = await asyncpg.connect(database)
    await connection.execute("DELETE FROM fraud_transactions")
    await connection.close()
    done = await put(settings, archive, force=True)
    assert done.restored["records"]["fraud_transactions"] == 2_500


async def test_the_commands_say_what_they_did(first: Settings, tmp_path: Path) -> None:
    given = servers_of(first.redis_url, str(first.postgres_url), FRAUDSTREAM_MODEL_REGISTRY=first.model_registry)

    made = await answer(given, "backup", str(tmp_path / "all.tar"))
    refused = await run(given, "restore", str(tmp_path / "all.tar"), "--expect", made["archive"][:12])

    assert made["about"]["lists"]["versions"] == 2
    assert refused.returncode == 6
    assert "the target is not empty" in refused.stderr.decode()
