"""
Alerts to Slack with a bot token: one message per group, told anew in place (``chat.update``), replies in its thread.
"""

import logging
from collections.abc import Mapping
from typing import Any, Self

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from fraudstream.adapters.http_answers import is_transient, retry_after_s
from fraudstream.adapters.slack_message import fit, slack_message
from fraudstream.domain.alert import Message, Severity
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
#: What Slack says of a message that can no longer be told anew: somebody deleted it, or it is too old.
_LOST = frozenset(("message_not_found", "cant_update_message", "edit_window_closed", "channel_not_found", "is_archived"))
_NAME = "slack"
_ANSWER = 200
_REPLY = 2800


class SlackAlertChannel:
    """
    Tell with a bot. It never tries twice: the SDK's own retries may post twice, and sleep inside.

    The place of a message is the name of its channel as we know it, its id and the message's own time stamp, with bars between.

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
        The name of the channel in metrics and in the book.
        """
        return _NAME

    @property
    def threads(self) -> Self:
        """
        Replies are put into the message's thread.
        """
        return self

    def recipient(self, message: Message) -> str:
        """
        Return the Slack channel.
        """
        return self._channels[message.severity]

    async def post(self, message: Message) -> str:
        """
        Post one message; see ``AlertChannel``.
        """
        name = self.recipient(message)
        answer = await self._call("chat.postMessage", {"channel": name, **slack_message(message)})
        return "|".join((name, str(answer.get("channel", name)), str(answer.get("ts", ""))))

    async def update(self, message: Message, place: str) -> str:
        """
        Tell a message anew in its place; see ``AlertChannel``.

        Where it has become critical and those go elsewhere, or where it was deleted, it is posted there instead.
        """
        name, channel_id, stamp = place.rsplit("|", 2)
        if name != self.recipient(message) or not stamp:
            return await self.post(message)
        parts = {key: value for key, value in slack_message(message).items() if not key.startswith("unfurl")}
        try:
            await self._call("chat.update", {"channel": channel_id, "ts": stamp, **parts})
        except AlertFailed as exc:
            if exc.detail.rpartition(" ")[2] in _LOST:
                return await self.post(message)
            raise
        return place

    async def reply(self, words: str, message: Message, place: str) -> None:
        """
        Put words into the thread of a message; see ``AlertChannel``.
        """
        _, channel_id, stamp = place.rsplit("|", 2)
        await self._call(
            "chat.postMessage",
            {
                "channel": channel_id,
                "thread_ts": stamp,
                "text": fit(words, _REPLY),
                "unfurl_links": False,
                "unfurl_media": False,
                "metadata": {"event_type": "fraudstream_reply", "event_payload": {"alert_id": message.alert_id}},
            },
        )

    async def _call(self, method: str, words: dict[str, Any]) -> Mapping[str, Any]:
        try:
            answer = await self._open().api_call(method, json=words)
        except SlackApiError as exc:
            raise _refused(exc) from exc
        except (aiohttp.ClientError, TimeoutError, OSError, SlackClientError) as exc:
            raise AlertFailed(_NAME, f"no answer: {exc!r}", permanent=False) from exc
        except AttributeError as exc:
            # The SDK takes it for granted that a 200 brings a JSON object; a proxy's page does not.
            raise AlertFailed(_NAME, "the answer is not one of Slack", permanent=False) from exc
        return answer.data if isinstance(answer.data, dict) else {}

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
