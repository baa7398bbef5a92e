"""
A Slack of our own: answers as told, one plan entry per request, and keeps what was posted and what each message says now.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

#: Answers of ``chat.postMessage`` that are not an ``ok: false`` error word.
PLANS = ("ok", "429", "500", "502", "503", "timeout", "drop", "page", "words")


class FakeSlack:
    """
    The Web API's ``chat.postMessage``, ``chat.update`` and ``auth.test``, and the addresses that buttons are answered at.

    ``plan`` holds, per method, what the next requests get, then ``ok``: ``429`` or ``429:<Retry-After>``, a status, ``timeout``
    (accepted, never answered), ``drop`` (accepted, connection cut), ``page`` (200 with a page of HTML), ``words`` (200 in plain
    text), anything else is an error word of Slack with ``ok: false``. ``mood`` is asked where nothing is planned.

    ``messages`` are the posts in their order, replies among them; ``updates`` what was told anew; ``now`` what each message
    says at present, by its time stamp; ``accepted`` when each of them came; ``responses`` what came to a response address;
    ``log`` when each request came, and its fate.
    """

    def __init__(self, mood: Callable[[], str] = lambda: "ok") -> None:
        self.plan: defaultdict[str, deque[str]] = defaultdict(deque)
        self.mood = mood
        self.messages: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []
        self.now: dict[str, dict[str, Any]] = {}
        self.responses: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.log: list[tuple[float, str, str]] = []
        self.accepted: list[tuple[float, dict[str, Any]]] = []
        self.released = asyncio.Event()
        self._server: TestServer | None = None

    @property
    def posts(self) -> list[dict[str, Any]]:
        """
        The messages that are no replies.
        """
        return [message for message in self.messages if "thread_ts" not in message]

    @property
    def replies(self) -> list[dict[str, Any]]:
        """
        What was put into threads.
        """
        return [message for message in self.messages if "thread_ts" in message]

    @property
    def base_url(self) -> str:
        """
        What to give the client in place of https://slack.com/api/.
        """
        assert self._server is not None
        return str(self._server.make_url("/api/"))

    @property
    def response_url(self) -> str:
        """
        Where who pressed a button is answered.
        """
        assert self._server is not None
        return str(self._server.make_url("/actions/T0/1/secret"))

    def next(self, path: str, *answers: str) -> None:
        """
        Plan the answers of the next requests to a method, for example ``chat.postMessage``.
        """
        self.plan[path].extend(answers)

    async def start(self) -> None:
        """
        Listen on a free port of the loopback.
        """
        app = web.Application()
        app.router.add_post("/api/chat.postMessage", self._post_message)
        app.router.add_post("/api/auth.test", self._auth_test)
        app.router.add_post("/api/chat.update", self._update)
        app.router.add_post("/actions/{tail:.*}", self._respond)
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
        stamp = f"{len(self.messages) + 1}.000100"
        failure = await self._answer(request, "chat.postMessage", lambda: self._posted(stamp, body))
        return failure or web.json_response({"ok": True, "channel": f"C_{body['channel']}", "ts": stamp})

    def _posted(self, stamp: str, body: dict[str, Any]) -> None:
        self.messages.append(body)
        self.accepted.append((time.time(), body))
        self.now[stamp] = body

    async def _update(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        failure = await self._answer(request, "chat.update", lambda: self._updated(body))
        if failure is None and body["ts"] not in self.now:
            return web.json_response({"ok": False, "error": "message_not_found"})
        return failure or web.json_response({"ok": True, "channel": body["channel"], "ts": body["ts"]})

    def _updated(self, body: dict[str, Any]) -> None:
        if body["ts"] in self.now:
            self.updates.append(body)
            self.accepted.append((time.time(), body))
            self.now[body["ts"]] = body

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        self.responses.append(await request.json())
        return web.Response(text="ok")

    async def _auth_test(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(("auth.test", dict(request.headers)))
        planned = self.plan["auth.test"].popleft() if self.plan["auth.test"] else "ok"
        if planned.isdigit():
            return web.Response(status=int(planned), text="<html>")
        known = {"ok": True, "user": "fraud-bot", "team": "Example"}
        return web.json_response(known if planned == "ok" else {"ok": False, "error": planned})

    async def _answer(  # noqa: PLR0911 one answer per word of the plan
        self, request: web.Request, path: str, accept: Callable[[], None]
    ) -> web.StreamResponse | None:
        self.requests.append((path, dict(request.headers)))
        planned = self.plan[path].popleft() if self.plan[path] else self.mood()
        self.log.append((time.time(), path, planned))
        word, _, detail = planned.partition(":")
        if word in ("ok", "timeout", "drop"):
            accept()
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
        return web.json_response({"ok": False, "error": word})


@asynccontextmanager
async def fake_slack(mood: Callable[[], str] = lambda: "ok") -> AsyncIterator[FakeSlack]:
    """
    Run a Slack for the length of a test; see ``FakeSlack`` for its moods.
    """
    slack = FakeSlack(mood)
    await slack.start()
    try:
        yield slack
    finally:
        await slack.stop()
