"""
A real SMTP server (aiosmtpd) that takes mails, defers, refuses or keeps silent, with a certificate of its own.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, NamedTuple

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificate(NamedTuple):
    """
    A self-signed certificate for the loopback, as files.
    """

    certificate: Path
    key: Path


def self_signed(folder: Path) -> Certificate:
    """
    Write a certificate for 127.0.0.1 that nobody but ourselves trusts.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = Certificate(folder / "smtp.crt", folder / "smtp.key")
    paths.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


class Mailbox:
    """
    What the server does with a mail, and the mails that it took.

    ``answer`` is the reply to DATA (``250 OK`` takes the mail, ``accept and vanish`` takes it and cuts the line at QUIT),
    ``recipients`` the reply to single recipients, by address. With ``silent`` nothing is ever answered to DATA.
    """

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.over_tls: list[bool] = []
        self.answer = "250 OK"
        self.recipients: dict[str, str] = {}
        self.silent = False
        self.released = asyncio.Event()
        self.port = 0

    async def handle_RCPT(  # noqa: N802 aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.recipients.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's name
        if self.silent:
            await self.released.wait()
        if self.answer.startswith("250") or self.answer == "accept and vanish":
            assert isinstance(envelope.content, bytes)
            self.mails.append(message_from_bytes(envelope.content, _class=EmailMessage, policy=default))
            self.envelopes.append(envelope)
            self.over_tls.append(session.ssl is not None)
        return "250 OK" if self.answer == "accept and vanish" else self.answer

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's name
        if self.answer == "accept and vanish" and server.transport is not None:
            server.transport.abort()
        return "221 Bye"


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"fraudstream", b"right")
    # ``handled`` stays False: otherwise a refused client waits for ever.
    return AuthResult(success=good, handled=False)


@asynccontextmanager
async def smtp_server(
    certificate: Certificate | None = None, *, login: bool = False, at_once: bool = False
) -> AsyncIterator[Mailbox]:
    """
    Run a server on a free port of the loopback; with a certificate it demands STARTTLS before a mail, or TLS ``at_once``.
    """
    mailbox = Mailbox()
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.certificate, certificate.key)

    def session() -> SMTP:
        return SMTP(
            mailbox,
            hostname="mail.test",
            tls_context=None if at_once else context,
            require_starttls=context is not None and not at_once,
            authenticator=_authenticate,
            auth_required=login,
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=context if at_once else None)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        mailbox.released.set()
        server.close()
        await server.wait_closed()
