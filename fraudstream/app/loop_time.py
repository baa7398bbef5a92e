"""
What the thread of the loop spent so far by the clock, and waiting for a core, as the scheduler of Linux counts it.
"""

import os
import threading
import time
from pathlib import Path
from typing import Self

from fraudstream.fleet.stalls import Spent


class LoopTime:
    """
    Tells of the thread that it was made on; call it there. Where the scheduler tells nothing, waiting counts as nothing.
    """

    def __init__(self) -> None:
        path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._counts = os.open(path, os.O_RDONLY) if path.exists() else None

    def __call__(self) -> Spent:
        """
        Return what was spent until now.
        """
        if self._counts is None:
            return Spent(time.monotonic(), 0.0)
        # Nanoseconds on a core, nanoseconds of waiting for one, and how often.
        return Spent(time.monotonic(), int(os.pread(self._counts, 100, 0).split()[1]) / 1e9)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._counts is not None:
            os.close(self._counts)
