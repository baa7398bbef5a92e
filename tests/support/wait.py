"""
Waiting without sleeping blindly: look until it is so, or say what never came.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

#: Longest wait, in seconds: only what never comes takes so long, and no machine is that slow.
LONG_S = 60.0
_POLL_S = 0.01


async def wait_until(
    predicate: Callable[[], object | Awaitable[object]], description: str, *, timeout_s: float = LONG_S
) -> None:
    """
    Return once ``predicate`` (a function or a coroutine function) says something true.

    Raises:
        AssertionError: It did not within ``timeout_s``; the text is ``description``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = predicate()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < deadline, f"still waiting after {timeout_s:g} s for: {description}"
        await asyncio.sleep(_POLL_S)


def wait_until_sync(
    predicate: Callable[[], object], description: str, *, timeout_s: float = LONG_S, every_s: float = _POLL_S
) -> None:
    """
    The same for tests without an event loop; ``every_s`` where a look is dear.
    """
    deadline = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline, f"still waiting after {timeout_s:g} s for: {description}"
        time.sleep(every_s)
