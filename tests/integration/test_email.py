import re
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from html import escape
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from fraudstream.adapters.email import EmailAlertChannel, SmtpTls
from fraudstream.adapters.email_message import email_message
from fraudstream.domain.alert import Notice
from fraudstream.domain.errors import AlertFailed
from fraudstream.local import LocalValkey
from fraudstream.stages.alert_pace import PaceLimits
from tests.support.alert_hall import RememberingChannel, a_flagged, a_hall
from tests.support.alerts import a_digest, a_notice
from tests.support.smtp import Certificate, Mailbox, self_signed, smtp_server
from tests.support.swift_alerts import SWIFT
from tests.support.wait import wait_until


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("smtp"))


@pytest_asyncio.fixture
async def mailbox(certificate: Certificate) -> AsyncIterator[Mailbox]:
    async with smtp_server(certificate) as server:
        yield server


def _channel(mailbox: Mailbox, ca_file: Path | None, **changes: Any) -> EmailAlertChannel:
    values: dict[str, Any] = {
        "sender": "Fraudstream <alerts@bank.example>",
        "recipients": ["oncall@bank.example", "lead@bank.example"],
        "ca_file": None if ca_file is None else str(ca_file),
        "timeout_s": 60.0,  # a busy machine is not silent
    }
    return EmailAlertChannel("127.0.0.1", mailbox.port, **{**values, **changes})


async def _failure(channel: EmailAlertChannel) -> AlertFailed:
    with pytest.raises(AlertFailed) as caught:
        await channel.post(a_notice())
    return caught.value


async def test_an_alert_arrives_over_tls_at_every_recipient(mailbox: Mailbox, certificate: Certificate) -> None:
    await _channel(mailbox, certificate.certificate).post(a_notice())

    (mail,) = mailbox.mails
    assert mail["Subject"] == "[CRITICAL] Blocked: card testing at ACME GmbH"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Fraudstream-Alert-Id"] == "al_0123456789abcdef"
    assert mailbox.over_tls == [True]
    assert mailbox.envelopes[0].rcpt_tos == ["oncall@bank.example", "lead@bank.example"]


async def test_a_second_mail_of_the_same_alert_has_the_same_message_id(mailbox: Mailbox, certificate: Certificate) -> None:
    channel = _channel(mailbox, certificate.certificate)

    await channel.post(a_notice())
    await channel.post(a_notice())

    assert [mail["Message-ID"] for mail in mailbox.mails] == ["<al_0123456789abcdef@bank.example>"] * 2
    assert mailbox.mails[0]["Date"] == mailbox.mails[1]["Date"]


async def test_a_server_without_starttls_gets_nothing() -> None:
    async with smtp_server() as plain:
        failure = await _failure(_channel(plain, None))

        assert failure.permanent
        assert plain.mails == []


async def test_a_certificate_that_nobody_vouches_for_is_not_spoken_to(mailbox: Mailbox) -> None:
    failure = await _failure(_channel(mailbox, None))

    assert not failure.permanent
    assert "certificate" in failure.detail.lower()
    assert mailbox.mails == []


async def test_a_relay_on_this_machine_may_be_used_in_the_clear() -> None:
    async with smtp_server() as plain:
        await _channel(plain, None, tls=SmtpTls.NONE).post(a_notice())

        assert plain.over_tls == [False]


@pytest.mark.parametrize(
    ("answer", "permanent"), [("451 try later", False), ("421 closing", False), ("550 no such user", True), ("552 full", True)]
)
async def test_the_code_of_the_server_decides_whether_to_try_again(
    mailbox: Mailbox, certificate: Certificate, answer: str, permanent: bool
) -> None:
    mailbox.answer = answer

    failure = await _failure(_channel(mailbox, certificate.certificate))

    assert failure.permanent is permanent
    assert answer[:3] in failure.detail


async def test_silence_is_transient_and_bounded(mailbox: Mailbox, certificate: Certificate) -> None:
    mailbox.silent = True

    failure = await _failure(_channel(mailbox, certificate.certificate, timeout_s=0.3))

    assert not failure.permanent


async def test_nobody_listening_is_transient(certificate: Certificate) -> None:
    async with smtp_server(certificate) as gone:
        pass

    failure = await _failure(_channel(gone, certificate.certificate))

    assert not failure.permanent


@pytest.mark.parametrize(
    ("answers", "permanent"),
    [(("550 unknown", "550 unknown"), True), (("450 greylisted", "550 unknown"), False)],
)
async def test_when_all_recipients_are_refused_one_deferral_is_reason_enough_to_try_again(
    mailbox: Mailbox, certificate: Certificate, answers: tuple[str, str], permanent: bool
) -> None:
    mailbox.recipients = dict(zip(("oncall@bank.example", "lead@bank.example"), answers, strict=True))

    failure = await _failure(_channel(mailbox, certificate.certificate))

    assert failure.permanent is permanent


async def test_one_refused_recipient_does_not_send_the_others_a_second_mail(mailbox: Mailbox, certificate: Certificate) -> None:
    mailbox.recipients = {"lead@bank.example": "550 unknown"}

    await _channel(mailbox, certificate.certificate).post(a_notice())

    assert mailbox.envelopes[0].rcpt_tos == ["oncall@bank.example"]


async def test_a_line_cut_after_acceptance_is_no_failure(mailbox: Mailbox, certificate: Certificate) -> None:
    mailbox.answer = "accept and vanish"

    await _channel(mailbox, certificate.certificate).post(a_notice())

    assert len(mailbox.mails) == 1


@pytest.mark.parametrize(("password", "sent"), [("right", True), ("wrong", False)])
async def test_a_login_is_used_and_a_refused_one_is_permanent(certificate: Certificate, password: str, sent: bool) -> None:
    async with smtp_server(certificate, login=True) as mailbox:
        channel = _channel(mailbox, certificate.certificate, username="fraudstream", password=password)

        if sent:
            await channel.post(a_notice())
        else:
            failure = await _failure(channel)
            assert failure.permanent
            assert "wrong" not in failure.detail

        assert len(mailbox.mails) == sent


@pytest.mark.parametrize(
    "alert",
    [
        a_notice(),
        a_notice(title="Blocked: Ünïcödé at 株式会社", merchant="株式会社", why=("“zitiert”",)),
        a_notice(title="Blocked: " + "very " * 25 + "long", card="", why=(), rule_ids=()),
    ],
    ids=["plain", "unicode", "long"],
)
async def test_text_and_html_carry_the_same_facts(mailbox: Mailbox, certificate: Certificate, alert: Notice) -> None:
    await _channel(mailbox, certificate.certificate).post(alert)

    (mail,) = mailbox.mails
    assert mail["Subject"] == f"[CRITICAL] {alert.title}"
    text, html = (part.get_content() for part in mail.iter_parts())
    for fact in (alert.title, *alert.alert.why, *(value for _, value in alert.alert.facts)):
        assert fact in text
        assert fact in html
    assert parsedate_to_datetime(mail["Date"]) == alert.alert.decided_at


def test_outside_words_are_no_markup_in_a_mail() -> None:
    alert = a_notice(title="<script>x</script>", merchant="<img src=x onerror=y>", why=("<b>",), degraded="<i>")

    mail = email_message(alert, sender="a@bank.example", recipients=["b@bank.example"])

    body = mail.get_body(("html",))
    assert body is not None
    html = body.get_content()
    for mark in ("<script", "<img", "<b>", "<i>"):
        assert mark not in html


def test_no_link_of_a_mail_acts_on_being_opened() -> None:
    links = {"case_url": "https://cases.example/al_1?a=1&b=2", "runbook_url": "https://runbook.example/"}
    mail = email_message(a_notice(buttons=True, **links), sender="a@bank.example", recipients=["b@bank.example"])

    body = mail.get_body(("html",))
    assert body is not None
    assert re.findall(r'href="([^"]*)"', body.get_content()) == [escape(link) for link in links.values()]
    assert "src=" not in body.get_content()


def test_a_mail_that_tells_a_group_anew_follows_the_first_one() -> None:
    first = email_message(a_notice(), sender="a@bank.example", recipients=["b@bank.example"])

    second = email_message(a_notice(transactions=37, told=1), sender="a@bank.example", recipients=["b@bank.example"])

    assert second["In-Reply-To"] == second["References"] == first["Message-ID"]
    assert second["Message-ID"] != first["Message-ID"]
    assert second["Subject"] == f"{first['Subject']} (37 payments)"


def test_a_digest_is_a_table_of_what_and_where() -> None:
    mail = email_message(a_digest(snoozes=("many cards for one card",)), sender="a@bank.example", recipients=["b@bank.example"])

    for part in mail.iter_parts():
        text = part.get_content()
        for fact in (
            "1,807 payments in 412 alerts",
            "241,080.50 EUR",
            "Kind: card testing",
            "Merchant: ACME GmbH",
            "Snoozed now",
        ):
            assert fact in text


async def test_a_server_that_speaks_tls_from_the_first_byte_is_spoken_to_so(certificate: Certificate) -> None:
    async with smtp_server(certificate, at_once=True) as mailbox:
        await _channel(mailbox, certificate.certificate, tls=SmtpTls.TLS).post(a_notice())

        assert len(mailbox.mails) == 1


def _swift(**changes: Any) -> dict[str, Any]:
    return {"email": msgspec.structs.replace(SWIFT["email"], pace=PaceLimits(failures_to_rest=100), **changes)}


async def test_a_mail_that_is_deferred_arrives_later(valkey: LocalValkey, certificate: Certificate, mailbox: Mailbox) -> None:
    async with a_hall(valkey.url, _swift(tries=1000)) as hall:
        mailbox.answer = "451 try again later"
        hall.work(hall.desk(_channel(mailbox, certificate.certificate)))
        await hall.flag(a_flagged(1))
        await wait_until(lambda: ("email", "failed") in hall.counts.attempts, "the mail is deferred")

        mailbox.answer = "250 OK"
        await hall.idle("email")

        assert len(mailbox.mails) == 1
        assert hall.letters() == []


@pytest.mark.parametrize(
    ("answer", "silent", "reason", "error"),
    [
        ("550 no such mailbox", False, "refused", "550"),
        ("451 try again later", False, "too_many_tries", "451"),
        ("250 OK", True, "too_many_tries", "no answer"),
    ],
    ids=["refuses", "defers for ever", "is silent"],
)
async def test_what_a_mail_server_never_takes_is_kept_with_the_reason(  # noqa: PLR0917 fixtures and a row of the table
    valkey: LocalValkey, certificate: Certificate, mailbox: Mailbox, answer: str, silent: bool, reason: str, error: str
) -> None:
    async with a_hall(valkey.url, _swift(tries=2)) as hall:
        mailbox.answer, mailbox.silent = answer, silent
        patience = {"timeout_s": 0.4} if silent else {}
        hall.work(hall.desk(_channel(mailbox, certificate.certificate, **patience)))

        await hall.flag(a_flagged(1))
        await hall.idle("email")

        (letter,) = hall.letters()
        assert (letter["channel"], letter["reason"]) == ("email", reason)
        assert error in letter["error"]
        assert mailbox.mails == []


async def test_a_mail_server_without_starttls_gets_nothing_and_the_fallback_tells(valkey: LocalValkey) -> None:
    async with smtp_server() as open_server, a_hall(valkey.url, _swift()) as hall:
        webhook = RememberingChannel("webhook")
        hall.work(hall.desk(_channel(open_server, None), fallback="webhook"))
        hall.work(hall.desk(webhook))

        await hall.flag(a_flagged(1))
        await hall.idle("email", "webhook")

        assert open_server.mails == []
        assert len(webhook.posts) == 1
        assert "STARTTLS" in hall.letters()[0]["error"]
