"""
Decisions of a run in which rules and models change come out bit for bit when they are executed again.
"""

import os
from functools import partial
from pathlib import Path

from redis import Redis

from fraudstream.adapters.postgres_migrations import migrate
from tests.support.models import a_rival
from tests.support.shell import ROOT, answer, servers_of
from tests.support.system import a_system, append, payments, rows, shipped_features, wait_until_done
from tests.support.wait import wait_until

GROUPS = ("fraud-check,ml-scoring", "recorder")
SERVED = ("fraud-check", "ml-scoring", "recorder")
#: Payments of the whole run; a person starts the large one: VERIFY_PAYMENTS=12000 pytest tests/integration/test_verify.py
PAYMENTS = int(os.environ.get("VERIFY_PAYMENTS", "600"))


async def test_decisions_are_the_same_again_across_changes_of_rules_and_models(tmp_path: Path) -> None:
    registry, rules = tmp_path / "registry", tmp_path / "other.rules"
    rules.write_text((ROOT / "models" / "default.rules").read_text() + "\n# reviewed again\n")
    rival = a_rival(tmp_path / "rival", shipped_features(), version="rival")
    sent, third = payments(PAYMENTS), PAYMENTS // 3
    with (
        a_system(GROUPS, deadline_ms=20_000, model_registry=str(registry)) as system,
        Redis.from_url(system.valkey.url) as client,
    ):
        await migrate(system.postgres.url)
        system.start_workers()
        given = servers_of(system.valkey.url, system.postgres.url, FRAUDSTREAM_MODEL_REGISTRY=str(registry))
        append(client, sent[:third])
        wait_until_done(client, SERVED)

        pushed = await answer(given, "rules", "push", str(rules), "--reason", "words", "--activate")
        await wait_until(partial(_says, system, pushed["pushed"]["rule_set"][:12]), "the worker to follow the rules")
        append(client, sent[third : 2 * third])
        wait_until_done(client, SERVED)
        await answer(given, "model", "push", str(rival), "--reason", "newer")
        await answer(given, "model", "promote", "rival", "--reason", "better")
        await wait_until(partial(_says, system, 'version="rival"'), "the worker to follow the model")
        append(client, sent[2 * third :])
        wait_until_done(client, SERVED)

        found = await answer(given, "decisions", "verify", "--sample", str(PAYMENTS))
        flagged = await rows(system.postgres.url, "SELECT count(*) FROM fraud_transactions")

    assert (found["decisions"], found["same"], found["not_same"]) == (PAYMENTS, PAYMENTS, [])
    assert (found["rule_sets"], found["models"]) == (2, 2)
    assert found["flagged"] == flagged[0][0] > 0


def _says(system, words: str) -> bool:  # type: ignore[no-untyped-def]
    return words in system.workers[0].metrics()
