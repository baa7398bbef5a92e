"""
Alerts to Slack: ``chat.postMessage`` with a bot token, or an incoming webhook where that is all there is.
"""

import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from fraudstream.adapters.http_answers import is_transient, retry_after_s
from fraudstream.adapters.slack_message import slack_message
from fraudstream.domain.alert import Alert, Severity
from fraudstream.domain.errors import AlertFailed

SLACK_API = "https://slack.com/api/"
#: Errors of the Web API that pass by themselves; every other one needs a person (docs.slack.dev, chat.postMessage).
_PASSING = frozenset(
    (
        "internal_error",
        "fatal_error",
        "ratelimited",
        "rate_limited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    )
)
_NAME = "slack"
_ANSWER = 200


class SlackAlertChannel:
    """
    Post each alert as one message of a bot. It never tries twice: the SDK's own retries may post twice, and sleep inside.

    Args:
        token: Bot token (``xoxb-…``) with the scope ``chat:write``.
        channel: Channel id or name; the bot must be a member.
        critical_channel: Where critical alerts go, if elsewhere.
        base_url: The Web API, or what stands in for it.
        timeout_s: For one whole call; after it the message may have been posted or not.
    """

    def __init__(
        self,
        token: str,
        channel: str,
        *,
        critical_channel: str | None = None,
        base_url: str = SLACK_API,
        timeout_s: float = 5.0,
    ) -> None:
        self._token = token
        self._channels = dict.fromkeys(Severity, channel) | {Severity.CRITICAL: critical_channel or channel}
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._client: AsyncWebClient | None = None

    @property
    def name(self) -> str:
        """
        The name of the channel in metrics and in the outbox.
        """
        return _NAME

    async def send(self, alert: Alert) -> None:
        """
        Post one message; see ``AlertChannel``.
        """
        try:
            await self._open().chat_postMessage(channel=self._channels[alert.severity], **slack_message(alert))
        except SlackApiError as exc:
            raise _refused(exc) from exc
        except (aiohttp.ClientError, TimeoutError, OSError, SlackClientError) as exc:
            raise AlertFailed(_NAME, f"no answer: {exc!r}", permanent=False) from exc
        except AttributeError as exc:
            # The SDK takes it for granted that a 200 brings a JSON object; a proxy's page does not.
            raise AlertFailed(_NAME, "the answer is not one of Slack", permanent=False) from exc

    async def close(self) -> None:
        """
        Close the connections; see ``AlertChannel``.
        """
        if self._session is not None:
            await self._session.close()
            self._session = self._client = None

    def _open(self) -> AsyncWebClient:
        """
        Return the client; it is made here because its session belongs to the running loop.
        """
        if self._client is None:
            self._session = _session(self._timeout_s)
            self._client = AsyncWebClient(
                self._token,
                base_url=self._base_url,
                session=self._session,
                retry_handlers=[],
                logger=_quiet_logger(),
            )
            # The SDK's own look at the environment knows no NO_PROXY; the session's does.
            self._client.proxy = None
        return self._client


class SlackWebhookChannel:
    """
    Post each alert to an incoming webhook: one secret URL for one channel, no message id comes back.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        """
        The name of the channel in metrics and in the outbox.
        """
        return _NAME

    async def send(self, alert: Alert) -> None:
        """
        Post one message; see ``AlertChannel``.
        """
        if self._session is None:
            self._session = _session(self._timeout_s)
        message = slack_message(alert)
        body = {name: message[name] for name in ("text", "attachments", "unfurl_links", "unfurl_media")}
        try:
            async with self._session.post(self._url, json=body, allow_redirects=False) as answer:
                if answer.status != _ANSWER:
                    raise _failed(answer.status, (await answer.text(errors="replace"))[:200], answer.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            # Without the error's own text: it holds the URL, which is the secret.
            raise AlertFailed(_NAME, f"no answer: {type(exc).__name__}", permanent=False) from None

    async def close(self) -> None:
        """
        Close the connections; see ``AlertChannel``.
        """
        if self._session is not None:
            await self._session.close()
            self._session = None


def _session(timeout_s: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s), trust_env=True)


def _quiet_logger() -> logging.Logger:
    """
    The SDK formats every request for its log unless its logger says that it will not be read.
    """
    logger = logging.getLogger("slack_sdk.alerts")
    logger.setLevel(logging.INFO)
    return logger


def _refused(error: SlackApiError) -> AlertFailed:
    answer: Any = error.response
    # A body that is no JSON comes as the HTTP library's own answer.
    status = answer.status if isinstance(answer, aiohttp.ClientResponse) else answer.status_code
    data = getattr(answer, "data", None)
    reason = str(data.get("error", "")) if isinstance(data, Mapping) else ""
    return _failed(status, reason, answer.headers)


def _failed(status: int, reason: str, headers: Mapping[str, str]) -> AlertFailed:
    """
    Map an answer to the fate of the alert: by status, and where that says OK, by Slack's word.
    """
    transient = is_transient(status) or reason in _PASSING or (status == _ANSWER and not reason)
    asked_s = retry_after_s(headers) if transient else None
    return AlertFailed(_NAME, f"{status} {reason}".rstrip(), permanent=not transient, retry_after_s=asked_s)
