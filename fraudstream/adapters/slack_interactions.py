"""
Slack's side of the buttons: signed requests in, what a press means out. Nothing unsigned, old or seen before gets through.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
import structlog
from aiohttp import web

from fraudstream.adapters.slack_message import FRAUD, LEGITIMATE, SNOOZE, UNDO, fit
from fraudstream.domain.errors import TransientError

#: How far a request's own time may be from ours, in seconds; beyond it is taken for a replay (docs.slack.dev).
TOLERANCE_S = 300
#: Where presses are received; Slack's *Interactivity* page wants the whole address.
PATH = "/slack/interactions"
_VERSION = "v0"
#: Largest request, in bytes: an interaction brings the whole message along.
_LARGEST = 1024 * 1024
#: Who may be answered: Slack's own response addresses.
_ANSWERED = "hooks.slack.com"
_ANSWER_TIMEOUT_S = 3.0

log = structlog.get_logger()


class Pressed(StrEnum):
    """
    Which button it was.
    """

    FRAUD = FRAUD
    LEGITIMATE = LEGITIMATE
    SNOOZE = SNOOZE
    UNDO = UNDO


class Press(msgspec.Struct, frozen=True, kw_only=True):
    """
    One press of a button: on which alert, by whom. ``token`` is the request's own, to know it again.
    """

    button: Pressed
    alert_id: str
    user_id: str
    user_name: str
    token: str


#: Acts on a press and returns what only the one who pressed is told, empty for nothing; None for a request that came before.
Act = Callable[[Press], Awaitable[str | None]]


class SlackInteractions:
    """
    The web application.

    Args:
        secret: Signing secret of the Slack app.
        act: What to do.
        now_s: Our time, in seconds since 1970.
        also_answered: Host that may be answered beside Slack's own, with its port: what stands in for Slack.
        count: Told of every request: action and outcome.
    """

    def __init__(
        self,
        secret: str,
        act: Act,
        *,
        now_s: Callable[[], float],
        also_answered: str = "",
        count: Callable[[str, str], None] = lambda _action, _outcome: None,
    ) -> None:
        self._secret = secret
        self._act = act
        self._now_s = now_s
        self._answered = {_ANSWERED, also_answered} - {""}
        self._count = count
        self._answers: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """
        Return what is to be served.
        """
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_post(PATH, self._receive)
        app.router.add_get("/healthz", self._healthy)
        app.on_cleanup.append(self._finish)
        return app

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = request.headers
        stamp, signature = headers.get("X-Slack-Request-Timestamp", ""), headers.get("X-Slack-Signature", "")
        if not is_signed(self._secret, timestamp=stamp, signature=signature, body=body, now_s=self._now_s()):
            return self._refused("unsigned", "signature or time is wrong")
        try:
            payload = json.loads(parse_qs(body.decode(), strict_parsing=True)["payload"][0])
            press = _press(payload, signature)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
            self._count("none", "malformed")
            log.warning("slack_interaction_malformed", error=type(exc).__name__)
            return web.Response(status=400, text="not an interaction of ours")
        if press is None:
            # A button that is a link, for instance: Slack wants to hear that it arrived.
            self._count("none", "passed")
            return web.Response()
        return await self._acted(press, payload)

    def _refused(self, outcome: str, words: str) -> web.Response:
        self._count("none", outcome)
        log.warning("slack_interaction_refused", outcome=outcome)
        return web.Response(status=401, text=words)

    async def _acted(self, press: Press, payload: Mapping[str, Any]) -> web.Response:
        try:
            words = await self._act(press)
        except TransientError as exc:
            self._count(press.button.value, "unavailable")
            log.warning("slack_interaction_failed", error=repr(exc))
            return web.Response(status=503, text="not now; try again")
        if words is None:
            return self._refused("replayed", "this request came before")
        self._count(press.button.value, "acted")
        if words:
            self._answer(str(payload.get("response_url", "")), words)
        return web.Response()

    def _answer(self, url: str, words: str) -> None:
        """
        Tell who pressed, after Slack has heard that the press arrived. Only Slack is answered, whatever the request says.
        """
        parts = urlsplit(url)
        if parts.netloc not in self._answered or (parts.netloc == _ANSWERED and parts.scheme != "https"):
            return
        task = asyncio.create_task(_whisper(url, words))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _finish(self, _: web.Application) -> None:
        if self._answers:
            await asyncio.wait(self._answers)


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """
    Return the signature that Slack puts on a request.

    References:
        docs.slack.dev, verifying requests from Slack: ``v0=`` and HMAC-SHA256 of ``v0:<timestamp>:<raw body>``.
    """
    basis = f"{_VERSION}:{timestamp}:".encode() + body
    return f"{_VERSION}={hmac.new(secret.encode(), basis, hashlib.sha256).hexdigest()}"


def is_signed(secret: str, *, timestamp: str, signature: str, body: bytes, now_s: float) -> bool:
    """
    Check a request on its raw body, in constant time; one whose time is not a number, or too far from ours, is refused.
    """
    if not timestamp.isdecimal() or not timestamp.isascii() or len(timestamp) > 15:
        return False
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        return False
    return hmac.compare_digest(sign(secret, int(timestamp), body).encode(), signature.encode())


async def serve_interactions(interactions: SlackInteractions, host: str, port: int) -> tuple[web.AppRunner, int]:
    """
    Listen; return what stops it (``cleanup``) and the port.

    Raises:
        OSError: The port is taken.
    """
    runner = web.AppRunner(interactions.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, int(runner.addresses[0][1])


def _press(payload: Mapping[str, Any], signature: str) -> Press | None:
    """
    Read a press of one of our buttons; None for any other interaction.
    """
    action = payload["actions"][0]
    if action["action_id"] not in set(Pressed):
        return None
    value = json.loads(action["value"])
    if value["v"] != 1 or not isinstance(value["alert"], str):
        raise ValueError("a value that we did not write")
    user = payload["user"]
    return Press(
        button=Pressed(action["action_id"]),
        alert_id=value["alert"][:64],
        user_id=str(user["id"])[:64],
        user_name=str(user.get("username") or user.get("name") or user["id"])[:64],
        token=hashlib.sha256(signature.encode()).hexdigest(),
    )


async def _whisper(url: str, words: str) -> None:
    body = {"response_type": "ephemeral", "replace_original": False, "delete_original": False, "text": fit(words, 2800)}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session, session.post(url, json=body) as answer:
            if answer.status != 200:
                log.warning("slack_answer_refused", status=answer.status)
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        log.warning("slack_answer_failed", error=type(exc).__name__)
