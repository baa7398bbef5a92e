"""
The CPU of a coroutine, apart from what else its event loop does meanwhile.
"""

import time
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class Metered(Generic[_T]):
    """
    Await a coroutine and add up, in ``cpu_s``, what its steps took of the thread; a batch has some twenty of them.

    What it hands to other threads is not in it.
    """

    def __init__(self, work: Coroutine[Any, Any, _T]) -> None:
        self._work = work
        self.cpu_s = 0.0

    def __await__(self) -> Generator[Any, Any, _T]:
        value: Any = None
        failure: BaseException | None = None
        while True:
            began_s = time.thread_time()
            try:
                step = self._work.send(value) if failure is None else self._work.throw(failure)
            except StopIteration as end:
                result: _T = end.value
                return result
            finally:
                self.cpu_s += time.thread_time() - began_s
            value, failure = None, None
            try:
                value = yield step
            except BaseException as exc:  # noqa: BLE001 whatever is thrown at us is meant for it, a cancellation too
                failure = exc
