"""
The steps of a coroutine among those of others on an event loop: what they cost, and whose turn it is.
"""

import time
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

from fraudstream.fleet.turns import Turns

_T = TypeVar("_T")


class Metered(Generic[_T]):
    """
    Await a coroutine and add up, in ``cpu_s``, what its steps took of the thread; a batch has some twenty of them.

    What it hands to other threads is not in it. After a long step of somebody else it waits for its turn.

    Args:
        work: What is awaited.
        turns: Shared by all whose steps are long.
    """

    def __init__(self, work: Coroutine[Any, Any, _T], turns: Turns) -> None:
        self._work = work
        self._turns = turns
        self.cpu_s = 0.0

    def __await__(self) -> Generator[Any, Any, _T]:
        value: Any = None
        failure: BaseException | None = None
        while True:
            if self._turns.over:
                try:
                    yield from self._turns.another().__await__()
                except BaseException as exc:  # noqa: BLE001 as below
                    failure = exc
            began_s = time.thread_time()
            try:
                step = self._work.send(value) if failure is None else self._work.throw(failure)
            except StopIteration as end:
                result: _T = end.value
                return result
            finally:
                took_s = time.thread_time() - began_s
                self.cpu_s += took_s
                self._turns.took(took_s)
            value, failure = None, None
            try:
                value = yield step
            except BaseException as exc:  # noqa: BLE001 whatever is thrown at us is meant for it, a cancellation too
                failure = exc
