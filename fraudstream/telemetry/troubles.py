"""
What a worker complains of lately, in words: for whoever asks the fleet how it is, without reading its logs.
"""

import time
from collections import deque

import msgspec

from fraudstream.telemetry.redact import scrub

#: How long a complaint is repeated, in seconds; longer than a worker rests between two tries.
LATELY_S = 30.0
_MAX_WORDS = 300


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """
    One kind of complaint: ``about`` is model, rules, writes, tries of a channel, or an outage; ``times`` within ``LATELY_S``.
    """

    about: str
    says: str
    times: int


class Troubles:
    """
    Remembers complaints for a while; telling one costs an append.
    """

    def __init__(self) -> None:
        self._noted: dict[str, deque[tuple[float, int]]] = {}
        self._says: dict[str, str] = {}

    def note(self, about: str, says: str, times: int = 1) -> None:
        """
        Complain of something; the newest words are kept.
        """
        noted = self._noted.setdefault(about, deque(maxlen=1000))
        noted.append((time.monotonic(), times))
        self._says[about] = says

    def lately(self) -> list[Trouble]:
        """
        Return what was complained of, each kind once, scrubbed.
        """
        since = time.monotonic() - LATELY_S
        found = []
        for about, noted in list(self._noted.items()):
            while noted and noted[0][0] < since:
                noted.popleft()
            if noted:
                says = scrub(self._says[about])[:_MAX_WORDS]
                found.append(Trouble(about=about, says=says, times=sum(times for _, times in noted)))
            else:
                del self._noted[about]
        return found
