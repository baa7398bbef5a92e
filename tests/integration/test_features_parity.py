"""
``fraudstream features parity``: recorded vectors, computed through the real script, against the same history computed again.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.redis_states import RedisEntityStates
from fraudstream.app.parity import ParityReport, run_parity
from fraudstream.domain.decision import Decision, LabelValue, Outcome
from fraudstream.domain.transaction import Transaction
from fraudstream.features.kernel import compute, records
from fraudstream.features.load import load_features
from fraudstream.features.states import Standing
from fraudstream.local import LocalValkey
from fraudstream.settings import Settings
from tests.support.builders import NOW_MS, a_decision, a_label, a_transaction
from tests.support.verdicts import VerdictRig

SOURCE = """
entity card log
entity merchant buckets 1m x 64
feature amount_minor = amount
feature card_avg_1h = avg(amount) by card_id over 1h
feature card_not_blocked_1h = count() by card_id over 1h where outcome != "block"
feature card_fraud_count_1h = fraud_count() by card_id over 1h
feature merchant_count_10m = count() by merchant over 10m
feature card_share = card_not_blocked_1h / merchant_count_10m
"""
FEATURES = load_features(SOURCE)
#: Decided one by one: the sixth is blocked, and the third is known as a fraud before the eighth comes.
ROWS, BLOCKED, FRAUD, TOLD_BEFORE = 12, 5, 2, 7


@pytest.fixture
async def rig(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url, features=FEATURES)
    yield rig
    await rig.close()


def _received(at: int) -> datetime:
    return datetime.fromtimestamp(NOW_MS / 1_000, UTC) + timedelta(seconds=at)


async def _decided(rig: VerdictRig, at: int, transaction: Transaction) -> Decision:
    """Touch one transaction and flag its record as ``complete`` would."""
    side, rows = rig.side(), records(FEATURES, [transaction])
    touched = await side.entities.touch([b"0-1"], [transaction], rows)
    vector = compute(FEATURES, [transaction], rows, [Standing.TOUCHED], touched.states)[0]
    outcome = Outcome.BLOCK if at == BLOCKED else Outcome.APPROVE
    if outcome is Outcome.BLOCK:
        key = f"{rig.streams.keys.prefix('log')}{FEATURES.layouts['card'].id}:card:{transaction.card_id}"
        end = len(rig.log("card", str(transaction.card_id)))
        rig.streams.client.setrange(key, end - 1, b"\x03")
    times = {"received_at": _received(at), "decided_at": _received(at) + timedelta(milliseconds=20)}
    return a_decision(transaction, feature_set=FEATURES.id, vector=vector.astype("<f4").tobytes(), outcome=outcome, **times)


async def _recorded(rig: VerdictRig, database: str) -> list[Decision]:
    decisions: list[Decision] = []
    client = rig.streams.address.commands(1)
    states = RedisEntityStates(client, features=FEATURES, keys=rig.streams.keys)
    label = None
    for at in range(ROWS):
        if at == TOLD_BEFORE:
            fraud = decisions[FRAUD].transaction
            label = a_label(transaction_id=fraud.transaction_id, label=LabelValue.FRAUD)
            await states.tell([(label, fraud)])
        transaction = a_transaction(card_id=f"card_{at % 2}", amount_minor=100 * at + 7, occurred_at_ms=NOW_MS + 1_000 * at)
        decisions.append(await _decided(rig, at, transaction))
    await client.aclose()
    await client.connection_pool.disconnect()
    store = PostgresDecisionStore(database)
    await store.record(decisions)
    await store.record_labels([label] if label else [])
    await store.close()
    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE labels SET recorded_at = $1", _received(TOLD_BEFORE) - timedelta(milliseconds=500))
    await connection.close()
    return decisions


async def _parity(database: str, folder: Path, sample: float = 1.0) -> ParityReport:
    file = folder / "parity.features"
    file.write_text(SOURCE)
    return await run_parity(Settings(postgres_url=database, features_path=file, dedup_horizon_s=0), sample=sample)


async def test_recorded_vectors_are_computed_again_bit_for_bit(rig: VerdictRig, database: str, tmp_path: Path) -> None:
    decisions = await _recorded(rig, database)

    found = await _parity(database, tmp_path)

    assert (found.rows, found.other_feature_set, found.without_vector) == (len(decisions), 0, 0)
    assert {name: (one.compared, one.mismatches) for name, one in found.features.items()} == dict.fromkeys(
        FEATURES.names, (ROWS, 0)
    )
    assert [name for name, one in found.features.items() if one.bucketed] == ["merchant_count_10m", "card_share"]


async def test_a_vector_that_is_not_what_history_gives_is_counted_by_feature(
    rig: VerdictRig, database: str, tmp_path: Path
) -> None:
    await _recorded(rig, database)
    connection = await asyncpg.connect(database)
    # The second float of the vector of one transaction becomes another number.
    await connection.execute(
        "UPDATE approved_transactions SET vector = overlay(vector PLACING '\\x0000c842'::bytea FROM 5)"
        " WHERE received_at = $1", _received(4)
    )  # fmt: skip
    await connection.close()

    found = await _parity(database, tmp_path)

    assert {name: one.mismatches for name, one in found.features.items() if one.mismatches} == {"card_avg_1h": 1}
    assert found.exact_mismatches == 1


async def test_a_sample_compares_only_entities_whose_whole_past_it_holds(
    rig: VerdictRig, database: str, tmp_path: Path
) -> None:
    await _recorded(rig, database)

    # By their hashes card_0 is among the first 66 % of all entities; card_1 and the merchant are not.
    part, none = await _parity(database, tmp_path, sample=0.66), await _parity(database, tmp_path, sample=0.0)

    assert (part.rows, none.rows) == (ROWS // 2, 0)
    compared = {name: one.compared for name, one in part.features.items()}
    assert (compared["amount_minor"], compared["card_avg_1h"], compared["merchant_count_10m"], compared["card_share"]) == (
        6,
        6,
        0,
        0,
    )
    assert all(one.mismatches == 0 for one in part.features.values())
