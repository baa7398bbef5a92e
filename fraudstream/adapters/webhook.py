"""
Alerts to a server of one's own: signed JSON over HTTP, and the check that a receiver makes.
"""

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

import aiohttp
import msgspec

from fraudstream.adapters.http_answers import is_transient, retry_after_s
from fraudstream.domain.alert import ALERT_SCHEMA, DIGEST_SCHEMA, Message, Notice
from fraudstream.domain.errors import AlertFailed

SIGNATURE_HEADER = "X-Fraudstream-Signature"
TIMESTAMP_HEADER = "X-Fraudstream-Timestamp"
ALERT_ID_HEADER = "X-Fraudstream-Alert-Id"
#: How old a request may be before a receiver should take it for a replay, in seconds.
TOLERANCE_S = 300
_NAME = "webhook"
#: Of a notice: what stands beside the group, or is the business of other channels.
_NOT_TOLD = ("alert", "buttons", "told_severity")
_VERSION = "v1"
_encoder = msgspec.json.Encoder()


class WebhookAlertChannel:
    """
    Post each message as JSON, with an HMAC-SHA256 of time and body under a shared secret.

    Args:
        url: Where to post; redirects are refused, the signature is for this receiver.
        secret: Shared with the receiver.
        now_s: The time for the signature, in seconds since 1970.
        timeout_s: For the whole request; after it the alert may have been accepted or not.
    """

    def __init__(self, url: str, secret: str, *, now_s: Callable[[], float], timeout_s: float = 5.0) -> None:
        self._url = url
        self._secret = secret
        self._now_s = now_s
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        """
        The name of the channel in metrics and in the book.
        """
        return _NAME

    @property
    def threads(self) -> None:
        """
        What is told anew holds everything; there are no replies.
        """
        return None

    def recipient(self, message: Message) -> str:
        """
        Return the receiver's host: the rest of the address may be a secret.
        """
        return f"{urlsplit(self._url).hostname or ''} ({message.severity.value})"

    async def post(self, message: Message) -> str:
        """
        Post one message; see ``AlertChannel``. Every status of 200 to 299 accepts it.
        """
        await self._send(message)
        return message.alert_id

    async def update(self, message: Message, place: str) -> str:
        """
        Post the message again with its new numbers; see ``AlertChannel``. The receiver knows it by its id.
        """
        await self._send(message)
        return place

    async def _send(self, message: Message) -> None:
        body = message_body(message)
        timestamp = int(self._now_s())
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: sign(self._secret, timestamp, body),
            ALERT_ID_HEADER: message.alert_id,
        }
        try:
            async with self._open().post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                status, answer_headers = answer.status, answer.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            # Without the error's own text: it may hold the URL, and the URL a secret.
            raise AlertFailed(_NAME, f"no answer: {type(exc).__name__}", permanent=False) from exc
        if not 200 <= status < 300:
            transient = is_transient(status)
            asked_s = retry_after_s(answer_headers) if transient else None
            raise AlertFailed(_NAME, f"answered {status}", permanent=not transient, retry_after_s=asked_s)

    async def close(self) -> None:
        """
        Close the connections; see ``AlertChannel``.
        """
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
        return self._session


def message_body(message: Message) -> bytes:
    """
    Return a message as JSON, one name end to end.

    A group is ``{"schema": "fraudstream.alert/1", "alert": {…}, "group": {…}}``: its loudest alert, and what came with it. Many
    groups are ``{"schema": "fraudstream.alert_digest/1", "digest": {…}}``.
    """
    if not isinstance(message, Notice):
        return _encoder.encode({"schema": DIGEST_SCHEMA, "digest": message})
    group = msgspec.to_builtins(message, builtin_types=(datetime,))
    group = {name: value for name, value in group.items() if name not in _NOT_TOLD}
    return _encoder.encode({"schema": ALERT_SCHEMA, "alert": message.alert, "group": group})


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """
    Return ``v1=`` and the HMAC-SHA256, in hexadecimal, of ``v1:<timestamp>:<body>``.

    References:
        RFC 2104; the form is that of Slack's request signatures, which verifiers exist for in many languages.
    """
    basis = f"{_VERSION}:{timestamp}:".encode() + body
    return f"{_VERSION}={hmac.new(secret.encode(), basis, hashlib.sha256).hexdigest()}"


def is_signed(secret: str, *, timestamp: str, signature: str, body: bytes, now_s: float) -> bool:
    """
    Check a request as a receiver must: on the raw body, in constant time, and not older (or newer) than five minutes.
    """
    if not timestamp.isdecimal() or not timestamp.isascii() or abs(now_s - int(timestamp)) > TOLERANCE_S:
        return False
    return hmac.compare_digest(sign(secret, int(timestamp), body).encode(), signature.encode())
