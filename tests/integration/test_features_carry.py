"""
A change of definitions loses nothing: ``features migrate`` and ``features backfill`` on real servers; labels from a file.
"""

import csv
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.redis_states import RedisEntityStates
from fraudstream.app.carry import Carried, backfill_states, migrate_states
from fraudstream.app.demo import Progress
from fraudstream.cli.labels import labels_app
from fraudstream.domain.decision import Label, LabelValue, Outcome
from fraudstream.domain.errors import InvalidFeatures
from fraudstream.domain.transaction import Transaction
from fraudstream.features.carry import former_dtype, relaid_log, relaid_ring
from fraudstream.features.kernel import records
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.local import LocalValkey
from fraudstream.settings import Settings
from tests.support.builders import NOW_MS, a_decision, a_label, a_transaction
from tests.support.verdicts import VerdictRig, record_identities

OLD = """
entity card log
entity merchant buckets 1m x 90
feature card_count_1h = count() by card_id over 1h
feature merchant_count_10m = count() by merchant over 10m
"""
NEW = """
entity card log
entity merchant buckets 1m x 90, 10m x 30
feature card_count_1h = count() by card_id over 1h
feature card_devices_24h = distinct(device_id) by card_id over 24h
feature card_blocked_24h = count() by card_id over 24h where outcome = "block"
feature merchant_count_10m = count() by merchant over 10m
feature merchant_frauds_1h = fraud_count() by merchant over 1h
"""
OLD_SET, NEW_SET = load_features(OLD), load_features(NEW)
SILENT = Progress(step=lambda _: None, count=lambda _name, _done, _total: None)


def history(count: int = 300) -> list[Transaction]:
    return [
        a_transaction(
            transaction_id=f"t{at}", card_id=f"card {at % 17}*", merchant=f"Shop [{at % 3}]", device_id=f"d{at % 5}",
            amount_minor=100 + at, occurred_at_ms=NOW_MS + 10_000 * at,
        )
        for at in range(count)
    ]  # fmt: skip


@pytest.fixture
async def rig(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url, features=OLD_SET)
    yield rig
    await rig.close()


def the_settings(url: str, folder: Path, **more: str) -> Settings:
    file = folder / "new.features"
    file.write_text(NEW)
    return Settings(redis_url=url, features_path=file, dedup_horizon_s=0, **more)


async def touched(rig: VerdictRig, past: list[Transaction]) -> None:
    await rig.side().entities.touch([b"0-1"] * len(past), past, records(rig.features, past))


async def migrated(settings: Settings, folder: Path) -> Carried:
    old = folder / "old.features"
    old.write_text(OLD)
    return await migrate_states(settings, old, SILENT)


async def test_states_are_laid_out_anew_for_every_entity(rig: VerdictRig, valkey: LocalValkey, tmp_path: Path) -> None:
    await touched(rig, history())
    settings = the_settings(valkey.url, tmp_path)

    first, second = await migrated(settings, tmp_path), await migrated(settings, tmp_path)

    logs, rings = {f"card {at}*": rig.log("card", f"card {at}*") for at in range(17)}, rig.ring("merchant", "Shop [1]")
    rig.features = NEW_SET
    assert all(len(log) > 0 for log in logs.values())
    assert {card: rig.log("card", card) for card in logs} == {
        card: relaid_log(OLD_SET.layouts["card"], NEW_SET.layouts["card"], log) for card, log in logs.items()
    }
    assert rig.ring("merchant", "Shop [1]") == relaid_ring(OLD_SET, NEW_SET, rings)
    assert (first.changed, second.changed) == ({"card": 17, "merchant": 3}, {"card": 0, "merchant": 0})
    assert first.cold == ["device_id"]


async def test_what_new_workers_have_written_meanwhile_stays_and_counts_once(
    rig: VerdictRig, valkey: LocalValkey, tmp_path: Path
) -> None:
    past = history()
    await touched(rig, past[:200])
    rig.features = NEW_SET
    await touched(rig, past[200:])

    await migrated(the_settings(valkey.url, tmp_path), tmp_path)

    ids = record_identities(NEW_SET, past)
    assert rig.log_ids("card", "card 3*") == [one for at, one in enumerate(ids) if at % 17 == 3]


async def test_logs_of_the_time_when_all_records_were_alike_are_carried_over_once(
    rig: VerdictRig, valkey: LocalValkey, tmp_path: Path
) -> None:
    past = history()
    settings, same = the_settings(valkey.url, tmp_path), tmp_path / "new.features"
    for card, log in former_logs(past[:200]).items():
        rig.streams.client.set(f"log:{NEW_SET.former_log_layout}:card:{card}", log)
    rig.features = NEW_SET
    await touched(rig, past[200:])

    first, second = await migrate_states(settings, same, SILENT), await migrate_states(settings, same, SILENT)

    whole = MemoryEntityStore(NEW_SET)
    whole.touch(records(NEW_SET, past))
    assert {card: rig.log("card", card) for card in whole.kept("card")} == whole.kept("card")
    assert (first.read["card"], first.changed["card"], second.changed["card"], first.cold) == (17, 17, 0, [])


def former_logs(past: list[Transaction]) -> dict[str, bytes]:
    rows, found = records(NEW_SET, past), defaultdict(bytes)
    table = np.zeros(len(past), former_dtype(NEW_SET.hashed))
    table["hash"], table["time"], table["amount"] = rows.hashes, rows.occurred_s, rows.amounts
    for name in NEW_SET.hashed:
        table[name] = rows.words[name]
    for one, record in zip(past, table, strict=True):
        found[str(one.card_id)] += record.tobytes()
    return found


async def test_an_entity_that_stands_for_something_else_is_refused_in_words(valkey: LocalValkey, tmp_path: Path) -> None:
    settings = the_settings(valkey.url, tmp_path)
    old, new = tmp_path / "old.features", tmp_path / "new.features"
    old.write_text("entity box by email log\nfeature boxes = count() by email over 1h")
    new.write_text("entity box by channel log\nfeature boxes = count() by channel over 1h")

    with pytest.raises(InvalidFeatures, match="entity box stands for channel now and stood for email"):
        await migrate_states(settings, old, SILENT)


async def test_an_entity_that_is_kept_in_another_way_starts_cold_and_says_so(
    rig: VerdictRig, valkey: LocalValkey, tmp_path: Path
) -> None:
    await touched(rig, history())
    settings = the_settings(valkey.url, tmp_path)
    (tmp_path / "new.features").write_text("entity merchant log\nfeature shops_1h = count() by merchant over 1h")

    found = await migrated(settings, tmp_path)

    assert found.changed == {}
    assert found.cold == ["merchant"]


async def test_states_are_filled_from_the_records_as_if_they_had_always_been_kept(
    rig: VerdictRig, valkey: LocalValkey, database: str, tmp_path: Path
) -> None:
    past = history()
    blocked = {past[at].transaction_id for at in (40, 41, 250)}
    label = a_label(transaction_id="t299", label=LabelValue.FRAUD)
    await recorded(database, past, blocked, [label])
    settings = the_settings(valkey.url, tmp_path, postgres_url=database)

    first, second = await backfill_states(settings, SILENT), await backfill_states(settings, SILENT)
    again = await RedisEntityStates(rig.side()._client, features=NEW_SET, keys=rig.streams.keys).tell([(label, past[299])])

    whole = MemoryEntityStore(NEW_SET)
    rows = records(NEW_SET, past)
    whole.touch(rows)
    whole.set_outcomes(rows, [3 if one.transaction_id in blocked else 0 for one in past])
    whole.set_labels(records(NEW_SET, [past[299]]), [True])
    rig.features = NEW_SET
    assert {card: rig.log("card", card) for card in whole.kept("card")} == whole.kept("card")
    assert {shop: rig.ring("merchant", shop) for shop in whole.kept("merchant")} == {
        shop: ring.ljust(NEW_SET.ring_size, b"\0") for shop, ring in whole.kept("merchant").items()
    }
    assert (first.transactions, first.labels, first.changed) == (300, 1, {"card": 17, "merchant": 3})
    assert second.changed == {"card": 0, "merchant": 0}
    assert again == 0, "the label that the states know already is not counted again"


async def test_a_state_that_was_cold_in_one_field_is_filled_in_place(
    rig: VerdictRig, valkey: LocalValkey, database: str, tmp_path: Path
) -> None:
    past = history()
    await touched(rig, past)
    await recorded(database, past, set(), [])
    settings = the_settings(valkey.url, tmp_path, postgres_url=database)
    await migrated(settings, tmp_path)

    await backfill_states(settings, SILENT)

    whole = MemoryEntityStore(NEW_SET)
    whole.touch(records(NEW_SET, past))
    rig.features = NEW_SET
    assert {card: rig.log("card", card) for card in whole.kept("card")} == whole.kept("card")


async def recorded(database: str, past: list[Transaction], blocked: set[str], labels: list[Label]) -> None:
    store = PostgresDecisionStore(database)
    await store.open()
    times = [datetime.fromtimestamp(NOW_MS / 1_000, UTC) + timedelta(milliseconds=at) for at in range(len(past))]
    await store.record(
        [
            a_decision(
                one, received_at=at, decided_at=at, outcome=Outcome.BLOCK if one.transaction_id in blocked else Outcome.APPROVE
            )
            for one, at in zip(past, times, strict=True)
        ]
    )
    await store.record_labels(labels)
    await store.close()


def imported(valkey: LocalValkey, file: Path, *words: str, code: int = 0) -> dict[str, int]:
    result = CliRunner().invoke(labels_app, ["import", str(file), "--redis-url", valkey.url, "--json", *words])
    assert result.exit_code == code, result.output
    found: dict[str, int] = json.loads(result.stdout)["data"]
    return found


def labels_on_the_stream(rig: VerdictRig) -> list[Label]:
    return [msgspec.json.decode(fields[b"data"], type=Label) for _, fields in rig.streams.client.xrange("transactions:labels")]


def test_a_file_of_chargebacks_reaches_the_stream_and_a_second_time_as_the_same_labels(
    rig: VerdictRig, valkey: LocalValkey, tmp_path: Path
) -> None:
    file = tmp_path / "chargebacks.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [
                ["transaction_id", "is_fraud", "labelled_at"],
                ["t1", "1", "2026-01-02T03:04:05Z"],
                ["t2", "0", "1767323045"],
                ["t3", "perhaps", "2026-01-02T03:04:05Z"],
                ["", "1", "2026-01-02T03:04:05Z"],
            ]
        )

    first = imported(valkey, file, "--source", "chargeback", code=1)
    imported(valkey, file, "--source", "chargeback", code=1)

    found = labels_on_the_stream(rig)
    assert first == {"sent": 2, "resent": 0, "bad_rows": 2}
    assert [(one.transaction_id, one.label, one.source) for one in found[:2]] == [
        ("t1", LabelValue.FRAUD, "chargeback"),
        ("t2", LabelValue.LEGITIMATE, "chargeback"),
    ]
    assert found[0].labelled_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found[2:] == found[:2]


def test_a_row_without_a_time_takes_the_one_that_is_given(rig: VerdictRig, valkey: LocalValkey, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    file.write_text('{"transaction_id": "t1", "label": "unsure", "label_id": "case-7"}\n')

    refused = imported(valkey, file, code=1)
    taken = imported(valkey, file, "--labelled-at", "2026-02-03T04:05:06")

    assert (refused["bad_rows"], taken["sent"]) == (1, 1)
    (label,) = labels_on_the_stream(rig)
    assert (label.label_id, label.label) == ("case-7", LabelValue.UNSURE)
    assert label.labelled_at == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
