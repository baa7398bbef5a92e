"""
What the thread of the loop spent so far by the clock, and waiting for a core, as the scheduler of Linux counts it.
"""

import threading
import time
from pathlib import Path
from typing import IO, Self

from fraudstream.fleet.stalls import Spent


class LoopTime:
    """
    Tells of the thread that it was made on; call it there. Where the scheduler tells nothing, waiting counts as nothing.
    """

    def __init__(self) -> None:
        path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._counts: IO[bytes] | None = path.open("rb", buffering=0) if path.exists() else None

    def __call__(self) -> Spent:
        """
        Return what was spent until now.
        """
        return Spent(time.monotonic(), self._queued_s())

    def _queued_s(self) -> float:
        if self._counts is None:
            return 0.0
        self._counts.seek(0)
        # Nanoseconds on a core, nanoseconds of waiting for one, and how often.
        return int(self._counts.read(100).split()[1]) / 1e9

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._counts is not None:
            self._counts.close()
