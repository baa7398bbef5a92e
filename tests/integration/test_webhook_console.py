import asyncio
import io
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fraudstream.adapters.console import ConsoleAlertChannel
from fraudstream.adapters.webhook import (
    ALERT_ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TOLERANCE_S,
    WebhookAlertChannel,
    is_signed,
    message_body,
    sign,
)
from fraudstream.domain.errors import AlertFailed
from tests.support.alerts import a_digest, a_notice

SECRET = "shared-secret"
NOW_S = 1_768_478_400.0
Answer = Callable[[web.Request], web.StreamResponse]


class Receiver:
    def __init__(self) -> None:
        self.answer: Answer = lambda _: web.Response(status=204)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        return self.answer(request)


@asynccontextmanager
async def _receiving() -> AsyncIterator[tuple[Receiver, WebhookAlertChannel]]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.take)
    server = TestServer(app)
    await server.start_server()
    channel = WebhookAlertChannel(str(server.make_url("/alerts?key=hidden")), SECRET, now_s=lambda: NOW_S, timeout_s=60.0)
    try:
        yield receiver, channel
    finally:
        await channel.close()
        await server.close()


async def test_a_receiver_can_check_what_it_got() -> None:
    async with _receiving() as (receiver, channel):
        await channel.post(a_notice())

    (body,), (headers,) = receiver.bodies, receiver.headers
    assert is_signed(
        SECRET, timestamp=headers[TIMESTAMP_HEADER], signature=headers[SIGNATURE_HEADER], body=body, now_s=NOW_S + 1
    )
    assert headers[ALERT_ID_HEADER] == "al_0123456789abcdef"
    document = json.loads(body)
    assert document["schema"] == "fraudstream.alert/1"
    assert document["alert"]["card"] == "•••• 4242"
    assert document["alert"]["outcome"] == "block"
    assert (document["group"]["transactions"], document["group"]["told"]) == (1, 0)


async def test_a_receiver_is_told_anew_under_the_same_id_and_gets_a_digest_as_one() -> None:
    async with _receiving() as (receiver, channel):
        place = await channel.post(a_notice())
        await channel.update(a_notice(transactions=2, told=1, transaction_ids=("txn_43",)), place)
        await channel.post(a_digest())

    assert [headers[ALERT_ID_HEADER] for headers in receiver.headers] == [*["al_0123456789abcdef"] * 2, "dg_0123456789abcdef"]
    _, second, third = map(json.loads, receiver.bodies)
    assert second["group"]["transaction_ids"] == ["txn_43"]
    assert third["schema"] == "fraudstream.alert_digest/1"
    assert third["digest"]["transactions"] == 1_807


@pytest.mark.parametrize(
    ("timestamp", "signature", "body", "age_s"),
    [
        ("1768478400", sign(SECRET, 1768478400, b"{}"), b"{ }", 0),
        ("1768478401", sign(SECRET, 1768478400, b"{}"), b"{}", 0),
        ("1768478400", sign("other", 1768478400, b"{}"), b"{}", 0),
        ("1768478400", sign(SECRET, 1768478400, b"{}"), b"{}", TOLERANCE_S + 1),
        ("1768478400", sign(SECRET, 1768478400, b"{}"), b"{}", -TOLERANCE_S - 1),
        ("yesterday", sign(SECRET, 1768478400, b"{}"), b"{}", 0),
        ("1768478400", "", b"{}", 0),
        ("1768478400", "v1=é", b"{}", 0),
    ],
    ids=["body", "time", "secret", "old", "ahead", "no number", "missing", "not ascii"],
)
def test_a_request_that_was_not_signed_so_is_refused(timestamp: str, signature: str, body: bytes, age_s: float) -> None:
    assert not is_signed(SECRET, timestamp=timestamp, signature=signature, body=body, now_s=NOW_S + age_s)


def test_a_good_signature_is_taken() -> None:
    body = message_body(a_notice())

    assert is_signed(SECRET, timestamp="1768478400", signature=sign(SECRET, 1768478400, body), body=body, now_s=NOW_S)


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(429, False), (408, False), (500, False), (503, False), (400, True), (401, True), (404, True), (302, True)],
)
async def test_the_status_decides_whether_to_try_again(status: int, permanent: bool) -> None:
    async with _receiving() as (receiver, channel):
        receiver.answer = lambda _: web.Response(status=status, headers={"Retry-After": "2.5", "Location": "/elsewhere"})

        with pytest.raises(AlertFailed) as caught:
            await channel.post(a_notice())

    assert caught.value.permanent is permanent
    assert caught.value.retry_after_s == (None if permanent else 2.5)
    assert len(receiver.bodies) == 1


async def test_retry_after_may_be_a_date_by_the_clock_of_the_server() -> None:
    async with _receiving() as (receiver, channel):
        dates = {"Date": "Wed, 21 Oct 2026 07:28:00 GMT", "Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT"}
        receiver.answer = lambda _: web.Response(status=503, headers=dates)

        with pytest.raises(AlertFailed) as caught:
            await channel.post(a_notice())

    assert caught.value.retry_after_s == 30.0


async def test_a_receiver_that_hangs_up_is_transient_and_its_url_is_told_to_nobody() -> None:
    async with _receiving() as (receiver, channel):

        def hang_up(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        receiver.answer = hang_up

        with pytest.raises(AlertFailed) as caught:
            await channel.post(a_notice())

    assert not caught.value.permanent
    assert "hidden" not in caught.value.detail


async def test_a_pipe_gets_one_readable_line_per_alert() -> None:
    stream = io.StringIO()
    channel = ConsoleAlertChannel(stream)

    await asyncio.gather(*(channel.post(a_notice(transaction_id=f"txn_{n}")) for n in range(3)))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        "CRITICAL Blocked: card testing at ACME GmbH · 2,480.00 EUR · card •••• 4242 · score 0.97 · txn_0"
    )
    assert "why: 23 cards on this device in 5 minutes (limit 5); " in lines[0]


async def test_a_line_that_cannot_be_written_takes_none_of_its_neighbours_along() -> None:
    class Picky(io.StringIO):
        def write(self, text: str) -> int:
            if "txn_1" in text:
                raise OSError("no")
            return super().write(text)

    stream = Picky()
    channel = ConsoleAlertChannel(stream)

    posts = (channel.post(a_notice(transaction_id=f"txn_{n}")) for n in range(3))
    ends = await asyncio.gather(*posts, return_exceptions=True)

    assert isinstance(ends[1], AlertFailed)
    assert [isinstance(end, str) for end in ends] == [True, False, True]
    assert len(stream.getvalue().splitlines()) == 2


async def test_a_terminal_gets_a_panel_with_the_same_facts() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    alert = a_notice(degraded="degraded: decided without the model", merchant="[bold]ACME[/bold] :skull:")

    await ConsoleAlertChannel(terminal, width=120).post(alert)

    text = terminal.getvalue()
    for fact in (alert.title, alert.alert.degraded, *alert.alert.why, *(value for _, value in alert.alert.facts)):
        assert fact in text


async def test_a_stream_that_knows_only_ascii_still_gets_its_line() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")

    await ConsoleAlertChannel(stream).post(a_notice())

    assert b"card ???? 4242" in raw.getvalue()


async def test_a_reader_that_went_away_is_a_permanent_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", encoding="utf-8")

    with pytest.raises(AlertFailed) as caught:
        await ConsoleAlertChannel(stream).post(a_notice())

    assert caught.value.permanent
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_the_check_in_the_manual_takes_what_we_sign_and_refuses_the_rest() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(manual.split("```python\n")[1].split("```")[0], names)
    body, now_s = message_body(a_notice()), int(time.time())

    verify = names["verify"]

    assert verify(SECRET.encode(), str(now_s), sign(SECRET, now_s, body), body)
    assert not verify(SECRET.encode(), str(now_s), sign(SECRET, now_s, body), body + b" ")
    assert not verify(SECRET.encode(), str(now_s - 400), sign(SECRET, now_s - 400, body), body)
