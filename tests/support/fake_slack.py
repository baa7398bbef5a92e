"""
A Slack of our own: answers as told, one plan entry per request, and keeps what was posted.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

#: Answers of ``chat.postMessage`` that are not an ``ok: false`` error word.
PLANS = ("ok", "429", "500", "502", "503", "timeout", "drop", "page", "words")


class FakeSlack:
    """
    The Web API's ``chat.postMessage`` and incoming webhooks.

    ``plan`` holds, per path, what the next requests get, then ``ok``: ``429`` or ``429:<Retry-After>``, a status, ``timeout``
    (accepted, never answered), ``drop`` (accepted, connection cut), ``page`` (200 with a page of HTML), ``words`` (200 in plain
    text), anything else is an error word of Slack with ``ok: false``.
    """

    def __init__(self) -> None:
        self.plan: defaultdict[str, deque[str]] = defaultdict(deque)
        self.messages: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = asyncio.Event()
        self._server: TestServer | None = None

    @property
    def base_url(self) -> str:
        """
        What to give the client in place of https://slack.com/api/.
        """
        assert self._server is not None
        return str(self._server.make_url("/api/"))

    @property
    def webhook_url(self) -> str:
        """
        An incoming webhook.
        """
        assert self._server is not None
        return str(self._server.make_url("/services/T0/B0/secret"))

    def next(self, path: str, *answers: str) -> None:
        """
        Plan the answers of the next requests to a path (``chat.postMessage`` or ``webhook``).
        """
        self.plan[path].extend(answers)

    async def start(self) -> None:
        """
        Listen on a free port of the loopback.
        """
        app = web.Application()
        app.router.add_post("/api/chat.postMessage", self._post_message)
        app.router.add_post("/api/auth.test", self._auth_test)
        app.router.add_post("/services/{tail:.*}", self._webhook)
        self._server = TestServer(app)
        await self._server.start_server()

    async def stop(self) -> None:
        """
        Let go of whoever still waits, and close.
        """
        self.released.set()
        assert self._server is not None
        await self._server.close()

    async def _post_message(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        failure = await self._answer(request, "chat.postMessage", body)
        if failure is not None:
            return failure
        return web.json_response({"ok": True, "channel": body["channel"], "ts": f"{len(self.messages)}.000100"})

    async def _auth_test(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(("auth.test", dict(request.headers)))
        planned = self.plan["auth.test"].popleft() if self.plan["auth.test"] else "ok"
        if planned.isdigit():
            return web.Response(status=int(planned), text="<html>")
        known = {"ok": True, "user": "fraud-bot", "team": "Example"}
        return web.json_response(known if planned == "ok" else {"ok": False, "error": planned})

    async def _webhook(self, request: web.Request) -> web.StreamResponse:
        failure = await self._answer(request, "webhook", await request.json())
        return failure or web.Response(text="ok")

    async def _answer(  # noqa: PLR0911 one answer per word of the plan
        self, request: web.Request, path: str, body: dict[str, Any]
    ) -> web.StreamResponse | None:
        self.requests.append((path, dict(request.headers)))
        planned = self.plan[path].popleft() if self.plan[path] else "ok"
        word, _, detail = planned.partition(":")
        if word in ("ok", "timeout", "drop"):
            self.messages.append(body)
        if word == "ok":
            return None
        if word == "timeout":
            await self.released.wait()
            return web.Response(status=503)
        if word == "drop":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if word == "429":
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": detail or "1"})
        if word == "page":
            return web.Response(text="<html>sign in</html>", content_type="text/html")
        if word == "words":
            return web.Response(text="sign in")
        if word.isdigit():
            return web.Response(status=int(word), text="bad gateway")
        if path == "webhook":
            return web.Response(status=400, text=word)
        return web.json_response({"ok": False, "error": word})


@asynccontextmanager
async def fake_slack() -> AsyncIterator[FakeSlack]:
    """
    Run a Slack for the length of a test.
    """
    slack = FakeSlack()
    await slack.start()
    try:
        yield slack
    finally:
        await slack.stop()
