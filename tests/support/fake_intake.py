"""
An intake in memory that keeps what it is given, and fails as it is told.
"""

from collections import deque
from collections.abc import Callable, Sequence

from fraudstream.domain.errors import AdmissionRefused, StreamUnavailable


class FakeIntake:
    """
    ``TransactionIntake`` over a list. ``calls`` holds the batches that were offered, ``entries`` what was appended.

    Each call takes the next of ``troubles`` (None is no trouble); after the last one all goes well.
    """

    def __init__(self, *troubles: Callable[["FakeIntake", Sequence[bytes]], None] | None) -> None:
        self.calls: list[list[bytes]] = []
        self.entries: list[bytes] = []
        self._troubles = deque(troubles)

    async def append(self, bodies: Sequence[bytes]) -> list[bytes]:
        self.calls.append([*bodies])
        trouble = self._troubles.popleft() if self._troubles else None
        if trouble is not None:
            trouble(self, bodies)
        return self.store(bodies)

    def store(self, bodies: Sequence[bytes]) -> list[bytes]:
        first = len(self.entries)
        self.entries += bodies
        return [f"{number}-0".encode() for number in range(first, len(self.entries))]


def full(_intake: FakeIntake, _bodies: Sequence[bytes]) -> None:
    """
    Refuse: nothing is appended.
    """
    raise AdmissionRefused("Redis uses 91% of maxmemory")


def away(_intake: FakeIntake, _bodies: Sequence[bytes]) -> None:
    """
    Fail before anything is appended; the producer cannot know.
    """
    raise StreamUnavailable("connection refused")


def reply_lost(intake: FakeIntake, bodies: Sequence[bytes]) -> None:
    """
    Append everything and fail to say so.
    """
    intake.store(bodies)
    raise StreamUnavailable("timed out")


def half_appended(intake: FakeIntake, bodies: Sequence[bytes]) -> None:
    """
    Append the first half and fail.
    """
    intake.store(bodies[: len(bodies) // 2])
    raise StreamUnavailable("connection reset")
