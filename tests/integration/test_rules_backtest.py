"""
``fraudstream rules backtest | shadow | promote | explain`` on a real database and a real Redis, as a person runs them.
"""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.app.loading import load_rulebook
from fraudstream.domain.decision import Decision, Label, LabelValue, Outcome
from fraudstream.domain.evidence import Action, RuleHit
from fraudstream.domain.moments import moment
from fraudstream.local import LocalValkey
from fraudstream.settings import Settings
from tests.support.builders import NOW_MS, a_decision, a_transaction
from tests.support.shell import ROOT, answer, run, servers_of

NOWHERE = "redis://127.0.0.1:1/0"
FEATURES = load_rulebook(Settings()).features
DAY_MS = 86_400_000
RULE = "rule busy\n  block if :card_count_1h: >= 8 and :amount: < 20\n"
AS_OF = ("--as-of", "2026-01-15T12:00:00Z")


def vector(**values: float) -> bytes:
    return np.array([values.get(name, np.nan) for name in FEATURES.names], "<f4").tobytes()


def decided(number: int, count: float, days_ago: float, **changes: object) -> Decision:
    paid = a_transaction(transaction_id=f"t_{number}", occurred_at_ms=int(NOW_MS - days_ago * DAY_MS), amount_minor=1250)
    whole = {"vector": vector(card_count_1h=count), "feature_set": FEATURES.id, "probability": 0.1, "lists": {}, **changes}
    return a_decision(paid, decided_at=moment(NOW_MS - 1000 * number), **whole)


HIT = RuleHit(rule_id="watcher", action=Action.BLOCK, explanation=":card_count_1h:[9] >= 8")


def several() -> list[Decision]:
    return [
        decided(1, 9, 90),
        decided(2, 9, 90),
        decided(3, 7, 90, shadow_hits=(HIT,)),
        decided(4, 9, 3, shadow_hits=(HIT,)),
        decided(5, 9, 90, outcome=Outcome.BLOCK, probability=0.99),
    ]


def label(number: int, value: LabelValue, days: int = 0) -> Label:
    at = moment(NOW_MS) - timedelta(days=1) + timedelta(days=days)
    return Label(label_id=f"l_{number}_{days}", transaction_id=f"t_{number}", label=value, source="bank", labelled_at=at)


@pytest.fixture
async def recorded(database: str) -> str:
    store = PostgresDecisionStore(database)
    await store.record(several())
    said = (label(1, LabelValue.FRAUD), label(5, LabelValue.FRAUD), label(3, LabelValue.FRAUD), label(2, LabelValue.FRAUD, 5))
    await store.record_labels(said)
    await store.close()
    return database


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "my.rules"
    path.write_text(f"{(ROOT / 'models' / 'default.rules').read_text()}\n{RULE}")
    return path


async def test_the_same_report_comes_from_the_database_and_from_an_export_of_it(recorded: str, rules: Path, tmp_path: Path):
    given = servers_of(NOWHERE, recorded)
    export, labels = tmp_path / "all.parquet", tmp_path / "labels.csv"
    await answer(given, "decisions", "export", str(export), "--unmask")
    labels.write_text("transaction_id,label\nt_1,fraud\nt_3,fraud\nt_5,fraud\n")

    by_query = await answer(given, "rules", "backtest", str(rules), *AS_OF)
    by_file = await answer(
        servers_of(NOWHERE, ""), "rules", "backtest", str(rules), "--data", str(export), "--labels", str(labels), *AS_OF
    )

    assert by_query == by_file
    counted = {name: by_query[name]["payments"] for name in ("new_catches", "already_caught", "missed", "new_false_positives")}
    assert counted == {"new_catches": 1, "already_caught": 1, "missed": 1, "new_false_positives": 1}
    assert (by_query["immature"], by_query["immature_flagged"]) == (1, 1)
    assert [rule["rule_id"] for rule in by_query["rules"] if rule["changed"]] == ["busy"]


async def test_a_history_is_replayed_and_the_page_is_written(tmp_path: Path, rules: Path):
    history, page = tmp_path / "history.jsonl", tmp_path / "report.html"
    given = servers_of(NOWHERE, "")
    made = await answer(given, "produce", "history", str(history), "--transactions", "3000", "--until", "90d")

    told = await answer(given, "rules", "backtest", str(rules), "--data", str(history), "--html", str(page))

    assert (told["payments"], told["frauds"]) == (3000, made["frauds"])
    assert told["already_caught"]["payments"] + told["missed"]["payments"] + told["new_catches"]["payments"] == made["frauds"]
    assert "<svg" in page.read_text()


async def test_a_set_with_a_mistake_and_payments_that_are_not_there_end_in_words(tmp_path: Path, rules: Path):
    given = servers_of(NOWHERE, "")
    wrong = tmp_path / "wrong.rules"
    wrong.write_text("rule a block if :card_cnt_1h: > 3")

    mistaken = await run(given, "rules", "backtest", str(wrong), "--data", str(rules))
    absent = await run(given, "rules", "backtest", str(rules), "--data", str(tmp_path / "no.parquet"))

    assert (mistaken.returncode, b"did you mean" in mistaken.stderr) == (1, True)
    assert (absent.returncode, b"no.parquet" in absent.stderr) == (3, True)


async def test_shadow_hits_are_told_with_what_became_of_them(recorded: str):
    told = await answer(servers_of(NOWHERE, recorded), "rules", "shadow", "watcher")

    (watcher,) = told["rules"]
    assert {name: watcher[name] for name in ("hits", "flagged", "frauds", "legitimate")} == {
        "hits": 2, "flagged": 0, "frauds": 1, "legitimate": 0,
    }  # fmt: skip
    assert [hit["transaction_id"] for hit in told["hits"]] == ["t_3", "t_4"]


async def test_promotion_needs_a_record_in_shadow_and_four_eyes(recorded: str, valkey: LocalValkey, tmp_path: Path):
    given = servers_of(valkey.url, recorded, FRAUDSTREAM_RULES_FOUR_EYES="true")
    path = tmp_path / "shadow.rules"
    path.write_text("shadow rule watcher\n  block if :card_count_1h: >= 8\n")
    why = ("--reason", "seen enough", "--actor", "ana")
    await answer(given, "rules", "push", str(path), "--activate", *why)

    unseen = await run(given, "rules", "promote", "watcher", *why)
    alone = await run(given, "rules", "promote", "watcher", "--min-hits", "2", *why)
    (digits,) = [
        word for word in alone.stderr.decode().split() if len(word) == 12 and all(c in "0123456789abcdef" for c in word)
    ]
    changed = await answer(given, "rules", "activate", digits, "--reason", "read", "--actor", "ben")
    after = await answer(given, "rules", "list")
    again = await run(given, "rules", "promote", "watcher", "--anyway", *why)

    assert (unseen.returncode, b"2 hits of 20" in unseen.stderr) == (6, True)
    assert (alone.returncode, b"four eyes" in alone.stderr) == (6, True)
    assert changed["actor"] == "ben"
    assert [(rule["rule_id"], rule["shadow"]) for rule in after["rules"]] == [("watcher", False)]
    assert (again.returncode, b"is not in shadow" in again.stderr) == (6, True)


async def test_a_recorded_transaction_says_what_fires_and_what_nearly_does(recorded: str, rules: Path):
    given = servers_of(NOWHERE, recorded)

    fires = await answer(given, "rules", "explain", "t_1", "--rules", str(rules))
    nearly = await answer(given, "rules", "explain", "t_3", "--rules", str(rules))

    assert [(hit["rule_id"], hit["explanation"]) for hit in fires["hits"] if hit["rule_id"] == "busy"] == [
        ("busy", ":card_count_1h:[9] >= 8 and :amount:[12.50 USD] < 20")
    ]
    assert next(miss for miss in nearly["near_misses"] if miss["rule_id"] == "busy") == {
        "rule_id": "busy", "action": "block", "shadow": False, "condition": ":card_count_1h:[7] >= 8", "gap": 1.0,
        "relative": 0.125, "words": "1 from the threshold",
    }  # fmt: skip
    assert (await run(given, "rules", "explain", "t_99", "--rules", str(rules))).returncode == 1
    assert "203.0.113.7" not in json.dumps([fires, nearly])
