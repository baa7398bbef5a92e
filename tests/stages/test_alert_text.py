import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.adapters.console import line
from fraudstream.adapters.email_message import email_message
from fraudstream.adapters.slack_message import slack_message
from fraudstream.adapters.webhook import message_body
from fraudstream.domain.alert import Message, Severity
from fraudstream.domain.decision import Outcome
from fraudstream.domain.evidence import Action, Fallback, Reason, RuleHit
from fraudstream.domain.masking import luhn
from fraudstream.stages.alert_grouping import Bearing
from fraudstream.stages.alert_notice import Links, build_digest, build_notice
from fraudstream.stages.alert_ports import DigestFacts, Shown
from fraudstream.stages.alert_text import alert_id, build_alert, degraded_text, masked_card, plain
from tests.support.alerts import a_group
from tests.support.builders import a_decision, a_transaction


def check_digit(body: str) -> str:
    return next(digit for digit in "0123456789" if luhn(body + digit))


@pytest.mark.parametrize(
    ("outcome", "severity", "words"),
    [
        (Outcome.BLOCK, Severity.CRITICAL, "Blocked: "),
        (Outcome.REVIEW, Severity.WARNING, "Held for review: "),
        (Outcome.CHALLENGE, Severity.INFO, "Challenged: "),
    ],
)
def test_the_outcome_sets_how_loud_an_alert_is_and_its_first_word(outcome: Outcome, severity: Severity, words: str) -> None:
    decision = a_decision(outcome=outcome)

    alert = build_alert(decision)

    assert alert.severity is severity
    assert alert.title.startswith(words)


def test_an_alert_says_what_how_much_and_where() -> None:
    transaction = a_transaction(
        transaction_id="txn_a", amount_minor=248000, currency="EUR", merchant="ACME GmbH", card_id="tok_994242"
    )
    decision = a_decision(
        transaction,
        outcome=Outcome.BLOCK,
        score=0.97,
        reasons=(Reason(code="R014", text="card testing"),),
        rule_hits=(RuleHit(rule_id="R014", action=Action.BLOCK, reason="card testing"),),
    )

    alert = build_alert(decision)

    assert alert.title == "Blocked: card testing at ACME GmbH"
    assert alert.summary == "Blocked: card testing at ACME GmbH · 2,480.00 EUR · card •••• 4242 · score 0.97 · txn_a"
    assert dict(alert.facts)["Rules"] == "R014"
    assert dict(alert.facts)["Paid at"].endswith(" UTC")


def test_at_most_three_reasons_each_with_its_value() -> None:
    hit = RuleHit(rule_id="R014", action=Action.BLOCK, reason="card testing", explanation="cards_on_device (23) > 5")
    decision = a_decision(
        outcome=Outcome.BLOCK,
        rule_hits=(hit,),
        reasons=(
            Reason(code="R014", text="card testing"),
            Reason(code="f", text="23 cards on this device in 5 minutes", value=23.0),
            Reason(code="g", text="far from home", value=812.5),
            Reason(code="h", text="a fourth"),
        ),
    )

    alert = build_alert(decision)

    assert alert.why == (
        "card testing (cards on device (23) > 5)",
        "23 cards on this device in 5 minutes",
        "far from home (812.5)",
    )


def test_rules_that_fired_are_reasons_where_none_were_written_down() -> None:
    hit = RuleHit(rule_id="R1", action=Action.REVIEW, reason="too many cards: 7")
    decision = a_decision(outcome=Outcome.REVIEW, reasons=(), rule_hits=(hit,))

    alert = build_alert(decision)

    assert alert.why == ("too many cards: 7",)


def test_a_decision_without_any_reason_is_told_by_its_score() -> None:
    decision = a_decision(a_transaction(merchant=None), outcome=Outcome.REVIEW, reasons=(), rule_hits=(), score=0.91)

    alert = build_alert(decision)

    assert alert.title == "Held for review: score 0.91"
    assert alert.why == ()


@pytest.mark.parametrize(
    ("card_id", "shown"),
    [("tok_9f3a4242", "•••• 4242"), ("12345", "•••• 2345"), ("4242", ""), ("a", ""), (None, ""), ("", ""), ("a-b-c-d", "")],
)
def test_at_most_the_last_four_of_a_card_are_shown(card_id: str | None, shown: str) -> None:
    assert masked_card(card_id) == shown


@given(st.text(max_size=40))
def test_a_card_never_shows_more_than_four_of_its_own_characters(card_id: str) -> None:
    shown = masked_card(card_id)

    assert len(shown.removeprefix("•••• ")) <= 4


@pytest.mark.parametrize(
    ("degraded", "words"),
    [
        ((), ""),
        ((Fallback.MODEL_DEADLINE,), "degraded: decided without the model (no answer in time)"),
        (
            (Fallback.RULES_ERROR, Fallback.MODEL_ERROR),
            "decided without the rules (they failed) and without the model (it failed)",
        ),
    ],
)
def test_a_degraded_decision_says_what_it_lacked(degraded: tuple[Fallback, ...], words: str) -> None:
    assert words in degraded_text(degraded)


@pytest.mark.parametrize("fallback", Fallback)
def test_every_fallback_has_words(fallback: Fallback) -> None:
    assert degraded_text([fallback]).startswith("degraded: decided without ")


def test_nothing_personal_of_the_customer_is_in_an_alert() -> None:
    transaction = a_transaction(
        card_id="tok_secretcard4242",
        email="jane.doe@example.com",
        ip="198.51.100.23",
        user_id="user_jane",
        metadata={"cardholder_name": "Jane Doe", "phone": "+33612345678"},
    )

    text = str(build_alert(a_decision(transaction, outcome=Outcome.BLOCK)))

    for secret in ("secretcard", "jane", "Jane", "198.51", "33612345678"):
        assert secret not in text


def test_personal_data_in_free_texts_is_scrubbed() -> None:
    transaction = a_transaction(merchant="4111 1111 1111 1111 shop of jane@example.com")
    reason = Reason(code="r", text="card 4111111111111111 used by +33 6 12 34 56 78")

    text = str(build_alert(a_decision(transaction, outcome=Outcome.BLOCK, reasons=(reason,))))

    for secret in ("4111 1111", "41111111", "jane@", "12 34 56"):
        assert secret not in text


@given(st.text(max_size=300))
def test_a_plain_text_is_one_visible_line_of_bounded_length(text: str) -> None:
    shown = plain(text, 80)

    assert len(shown) <= 80
    assert "\n" not in shown
    assert "\u202e" not in shown
    assert shown.isprintable()


def test_a_line_cannot_be_turned_around_or_split() -> None:
    shown = plain("ACME\u202egnp.exe\r\nBcc: x\x00\x1b[31m\u200b end", 80)

    assert shown == "ACMEgnp.exe Bcc: x [31m end"


def test_the_alert_id_follows_from_the_transaction_id_alone() -> None:
    first, second = (build_alert(a_decision(a_transaction(transaction_id="txn_7", amount_minor=n))) for n in (1, 2))

    assert first.alert_id == second.alert_id == alert_id("txn_7")
    assert alert_id("txn_8") != alert_id("txn_7")


def _everything(message: Message) -> list[str]:
    """
    Return what leaves us about a message, on every channel.
    """
    mail = email_message(message, sender="a@bank.example", recipients=["b@bank.example"])
    parts = [part.get_content() for part in mail.iter_parts()]
    return [str(slack_message(message)), str(mail["Subject"]), *parts, message_body(message).decode(), line(message)]


FORMS = ("{}", "{} {} {} {}", "{}-{}-{}-{}", "{}\u200b{} {}\n{}", "x{}{}{}{}y")


@given(
    card=st.from_regex(r"[2-6][0-9]{14}", fullmatch=True).map(lambda body: body + check_digit(body)),
    form=st.sampled_from(FORMS),
    around=st.sampled_from([("", ""), ("shop ", " 123"), ("<", ">"), ("cvv=", ""), ("12 ", "-09")]),
)
def test_a_card_number_in_any_field_comes_out_of_no_channel(card: str, form: str, around: tuple[str, str]) -> None:
    groups = [card] if form == "{}" else [card[start : start + 4] for start in range(0, 16, 4)]
    text = form.format(*groups).join(around)
    transaction = a_transaction(
        transaction_id=f"t {text}", merchant=text, country=text, channel=text, card_id=text, user_id=text, device_id=text
    )
    hit = RuleHit(rule_id=text, action=Action.BLOCK, reason=text, explanation=text, tags=(text,))
    reasons = (Reason(code=text, text=text), Reason(code="R", text=""), Reason(code="f", text="plain", value=float(card)))
    decision = a_decision(transaction, outcome=Outcome.BLOCK, rule_hits=(hit,), reasons=reasons)

    group = a_group(decision)
    links = Links(case_url="https://cases.example/{alert_id}/{transaction_id}", buttons=True)
    notice = build_notice(group, Shown(), links, [transaction.transaction_id])
    facts = DigestFacts(groups=1, top=[group], families=[(text, 1)], merchants=[(text, 1)], snoozes=[f"{text}|card|{text}"])

    storm = Bearing(family="storm", rule_id="", entity="", entity_id="")
    digest = build_digest(a_group(decision, digest=True, bearing=storm), Shown(), facts, links)

    for output in [output for message in (notice, digest) for output in _everything(message)]:
        digits = "".join(character for character in output if character.isdigit() or character.isalpha())
        assert card not in digits
