"""
``fraudstream decisions`` on a real database: what is found, what a file holds, and that a decision can be made again.
"""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from redis import Redis

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.adapters.postgres_rows import COLUMNS
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.evidence import Action, RuleHit
from fraudstream.domain.moments import moment
from tests.support.builders import NOW_MS, a_decision, a_transaction
from tests.support.shell import ROOT, answer, run, servers_of
from tests.support.system import a_system, append, payments, rows, wait_until_done

EMAIL = "jane.doe@example.com"
PHONE = "+33 6 12 34 56 78"
CARD = "4111111111111111"
GROUPS = ("fraud-group", "recorder")
SERVED = ("fraud-check", "ml-scoring", "recorder")


def several() -> list[Decision]:
    """
    Decisions a minute apart, which differ in everything that can be asked for.
    """

    def one(number: int, transaction: dict[str, Any], **changes: Any) -> Decision:
        paid = a_transaction(transaction_id=f"t_{number}", occurred_at_ms=NOW_MS - number * 3_600_000, **transaction)
        return a_decision(paid, decided_at=moment(NOW_MS + number * 60_000), **changes)

    hit = RuleHit(rule_id="other_rule", action=Action.BLOCK)
    return [
        one(0, {"card_id": "card_a", "amount_minor": 999}),
        one(1, {"card_id": "card_a", "user_id": "user_b", "amount_minor": 1000}, outcome=Outcome.REVIEW),
        one(2, {"card_id": None, "currency": "JPY", "amount_minor": 1000}, outcome=Outcome.BLOCK, score=0.99),
        one(3, {"merchant": "Other", "currency": "KWD", "amount_minor": 9_999}, outcome=Outcome.BLOCK, rule_hits=(hit,)),
        one(4, {"ip": "198.51.100.9"}, outcome=Outcome.CHALLENGE, score=0.5, degraded=("model_deadline",)),
    ]


@pytest.fixture
async def recorded(database: str) -> str:
    store = PostgresDecisionStore(database)
    await store.record(several())
    await store.close()
    return database


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], [4, 3, 2, 1, 0]),
        (["--limit", "2"], [4, 3]),
        (["--entity", "card=card_a"], [1, 0]),
        (["--entity", "card=card_a", "--entity", "user=user_b"], [1]),
        (["--entity", "merchant=Other"], [3]),
        (["--entity", "ip=198.51.100.9"], [4]),
        (["--outcome", "flagged"], [4, 3, 2, 1]),
        (["--outcome", "approve", "--outcome", "challenge"], [4, 0]),
        (["--rule", "other_rule"], [3]),
        (["--min-score", "0.5", "--max-score", "0.95"], [4, 3, 1]),
        (["--min-amount", "10", "--max-amount", "12"], [1]),
        (["--min-amount", "1000"], [2]),
        (["--max-amount", "9.999", "--currency", "KWD"], [3]),
        (["--degraded"], [4]),
        (["--since", "2026-01-15T12:01:00Z", "--until", "2026-01-15T12:03:00Z"], [2, 1]),
        (["--since", "2026-01-15T13:01:00+01:00", "--until", "2026-01-15T12:03:00"], [2, 1]),
        (["--occurred", "--until", "2026-01-15T09:30:00Z"], [4, 3]),
        (["--entity", "card=nobody' OR 1=1 --"], []),
    ],
)
async def test_decisions_are_found_by_what_they_are_newest_first(words: list[str], found: list[int], recorded: str) -> None:
    data = await answer(servers_of("redis://127.0.0.1:1/0", recorded), "decisions", "search", *words)

    assert [one["transaction"]["transaction_id"] for one in data["decisions"]] == [f"t_{number}" for number in found]


async def test_decisions_of_one_instant_keep_their_order(database: str) -> None:
    store = PostgresDecisionStore(database)
    ids = [f"same_{n:03}" for n in range(50)]
    await store.record([a_decision(a_transaction(transaction_id=one)) for one in reversed(ids)])
    await store.close()
    given = servers_of("redis://127.0.0.1:1/0", database)

    first = (await answer(given, "decisions", "search", "--limit", "20"))["decisions"]
    whole = (await answer(given, "decisions", "search", "--limit", "99"))["decisions"]

    assert [one["transaction"]["transaction_id"] for one in whole] == ids
    assert first == whole[:20]


def private() -> Decision:
    """
    A decision with personal data wherever a producer can put it.
    """
    paid = a_transaction(
        transaction_id="private_1", email=EMAIL, user_id=EMAIL, merchant=f"=call {PHONE}", device_id=PHONE,
        metadata={"note": f"{EMAIL} {PHONE} {CARD}", EMAIL: [{"deep": PHONE}], "number": int(CARD)},
    )  # fmt: skip
    hit = RuleHit(rule_id="r", action=Action.BLOCK, explanation=f"email ['{EMAIL}'] and {PHONE}")
    return a_decision(paid, outcome=Outcome.BLOCK, rule_hits=(hit,), shadow_hits=(hit,))


async def test_no_answer_and_no_file_shows_personal_data_unless_asked_and_that_is_audited(
    database: str, tmp_path: Path
) -> None:
    store = PostgresDecisionStore(database)
    await store.record([private()])
    await store.close()
    given = servers_of("redis://127.0.0.1:1/0", database)
    files = [tmp_path / f"out.{form}" for form in ("csv", "jsonl", "parquet")]

    for file in files:
        await run(given, "decisions", "export", str(file))
    outputs = [
        (await run(given, "decisions", *words)).stdout
        for words in (
            ["show", "private_1"], ["show", "private_1", "--json"], ["search"], ["search", "--json"],
            ["export", "-", "--format", "csv"], ["explain", "private_1"],
        )
    ]  # fmt: skip
    unaudited = await rows(database, "SELECT * FROM audit_log")
    seen = await answer(given, "decisions", "show", "private_1", "--unmask")

    contents = [*outputs, *(file.read_bytes() for file in files[:2]), str(pq.read_table(files[2]).to_pylist()).encode()]
    for content in contents:
        assert b"private_1" in content
        assert EMAIL.encode() not in content
        assert b"12 34 56" not in content
        assert CARD.encode() not in content
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert unaudited == []
    assert seen["transaction"]["email"] == EMAIL
    audited = await rows(database, "SELECT action, outcome, resource, actor <> '' AS named FROM audit_log")
    assert [tuple(row) for row in audited] == [("decisions.show", "success", "decisions/private_1", True)]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_file_holds_every_row_in_every_form(database: str, tmp_path: Path) -> None:
    store = PostgresDecisionStore(database)
    await store.record([a_decision(outcome=Outcome.BLOCK, decided_at=moment(NOW_MS + n)) for n in range(2_500)])
    await store.close()
    given = servers_of("redis://127.0.0.1:1/0", database)

    for form in ("csv", "jsonl", "parquet"):
        written = await answer(given, "decisions", "export", str(tmp_path / f"all.{form}"))
        assert written["decisions"] == 2_500

    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "all.parquet")
    sheet = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    expected = [row["transaction_id"] for row in await rows(database, "SELECT * FROM decisions ORDER BY decided_at DESC")]
    assert [one["transaction_id"] for one in lines] == expected
    assert table.column("transaction_id").to_pylist() == expected
    assert [one["transaction_id"] for one in sheet] == expected
    assert tuple(table.column_names) == COLUMNS == tuple(lines[0]) == tuple(sheet[0])
    assert lines[0]["reasons"][0]["code"] == "many_cards"
    assert table.column("amount_minor").to_pylist()[0] == lines[0]["amount_minor"] == int(sheet[0]["amount_minor"]) == 1250
    assert table.column("vector").to_pylist()[0].hex() == lines[0]["vector"] == sheet[0]["vector"]
    assert names_in(tmp_path) == {"all.csv", "all.jsonl", "all.parquet"}, "nothing half written is left"


async def test_a_spreadsheet_finds_no_formula_in_a_merchant(database: str) -> None:
    store = PostgresDecisionStore(database)
    await store.record([a_decision(a_transaction(merchant='=HYPERLINK("http://evil.example","x")'))])
    await store.close()

    done = await run(servers_of("redis://127.0.0.1:1/0", database), "decisions", "export", "-", "--format", "csv")

    (row,) = csv.DictReader(io.StringIO(done.stdout.decode()))
    assert row["merchant"].startswith("'=")


def a_rulebook(folder: Path) -> dict[str, str]:
    """
    Copy rules, lists and model to a folder of the test's own, and return the settings that name them.
    """
    shutil.copytree(ROOT / "models", folder)
    return {
        "rules": str(folder / "default.rules"),
        "lists": str(folder / "lists"),
        "model": str(folder / "fraud.onnx"),
        "features": str(folder / "default.features"),
    }


def append_line(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"\n{line}\n")


async def test_five_hundred_decisions_of_a_run_come_out_bit_for_bit_and_a_changed_rule_file_is_named(tmp_path: Path) -> None:
    files = a_rulebook(tmp_path / "models")
    with a_system(GROUPS, **files) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        append(client, payments(1_500))
        system.start_workers()
        wait_until_done(client, SERVED)
        await rows(system.postgres.url, "ANALYZE")
        given = servers_of(
            system.valkey.url, system.postgres.url, **{f"FRAUDSTREAM_{name.upper()}": path for name, path in files.items()}
        )
        (flagged,) = await rows(
            system.postgres.url,
            "SELECT transaction_id FROM fraud_transactions WHERE rule_hits IS NOT NULL AND degraded = '{}' LIMIT 1",
        )

        whole = await answer(given, "decisions", "explain", "--sample", "500")
        shown = await answer(given, "decisions", "show", flagged["transaction_id"])

        assert whole["counts"] == {"same": 500, "differs": 0, "not_at_hand": 0, "absent": 0}
        assert whole["decisions"] == []
        assert shown["execution"]["verdict"] == "same"
        assert len(shown["features"]) > 20

        older = tmp_path / "older"
        shutil.copytree(tmp_path / "models", older)
        append_line(files["rules"], "# a word more")
        changed = await answer(given, "decisions", "explain", flagged["transaction_id"], code=1)
        archived = await answer(given, "decisions", "explain", "--sample", "500", "--archive", str(older))
        shutil.copy(older / "default.rules", files["rules"])
        append_line(f"{files['lists']}/disposable_email.list", "new.example")
        lists = await answer(given, "decisions", "explain", flagged["transaction_id"], code=1)
        archived_lists = await answer(given, "decisions", "explain", flagged["transaction_id"], "--archive", str(older))

        (one,) = changed["decisions"]
        assert one["verdict"] == "differs"
        assert any("the rule set differs" in note for note in one["notes"])
        assert [each["field"] for each in one["differences"]] == ["rule_set"]
        assert archived["counts"]["same"] == 500
        assert any("list @disposable_email differs" in note for note in lists["decisions"][0]["notes"])
        assert [each["field"] for each in lists["decisions"][0]["differences"]] == ["lists"]
        assert archived_lists["counts"]["same"] == 1


async def test_a_decision_whose_feature_set_is_gone_says_so(recorded: str) -> None:
    given = servers_of("redis://127.0.0.1:1/0", recorded)

    done = await answer(given, "decisions", "explain", "t_1", "t_1", "nobody", code=1)

    assert done["counts"] == {"same": 0, "differs": 0, "not_at_hand": 1, "absent": 1}
    assert "feature set 0123456789abcdef is not at hand" in done["decisions"][0]["notes"][0]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["show", "nobody"], 1, b"no decision"),
        (["search", "--entity", "shoe=1"], 2, b"merchant"),
        (["search", "--outcome", "maybe"], 2, b"flagged"),
        (["explain"], 2, b"--sample"),
        (["export", "-", "--format", "parquet"], 2, b"file"),
        (["export", "/nowhere/at/all.csv"], 3, b"/nowhere/at/all.csv"),
    ],
)
async def test_what_cannot_be_answered_is_said_in_words(words: list[str], code: int, says: bytes, database: str) -> None:
    done = await run(servers_of("redis://127.0.0.1:1/0", database), "decisions", *words)

    assert done.returncode == code, done.stderr.decode()
    assert says in done.stderr
    assert b"Traceback" not in done.stderr


async def test_without_a_database_nothing_is_looked_up() -> None:
    unnamed = await run(servers_of("redis://127.0.0.1:1/0", ""), "decisions", "show", "t_1")
    away = await run(servers_of("redis://127.0.0.1:1/0", "postgresql://nobody@127.0.0.1:1/none"), "decisions", "search")

    assert unnamed.returncode == 3
    assert b"POSTGRES_URL" in unnamed.stderr
    assert away.returncode == 4


async def test_only_named_people_see_personal_data_and_whoever_tries_is_noted(database: str) -> None:
    store = PostgresDecisionStore(database)
    await store.record([private()])
    await store.close()
    given = servers_of("redis://127.0.0.1:1/0", database, FRAUDSTREAM_UNMASK_ACTORS="somebody_else,another")

    done = await run(given, "decisions", "show", "private_1", "--unmask")

    assert (done.returncode, done.stdout) == (6, b"")
    assert b"may not see personal data" in done.stderr
    audited = await rows(database, "SELECT action, outcome FROM audit_log")
    assert [tuple(row) for row in audited] == [("decisions.show", "failure")]
