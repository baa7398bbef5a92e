"""
Kill it, stop it, take its servers away: nothing is lost and nothing happens twice.
"""

import asyncio
import random
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from redis import Redis

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.local.worker import LocalWorker
from tests.support.fake_slack import fake_slack
from tests.support.system import (
    a_system,
    append,
    body,
    duplicates,
    ids_of,
    letters,
    log_errors,
    open_entries,
    payments,
    recorded_ids,
    ring_errors,
    rows,
    shipped_features,
    wait_until_done,
)
from tests.support.wait import wait_until, wait_until_sync

ALL = ("fraud-check", "ml-scoring", "recorder", "alerter")


async def test_killed_workers_lose_and_double_nothing() -> None:
    rng = random.Random(3)
    with a_system([*ALL, "fraud-check", "ml-scoring", "recorder"]) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        system.start_workers()
        unique = payments(6_000)
        sent = [*unique, *rng.sample(unique, 180)]

        back: dict[LocalWorker, Future[LocalWorker]] = {}
        kills = 0
        with ThreadPoolExecutor(2) as revivers:
            for start in range(0, len(sent), 300):
                append(client, sent[start : start + 300])
                at_work = [worker for worker in system.workers if worker not in back or back[worker].done()]
                victim = rng.choice(at_work)
                victim.kill()
                back[victim] = revivers.submit(victim.start)
                kills += 1
                await wait_until(lambda: sum(not one.done() for one in back.values()) < 2, "somebody to be back", timeout_s=60)
        assert all(one.result().running for one in back.values())
        wait_until_done(client, ALL)

        found = await recorded_ids(system.postgres.url)
        features = shipped_features()
        assert kills >= 20
        assert found.keys() == ids_of(unique)
        assert set(found.values()) == {1}
        assert log_errors(client, unique, features) == []
        assert ring_errors(client, unique, features) == []
        assert letters(client) == []
        wait_until_sync(lambda: client.xlen("transactions:fraud") <= 400, "acknowledged entries to be trimmed")


async def test_stopping_all_workers_in_the_middle_loses_and_doubles_nothing() -> None:
    with a_system(ALL) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        sent = payments(6_000)
        append(client, sent[:2_000])

        system.start_workers()
        wait_until_sync(lambda: client.xlen("transactions:decisions") > 0, "the first decisions")
        append(client, sent[2_000:])  # so that there is work left at the stop, however late we saw the first decisions
        system.stop_workers()
        left = open_entries(client, ALL)
        for worker in system.workers:
            worker.start()
        wait_until_done(client, ALL)

        found = await recorded_ids(system.postgres.url)
        assert sum(left.values()) > 0, "the stop came too late to prove anything"
        assert found.keys() == ids_of(sent)
        assert set(found.values()) == {1}
        assert log_errors(client, sent, shipped_features()) == []


async def test_every_worker_leaves_nothing_pending_when_it_is_told_to_stop() -> None:
    with a_system(ALL) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        system.start_workers()
        append(client, payments(500))
        wait_until_done(client, ALL)

        system.stop_workers()

        for stream, groups in (("transactions:raw", 2), ("transactions:decisions", 1), ("transactions:fraud", 1)):
            infos = client.xinfo_groups(stream)
            assert len(infos) == groups
            assert [(info["consumers"], info["pending"]) for info in infos] == [(0, 0)] * groups
        assert client.zcard("heartbeat:fraud-check") == 0


async def test_decisions_go_on_without_the_model_and_say_so() -> None:
    with a_system(("fraud-check", "recorder", "alerter")) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        system.start_workers()
        sent = payments(400)

        append(client, sent)
        wait_until_done(client, ALL)

        degraded = await rows(system.postgres.url, "SELECT degraded, probability FROM decisions")
        assert len(degraded) == len(sent)
        assert {tuple(row["degraded"]) for row in degraded} == {("model_deadline",)}
        assert {row["probability"] for row in degraded} == {None}


async def test_a_worker_whose_model_is_broken_refuses_to_start_in_words(tmp_path) -> None:
    (tmp_path / "fraud.onnx").write_bytes(b"not a model")
    with a_system(("fraud-check", "recorder", "alerter")) as system:
        environment = {**system.environment(), "ML_MODEL_PATH": str(tmp_path)}
        worker = LocalWorker("ml-scoring", environment=environment, folder=tmp_path / "worker")

        with pytest.raises(Exception, match=r"fraud\.json"):
            worker.start()


async def test_decisions_go_on_while_postgresql_is_away_and_are_all_recorded_afterwards() -> None:
    with a_system(ALL) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        system.start_workers()
        sent = payments(1_500)
        append(client, sent[:500])
        wait_until_done(client, ALL)

        system.postgres.stop()
        append(client, sent[500:])
        wait_until_done(client, ("fraud-check", "ml-scoring", "alerter"))
        waiting = open_entries(client, ["recorder"])
        system.postgres.start()
        wait_until_done(client, ALL)

        assert waiting["recorder"] > 0
        assert await recorded_ids(system.postgres.url) == dict.fromkeys(ids_of(sent), 1)
        assert letters(client) == []


async def test_redis_killed_and_restarted_loses_and_doubles_nothing() -> None:
    with a_system(ALL) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        system.start_workers()
        sent = payments(3_000)

        append(client, sent[:2_000])
        wait_until_sync(lambda: client.xlen("transactions:decisions") > 0, "the first decisions")
        system.valkey.kill()
        system.valkey.start()
        append(client, sent[2_000:])
        wait_until_done(client, ALL)

        assert await recorded_ids(system.postgres.url) == dict.fromkeys(ids_of(sent), 1)
        assert log_errors(client, sent, shipped_features()) == []


async def test_duplicates_are_counted_and_change_no_counter() -> None:
    with a_system(ALL) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        system.start_workers()
        sent = payments(300)
        append(client, sent)
        wait_until_done(client, ALL)

        append(client, sent[:50])
        wait_until_done(client, ALL)

        wait_until_sync(lambda: duplicates(system) >= 50, "the duplicates to be counted")
        assert duplicates(system) == 50
        assert await recorded_ids(system.postgres.url) == dict.fromkeys(ids_of(sent), 1)
        assert log_errors(client, sent, shipped_features()) == []
        assert ring_errors(client, sent, shipped_features()) == []


async def test_decisions_go_on_while_slack_is_away_and_every_alert_is_delivered_afterwards() -> None:
    async with fake_slack() as slack:
        settings = {
            "alert_channels": "slack",
            "slack_bot_token": "xoxb-test",
            "slack_channel": "#fraud-alerts",
            "slack_base_url": slack.base_url,
        }
        with a_system(ALL, **settings) as system, Redis.from_url(system.valkey.url) as client:
            await migrate(system.postgres.url)
            await asyncio.to_thread(system.start_workers)
            slack.next("chat.postMessage", *["500"] * 3)
            sent = [
                body(transaction_id=f"sanctioned_{n}", country="KP", card_id=f"card_{n}", merchant="<!channel>")
                for n in range(3)
            ]

            append(client, [*sent, *(body(transaction_id=f"fine_{n}") for n in range(5))])
            await wait_until(lambda: client.xlen("transactions:decisions") > 0, "decisions without Slack")
            await wait_until(lambda: not any(open_entries(client, ALL).values()), "every group to finish", timeout_s=60)
            await wait_until(lambda: len(slack.messages) >= 3, "the alerts", timeout_s=60)

            posted = [str(message) for message in slack.messages]
            assert len(posted) == 3, "a refused post is not a delivered one"
            assert all(any(f"sanctioned_{n}" in message for message in posted) for n in range(3))
            assert not any("<!channel>" in message for message in posted)
            assert len(await recorded_ids(system.postgres.url)) == 8
