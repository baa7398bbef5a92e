"""
The recorder as a process: one bad row in a batch of two thousand, and a COMMIT whose reply is lost.
"""

import asyncio
import struct
from collections.abc import Sequence

from redis import Redis

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.decision_codec import encode_decision
from tests.support.builders import a_decision, a_transaction
from tests.support.deaf_proxy import DeafProxy
from tests.support.system import a_system, letters, recorded_ids, rows, wait_until_done


def append_decisions(client: "Redis[bytes]", decisions: Sequence[Decision], *, of_an_entry: int) -> None:
    """
    Write decisions as the completing script does.
    """
    for at in range(0, len(decisions), of_an_entry):
        some = decisions[at : at + of_an_entry]
        client.xadd("transactions:decisions", {one.transaction.transaction_id: encode_decision(one) for one in some})


async def test_of_two_thousand_decisions_with_one_poison_row_1999_are_stored_and_one_letter_written() -> None:
    decisions = [a_decision(outcome=list(Outcome)[number % 4]) for number in range(2_000)]
    poisoned = decisions[1_234].transaction.transaction_id
    poison = a_transaction(transaction_id=poisoned, merchant="a\x00b", email="jane.doe@example.com")
    decisions[1_234] = a_decision(poison, vector=struct.pack("<f", 1.0))
    with a_system(("recorder",)) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        append_decisions(client, decisions, of_an_entry=2_000)

        system.start_workers()
        wait_until_done(client, ("recorder",))
        stored = await recorded_ids(system.postgres.url)
        (letter,) = letters(client)
        (ledger,) = await rows(system.postgres.url, "SELECT count(*) AS n FROM transaction_ledger")

    assert set(stored) == {one.transaction.transaction_id for one in decisions} - {poisoned}
    assert (sum(stored.values()), ledger["n"]) == (1_999, 1_999)
    assert letter["reason"] == "sink_rejected"
    assert poisoned in str(letter)
    assert "jane.doe" not in letter["error"]


async def test_a_lost_reply_to_commit_costs_a_retry_and_nothing_else() -> None:
    decisions = [a_decision() for _ in range(500)]
    with a_system(("recorder",)) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        append_decisions(client, decisions, of_an_entry=100)
        url, port = system.postgres.url, system.postgres.port
        async with DeafProxy(port, b"COMMIT;").listening() as proxy:
            system.set(FRAUDSTREAM_POSTGRES_URL=url.replace(f":{port}/", f":{proxy.port}/"))  # wins over the plain name
            await asyncio.to_thread(system.start_workers)
            await asyncio.to_thread(wait_until_done, client, ("recorder",))
            stored = await recorded_ids(url)
            swallowed = proxy.swallowed

    assert swallowed == 1
    assert set(stored) == {one.transaction.transaction_id for one in decisions}
    assert sum(stored.values()) == 500
