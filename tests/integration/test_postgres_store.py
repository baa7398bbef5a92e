import asyncio
import struct
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.domain.decision import Decision, LabelValue, Outcome
from fraudstream.domain.decision_codec import decode_decision, encode_decision
from fraudstream.domain.errors import DecisionStoreUnavailable, InvalidSettings, UnsuitableServer
from fraudstream.domain.evidence import Action, Fallback, Reason, RuleHit
from fraudstream.domain.moments import moment
from fraudstream.local import LocalPostgres
from tests.support.builders import NOW_MS, a_decision, a_label, a_transaction
from tests.support.deaf_proxy import DeafProxy
from tests.support.wait import wait_until

COUNTS = """
SELECT (SELECT count(*) FROM transaction_ledger) AS ledger,
       (SELECT count(*) FROM approved_transactions) AS approved,
       (SELECT count(*) FROM fraud_transactions) AS fraud
"""


async def counts(url: str) -> tuple[int, int, int]:
    client = await asyncpg.connect(url)
    try:
        return tuple(await client.fetchrow(COUNTS))
    finally:
        await client.close()


def full_decision() -> Decision:
    """
    A decision in which every field holds something that is easy to lose on the way.
    """
    transaction = a_transaction(
        amount_minor=10**12,
        currency="JPY",
        occurred_at_ms=NOW_MS - 86_400_000 + 7,
        merchant="Größe & Söhne \N{SNOWMAN} 'x'; --",
        counterparty_id="mule_7",
        balance_before_minor=-5,
        balance_after_minor=0,
        counterparty_balance_before_minor=10**12,
        counterparty_balance_after_minor=-(10**12),
        metadata={"basket": [{"sku": "a\tb", "price": 0.1}], "deep": {"empty": None, "yes": True}},
    )
    return a_decision(
        transaction,
        outcome=Outcome.BLOCK,
        score=0.1 + 0.2,
        probability=5e-324,
        points=-12.5,
        reasons=(Reason(code="r", text="t", value=0.1, contribution=-1.5), Reason(code="s", text="u")),
        rule_hits=(
            RuleHit(rule_id="r", action=Action.SCORE, points=2.5, priority=3, explanation="a (1) > 0", tags=("x", "y")),
        ),
        shadow_hits=(RuleHit(rule_id="quiet", action=Action.BLOCK), RuleHit(rule_id="still", action=Action.ALLOW)),
        degraded=(Fallback.MODEL_DEADLINE, Fallback.DEAD_LETTER),
        vector=struct.pack("<3f", 1e-45, float("nan"), float("-inf")),
        decided_at=moment(NOW_MS + 1),
    )


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_a_decision_comes_back_as_it_was_stored(database: str, outcome: Outcome) -> None:
    decision = msgspec.structs.replace(full_decision(), outcome=outcome)
    store = PostgresDecisionStore(database)

    await store.record([decision])
    found = await store.find(decision.transaction.transaction_id)
    await store.close()

    assert found == decision
    assert decode_decision(encode_decision(decision)) == found


async def test_a_lean_decision_comes_back_as_it_was_stored(database: str) -> None:
    transaction = a_transaction(**dict.fromkeys(("user_id", "card_id", "merchant", "ip", "email", "latitude", "country")))
    decision = a_decision(transaction, probability=None, lists={}, vector=b"")
    store = PostgresDecisionStore(database)

    await store.record([decision])
    found = await store.find(transaction.transaction_id)
    await store.close()

    assert found == decision


async def test_a_long_text_and_a_time_to_the_microsecond_come_back_as_they_were_stored(database: str) -> None:
    transaction = a_transaction(merchant="ÿ" * 70_000, metadata={"note": "n" * 70_000})
    decision = a_decision(transaction, decided_at=moment(NOW_MS) + timedelta(microseconds=1), vector=bytes(70_000))
    store = PostgresDecisionStore(database)

    await store.record([decision, a_decision(a_transaction(latitude=None), probability=None)])
    found = await store.find(transaction.transaction_id)
    await store.close()

    assert found == decision


async def test_decisions_of_different_models_in_one_batch_keep_their_own(database: str) -> None:
    decisions = [a_decision(model=name, lists={"a": name}) for name in ("m1", "m1", "m2", "m1")]
    store = PostgresDecisionStore(database)

    await store.record(decisions)
    found = [await store.find(one.transaction.transaction_id) for one in decisions]
    await store.close()

    assert found == decisions


async def test_an_unknown_id_is_not_found(database: str) -> None:
    store = PostgresDecisionStore(database)

    assert await store.find("never_heard_of") is None
    await store.close()


async def test_flagged_and_approved_go_to_their_own_tables(database: str) -> None:
    store = PostgresDecisionStore(database)

    await store.record([a_decision(outcome=outcome) for outcome in (*Outcome, Outcome.APPROVE)])
    await store.close()

    assert await counts(database) == (5, 2, 3)


async def test_the_first_decision_on_record_stays(database: str) -> None:
    transaction = a_transaction()
    first = a_decision(transaction)
    store = PostgresDecisionStore(database)
    await store.record([first])

    await store.record([a_decision(transaction, outcome=Outcome.BLOCK, decided_at=moment(NOW_MS + 5_000))])
    found = await store.find(transaction.transaction_id)
    await store.close()

    assert found == first
    assert await counts(database) == (1, 1, 0)


async def test_shadow_hits_are_kept_apart_and_once(database: str) -> None:
    decision = full_decision()
    store = PostgresDecisionStore(database)

    await store.record([decision])
    await store.record([decision])
    await store.close()

    client = await asyncpg.connect(database)
    rows = await client.fetch("SELECT transaction_id, rule_id, rule_set, decided_at FROM rule_shadow_hits ORDER BY rule_id")
    await client.close()
    common = (decision.transaction.transaction_id, decision.rule_set, decision.decided_at)
    assert [(row["transaction_id"], row["rule_set"], row["decided_at"]) for row in rows] == [common, common]
    assert [row["rule_id"] for row in rows] == ["quiet", "still"]


POISONS = {
    "nul in a text": lambda: a_decision(a_transaction(merchant="a\x00b")),
    "nul in json": lambda: a_decision(a_transaction(metadata={"note": "a\x00b"})),
    "number beyond the column": lambda: a_decision(a_transaction(amount_minor=2**70)),
    "half a character": lambda: a_decision(a_transaction(merchant="\ud800")),
    "text for a number": lambda: msgspec.structs.replace(a_decision(), score="high"),
    "number for a text": lambda: a_decision(a_transaction(email=7)),
    "line break in the id": lambda: a_decision(a_transaction(transaction_id="a\nb")),
    "a time without an offset": lambda: a_decision(received_at=datetime(2026, 1, 1)),
}


@pytest.mark.parametrize("poison", POISONS)
async def test_one_poison_row_among_2000_is_the_only_one_refused(database: str, poison: str) -> None:
    decisions = [a_decision() for _ in range(2_000)]
    decisions[1_234] = POISONS[poison]()
    store = PostgresDecisionStore(database)

    recorded = await store.record(decisions)
    await store.close()

    assert list(recorded.refused) == [decisions[1_234].transaction.transaction_id]
    assert len(recorded.stored) == 1_999
    assert await counts(database) == (1_999, 1_999, 0)


async def test_a_refusal_names_no_value_of_the_row(database: str) -> None:
    secret = "4111 1111 1111 1111"
    client = await asyncpg.connect(database)
    await client.execute("ALTER TABLE approved_transactions ADD CONSTRAINT small CHECK (amount_minor < 5)")
    await client.close()
    store = PostgresDecisionStore(database)

    recorded = await store.record([a_decision(a_transaction(transaction_id="t", merchant=secret, email="jane@example.com"))])
    await store.close()

    assert "small" in recorded.refused["t"]
    assert "1111" not in recorded.refused["t"]
    assert "jane" not in recorded.refused["t"]


async def test_two_recorders_with_the_same_decisions_store_each_once(database: str) -> None:
    decisions = [a_decision() for _ in range(600)]
    stores = [PostgresDecisionStore(database) for _ in range(3)]
    orders = [decisions, decisions[::-1], decisions[300:] + decisions[:300]]

    both = await asyncio.gather(*(store.record(order) for store in stores for order in orders))
    for store in stores:
        await store.close()

    assert sum(len(recorded.stored) for recorded in both) == 600
    assert await counts(database) == (600, 600, 0)


async def test_a_lost_reply_to_commit_is_unavailable_and_harmless_the_second_time(
    database: str, postgres_server: LocalPostgres
) -> None:
    decisions = [a_decision() for _ in range(50)]
    async with DeafProxy(postgres_server.port, b"COMMIT;").listening() as proxy:
        store = PostgresDecisionStore(database.replace(f":{postgres_server.port}/", f":{proxy.port}/"))
        with pytest.raises(DecisionStoreUnavailable):
            await store.record(decisions)
        stored = await counts(database)

        recorded = await store.record(decisions)
        await store.close()

    assert proxy.swallowed == 1
    assert stored == (50, 50, 0)
    assert (len(recorded.stored), len(recorded.known)) == (0, 50)
    assert await counts(database) == (50, 50, 0)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_the_store_says_unavailable_while_postgres_is_away_and_goes_on_after(
    own_postgres: LocalPostgres, end: str
) -> None:
    store = PostgresDecisionStore(own_postgres.url)
    first, second = [a_decision() for _ in range(300)], [a_decision() for _ in range(300)]
    await store.record(first)

    getattr(own_postgres, end)()
    for _ in range(3):
        with pytest.raises(DecisionStoreUnavailable):
            await store.record(second)
        with pytest.raises(DecisionStoreUnavailable):
            await store.record_labels([a_label()])
    own_postgres.start()

    async def recovered() -> bool:
        try:
            await store.record(first + second)
        except DecisionStoreUnavailable:
            return False
        return True

    await wait_until(recovered, "the store to write again")
    await store.close()
    assert await counts(own_postgres.url) == (600, 600, 0)


async def test_a_kill_in_the_middle_of_writing_loses_and_doubles_nothing(own_postgres: LocalPostgres) -> None:
    store = PostgresDecisionStore(own_postgres.url)
    batches = failures = 0
    enough = asyncio.Event()

    async def write() -> None:
        nonlocal batches, failures
        while not enough.is_set():
            batch, stored = [a_decision() for _ in range(100)], False
            while not stored:
                try:
                    await store.record(batch)
                    stored = True
                except DecisionStoreUnavailable:
                    failures += 1
                    await asyncio.sleep(0.01)
            batches += 1

    writing = asyncio.create_task(write())
    for _ in range(3):
        before = (await counts(own_postgres.url))[0]

        async def some_more(before: int = before) -> bool:
            return (await counts(own_postgres.url))[0] > before

        await wait_until(some_more, "some rows to be there")
        own_postgres.kill()
        own_postgres.start()
    enough.set()
    await writing
    await store.close()

    assert failures > 0
    assert await counts(own_postgres.url) == (100 * batches, 100 * batches, 0)


async def test_a_server_without_our_tables_is_refused_at_the_start(empty_database: str) -> None:
    with pytest.raises(UnsuitableServer, match="fraudstream db migrate"):
        await PostgresDecisionStore(empty_database).open()


async def test_a_table_that_is_missing_later_dead_letters_nothing(empty_database: str) -> None:
    store = PostgresDecisionStore(empty_database)

    with pytest.raises(DecisionStoreUnavailable, match="fraudstream db migrate"):
        await store.record([a_decision()])
    await store.close()


async def test_a_server_that_is_away_at_the_start_may_come_later() -> None:
    await PostgresDecisionStore("postgresql://127.0.0.1:1/nowhere").open()


@pytest.mark.parametrize(
    "url",
    ["mysql://127.0.0.1/x", "postgresql://127.0.0.1:port/x", "postgresql:///x?sslmode=verify-full&sslrootcert=/no/such.pem"],
)
async def test_an_address_that_cannot_be_used_is_refused_at_the_start_and_blames_no_row_later(url: str) -> None:
    store = PostgresDecisionStore(url)

    with pytest.raises(InvalidSettings, match="POSTGRES_URL"):
        await store.open()
    with pytest.raises(DecisionStoreUnavailable):
        await store.record([a_decision()])
    await store.close()


async def test_a_wrong_password_blames_no_row(postgres_server: LocalPostgres) -> None:
    store = PostgresDecisionStore(postgres_server.url.replace(postgres_server.password, "wrong"))

    with pytest.raises(DecisionStoreUnavailable, match="password"):
        await store.record([a_decision()])
    await store.close()


async def test_an_option_of_the_address_that_the_server_refuses_blames_no_row(database: str) -> None:
    store = PostgresDecisionStore(f"{database}?statement_timeout=soon")

    with pytest.raises(DecisionStoreUnavailable, match="statement_timeout"):
        await store.record([a_decision()])
    await store.close()


async def test_a_statement_that_hangs_is_given_up(database: str) -> None:
    store = PostgresDecisionStore(database, statement_timeout_s=0.2)
    blocker = await asyncpg.connect(database)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("LOCK TABLE transaction_ledger IN ACCESS EXCLUSIVE MODE")

    with pytest.raises(DecisionStoreUnavailable):
        await store.record([a_decision()])

    await transaction.rollback()
    await blocker.close()
    decision = a_decision()

    async def recorded() -> bool:
        try:
            await store.record([decision])
        except DecisionStoreUnavailable:
            return False  # on a busy machine a fifth of a second is little
        return True

    await wait_until(recorded, "the store to write again")
    await store.close()
    assert await counts(database) == (1, 1, 0)


async def test_a_label_comes_to_its_row(database: str) -> None:
    label = a_label(label=LabelValue.LEGITIMATE)
    store = PostgresDecisionStore(database)

    await store.record_labels([label])
    await store.close()

    client = await asyncpg.connect(database)
    row = await client.fetchrow("SELECT * FROM labels")
    await client.close()
    assert {name: row[name] for name in label.__struct_fields__} == msgspec.structs.asdict(label)


async def test_a_connection_that_dies_while_it_is_looked_at_is_an_outage_and_stops_no_worker(database: str) -> None:
    address, over = urlsplit(database), asyncio.Event()

    async def cut_off(theirs: asyncio.StreamReader, to_them: asyncio.StreamWriter) -> None:
        ours, to_us = await asyncio.open_connection(address.hostname, address.port)
        back = asyncio.create_task(_forward(ours, to_them))
        while (data := await theirs.read(65536)) and b"to_regclass" not in data:
            to_us.write(data)
        for writer in (to_us, to_them):
            writer.close()
            await writer.wait_closed()
        await back
        over.set()

    proxy = await asyncio.start_server(cut_off, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    store = PostgresDecisionStore(database.replace(f":{address.port}", f":{port}"))
    try:
        await store.open()
        await over.wait()
    finally:
        await store.close()
        proxy.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
