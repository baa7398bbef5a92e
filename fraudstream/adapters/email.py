"""
Alerts by mail: one SMTP conversation per alert, over TLS unless told otherwise.
"""

import asyncio
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from enum import StrEnum

import structlog
from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPNotSupported, SMTPRecipientsRefused, SMTPResponseException

from fraudstream.adapters.email_message import domain_of, email_message
from fraudstream.domain.alert import Message
from fraudstream.domain.errors import AlertFailed
from fraudstream.telemetry.redact import scrub

_NAME = "email"
#: How long the goodbye may take, in seconds; the mail is accepted by then.
_QUIT_S = 2.0
#: First code of SMTP's permanent failures (RFC 5321 section 4.2.1).
_PERMANENT = 500

log = structlog.get_logger()


class SmtpTls(StrEnum):
    """
    How the conversation is kept secret.
    """

    STARTTLS = "starttls"  #: upgraded before anything is said; refused where the server cannot
    TLS = "tls"  #: from the first byte (port 465)
    NONE = "none"  #: in the clear: for a relay on this very machine


class EmailAlertChannel:
    """
    Send each message as one mail to all recipients; what is told anew is a mail that follows the first.

    Args:
        host: Of the submission server.
        port: Of the submission server (587 for STARTTLS, 465 for TLS).
        sender: Address in ``From``; its domain is what we greet with and what ends the Message-ID.
        recipients: At least one address.
        tls: See ``SmtpTls``.
        username: None to send without login.
        password: Of ``username``.
        ca_file: Certificates to trust instead of the system's.
        timeout_s: For the whole conversation; after it the mail may have been accepted or not.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        sender: str,
        recipients: Sequence[str],
        tls: SmtpTls = SmtpTls.STARTTLS,
        username: str | None = None,
        password: str | None = None,
        ca_file: str | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._host = host
        self._port = port
        self._sender = sender
        self._recipients = tuple(recipients)
        self._tls = tls
        self._login = (username, password)
        self._timeout_s = timeout_s
        self._context = None if tls is SmtpTls.NONE else ssl.create_default_context(cafile=ca_file)

    @property
    def name(self) -> str:
        """
        The name of the channel in metrics and in the book.
        """
        return _NAME

    @property
    def threads(self) -> None:
        """
        A mail cannot be replied to by us.
        """
        return None

    def recipient(self, message: Message) -> str:
        """
        Return the addresses, masked: the records need not hold who works here.
        """
        return scrub(f"{', '.join(self._recipients)} ({message.severity.value})")

    async def post(self, message: Message) -> str:
        """
        Send one mail; see ``AlertChannel``.

        A mail that some recipients get and others are refused counts as sent: sending it again would double it for the first.
        """
        await self._send(message)
        return message.alert_id

    async def update(self, message: Message, place: str) -> str:
        """
        Send a mail that follows the first; see ``AlertChannel``.
        """
        await self._send(message)
        return place

    async def _send(self, told: Message) -> None:
        codes = await self.send(email_message(told, sender=self._sender, recipients=self._recipients))
        if codes:
            log.warning("email_recipients_refused", alert_id=told.alert_id, refused=len(codes), codes=sorted(set(codes)))

    async def send(self, mail: EmailMessage) -> list[int]:
        """
        Send any mail in one conversation; return the codes by which receivers were refused while others got it.

        Raises:
            AlertFailed: The server did not take it.
        """
        client = self._client()
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.connect()
                refused, _ = await client.send_message(mail)
        except (SMTPException, OSError, ValueError) as exc:
            client.close()
            raise _failed(exc) from exc
        except asyncio.CancelledError:
            client.close()
            raise
        await _part(client)
        return [answer.code for answer in refused.values()]

    async def close(self) -> None:
        """
        Nothing stays open between two mails.
        """

    def _client(self) -> SMTP:
        username, password = self._login
        return SMTP(
            hostname=self._host,
            port=self._port,
            username=username,
            password=password,
            # The default would ask the resolver, on the event loop.
            local_hostname=domain_of(self._sender),
            timeout=self._timeout_s,
            use_tls=self._tls is SmtpTls.TLS,
            start_tls=self._tls is SmtpTls.STARTTLS,
            tls_context=self._context,
        )


async def _part(client: SMTP) -> None:
    """
    Say goodbye. The mail is accepted: a server that fails now must not get it a second time.
    """
    try:
        await client.quit(timeout=_QUIT_S)
    except (SMTPException, OSError) as exc:
        log.debug("email_quit_failed", error=repr(exc))
    finally:
        client.close()


def _failed(error: Exception) -> AlertFailed:
    """
    Map an error to the fate of the alert. The addresses that servers like to repeat are masked.
    """
    match error:
        case SMTPRecipientsRefused():
            codes = sorted(refused.code for refused in error.recipients)
            return AlertFailed(_NAME, f"all recipients refused: {codes}", permanent=codes[0] >= _PERMANENT)
        case SMTPResponseException():
            detail = f"{type(error).__name__} {error.code} {scrub(error.message)}"
            return AlertFailed(_NAME, detail, permanent=error.code >= _PERMANENT)
        case ssl.SSLError():
            # Not permanent, although it is a ValueError too: a certificate may be renewed, or the listener be a wrong one.
            return AlertFailed(_NAME, f"TLS failed: {error}", permanent=False)
        case SMTPNotSupported() | ValueError():
            # No way to log in, an address that is none: a person must change something.
            return AlertFailed(_NAME, f"{type(error).__name__}: {error}", permanent=True)
        case SMTPException() if type(error) is SMTPException:
            # The library's plain one: no STARTTLS where it is demanded.
            return AlertFailed(_NAME, str(error), permanent=True)
        case _:
            return AlertFailed(_NAME, f"no answer: {error!r}", permanent=False)
