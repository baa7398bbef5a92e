"""
How a time without the model is judged: by when its payments must have been decided, on a machine as crowded as it was then.
"""

import os
from pathlib import Path
from statistics import fmean

import msgspec

#: What a decision may take beside the deadline on a machine that is not crowded, in seconds: one for the first verdict, and one
#: for stepping in.
_ALLOWED_S = 2.0


class Absence(msgspec.Struct, frozen=True):
    """
    One time without the model: ``back_at_s`` is when it came back, in seconds since 1970, and ``allowed_s`` how long after its
    entry each payment of that time may be decided at the latest.
    """

    back_at_s: float
    allowed_s: float


class Crowd:
    """
    How many processes want each processor, looked at now and then: a second of work takes so many seconds.

    Args:
        seen: What earlier looks saw.

    References:
        ``proc_loadavg(5)``: the fourth field begins with the number of runnable threads.
    """

    def __init__(self, *seen: float) -> None:
        self._seen = list(seen)

    def look(self) -> None:
        """
        Take note of how it is now.
        """
        try:
            running = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]) - 1.0  # without us
        except OSError:
            running = os.getloadavg()[0]
        self._seen.append(running / (os.cpu_count() or 1))

    def allowed_s(self, deadline_s: float) -> float:
        """
        Return how long a decision may take that waits so long for the other group.
        """
        return deadline_s + _ALLOWED_S * max(1.0, fmean(self._seen))
