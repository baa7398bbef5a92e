"""
``fraudstream digest`` on a real database: a day, and the week before it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.domain.decision import Decision, LabelValue, Outcome
from fraudstream.domain.evidence import Action, RuleHit
from tests.support.builders import a_decision, a_label, a_transaction
from tests.support.shell import answer, run, servers_of
from tests.support.smtp import smtp_server

DAY = datetime(2026, 3, 12, tzinfo=UTC)
#: How many of each hundred decisions of a day are flagged; the last is the day of the digest.
FLAGGED = (4, 5, 3, 4, 5, 3, 4, 9)
CARD, EMAIL = "4111 1111 1111 1111", "jane.doe@example.com"
MERCHANTS = ("Northern Electronics", "Gift Cards & <b>More</b>", f"shop of {EMAIL} {CARD}", "Corner Grocery")


def decisions() -> Iterator[Decision]:
    """
    Eight days of a hundred decisions, the last with twice as many, fraud and money in two currencies.
    """
    for back, flagged in zip(range(7, -1, -1), FLAGGED, strict=True):
        total = 200 if back == 0 else 100
        for number in range(total):
            at = DAY - timedelta(days=back) + timedelta(minutes=number * 7)
            is_flagged = number < flagged * total // 100
            outcome = (Outcome.BLOCK, Outcome.REVIEW, Outcome.CHALLENGE)[number % 3] if is_flagged else Outcome.APPROVE
            hits = tuple(
                RuleHit(rule_id=name, action=Action.REVIEW) for name in ("card_testing", "new_device")[: 1 + (number % 4 == 0)]
            )
            yield a_decision(
                a_transaction(
                    transaction_id=f"d{back}_{number}",
                    amount_minor=100_00 + number,
                    currency="EUR" if number % 5 else "JPY",
                    merchant=MERCHANTS[(number * number) % 4],
                ),
                outcome=outcome,
                rule_hits=hits if is_flagged else (),
                shadow_hits=(RuleHit(rule_id="trial", action=Action.BLOCK),) if number % 50 == 0 else (),
                received_at=at - timedelta(milliseconds=12 + number % 9),
                decided_at=at,
                degraded=("model_deadline",) if number % 60 == 59 else (),
            )


@pytest.fixture
async def eight_days(database: str) -> dict[str, str]:
    store = PostgresDecisionStore(database)
    await store.record(list(decisions()))
    told = DAY + timedelta(hours=9)
    labels = {"d3_0": LabelValue.FRAUD, "d2_50": LabelValue.FRAUD, "d2_51": LabelValue.FRAUD, "d1_1": LabelValue.LEGITIMATE}
    await store.record_labels([a_label(transaction_id=one, label=label, labelled_at=told) for one, label in labels.items()])
    await store.close()
    return servers_of("", database)


async def test_a_day_is_held_against_the_week_before(eight_days: dict[str, str]) -> None:
    found = await answer(eight_days, "digest", "--day", "2026-03-12")

    assert found["decisions"] == {"value": 200, "usual": 100}
    assert found["flagged_rate"]["value"] == 0.09
    assert found["flagged_rate"]["usual"] == pytest.approx(0.04)
    assert found["outcomes"]["block"] == {"value": 6, "usual": pytest.approx(12 / 7)}
    assert [one["currency"] for one in found["money"]] == ["EUR", "JPY"]
    assert found["money"][1]["paid"]["value"] == sum(100_00 + number for number in range(0, 200, 5))
    assert [(one["rule_id"], one["shadow"], one["hits"]["value"]) for one in found["rules"]] == [
        ("card_testing", False, 18),
        ("new_device", False, 5),
        ("trial", True, 4),
    ]
    assert [found[name]["value"] for name in ("caught", "missed", "false_alarms")] == [1, 2, 1]
    assert found["days"][-1] == ["2026-03-12", 200, 18]
    assert 0.01 < found["p50_s"]["value"] < 0.025


async def test_text_and_html_say_it_and_show_nobody(eight_days: dict[str, str], tmp_path: Path) -> None:
    text = (await run(eight_days, "digest", "--day", "2026-03-12")).stdout.decode()
    page = tmp_path / "digest.html"
    await run(eight_days, "digest", "--day", "2026-03-12", "--format", "html", "--out", str(page))
    html = page.read_text()

    for said in ("Thursday, 12 March 2026", "200 payments were decided; 18 of them (9.00%)", "+100 %", "card_testing"):
        assert said in text
        assert said in html
    assert "fraud that was approved" in text
    assert "&lt;b&gt;More&lt;/b&gt;" in html
    assert "<b>" not in html
    for private in (EMAIL, "jane.doe", CARD, "1111 1111"):
        assert private not in text
        assert private not in html


async def test_a_day_is_one_of_the_time_zone(eight_days: dict[str, str]) -> None:
    tokyo = await answer(eight_days, "digest", "--day", "2026-03-12", "--time-zone", "Asia/Tokyo")

    # Midnight in Tokyo is 15:00 UTC of the day before, and a hundred decisions seven minutes apart end at 11:33.
    assert tokyo["decisions"]["value"] == sum(1 for number in range(200) if number * 7 < 15 * 60)


async def test_a_day_without_decisions_is_told_as_one(database: str) -> None:
    done = await run(servers_of("", database), "digest")

    assert done.returncode == 0
    assert b"No payment was decided" in done.stdout


async def test_a_digest_by_mail_has_both_parts_and_one_id(eight_days: dict[str, str]) -> None:
    async with smtp_server() as server:
        given = {
            **eight_days, "FRAUDSTREAM_SMTP_HOST": "127.0.0.1", "FRAUDSTREAM_SMTP_PORT": str(server.port),
            "FRAUDSTREAM_SMTP_STARTTLS": "false", "FRAUDSTREAM_SMTP_FROM": "fraud@example.org",
            "FRAUDSTREAM_SMTP_TO": "team@example.org,boss@example.org",
        }  # fmt: skip
        done = [await run(given, "digest", "--day", "2026-03-12", "--email") for _ in range(2)]

    assert [one.returncode for one in done] == [0, 0], done[0].stderr.decode()
    first, second = server.mails
    assert first["Subject"] == "Fraud digest of Thursday, 12 March 2026 (UTC)"
    assert first["Message-ID"] == second["Message-ID"]
    assert [part.get_content_type() for part in first.iter_parts()] == ["text/plain", "text/html"]
    assert "200 payments were decided" in first.get_body(("plain",)).get_content()
    assert server.envelopes[0].rcpt_tos == ["team@example.org", "boss@example.org"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--day", "soon"], 2, b"2026-01-31"),
        (["--time-zone", "Mars/Olympus"], 2, b"Europe/Berlin"),
        (["--email"], 3, b"FRAUDSTREAM_SMTP_HOST"),
    ],
)
async def test_what_cannot_be_done_is_said(words: list[str], code: int, says: bytes, database: str) -> None:
    done = await run(servers_of("", database), "digest", *words)

    assert (done.returncode, says in done.stderr) == (code, True), done.stderr.decode()
