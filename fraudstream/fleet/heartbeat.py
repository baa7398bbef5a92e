"""
The sign of life, from a thread of its own, and only while the event loop lives.
"""

import threading
import time
from collections.abc import Callable, Sequence

from fraudstream.domain.errors import TransientError
from fraudstream.fleet.ports import FleetReport, Heart


class Heartbeat:
    """
    Beat at a third of the heartbeat's life as long as the loop has ticked lately.

    A heartbeat inside the loop would starve while the loop computes; one that ignores the loop would hide that it hangs.
    """

    def __init__(self, heart: Heart, held: Callable[[], Sequence[bytes]], *, life_s: float, report: FleetReport) -> None:
        self._heart = heart
        self._report = report
        self._held = held
        self._every_s = life_s / 3
        self._patience_s = life_s
        self._ticked_at = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """
        Beat once, so that nobody takes us for dead, then go on beating.
        """
        self._beat()
        self._thread.start()

    def tick(self) -> None:
        """
        Say that the event loop is alive; called from it.
        """
        self._ticked_at = time.monotonic()

    def stop(self) -> None:
        """
        Stop beating; blocks for one command at the most.
        """
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._heart.close()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            if time.monotonic() - self._ticked_at < self._patience_s:
                self._beat()

    def _beat(self) -> None:
        try:
            self._heart.beat(self._held())
        except TransientError:
            # Redis is away: the workers' own commands report it, and a heart that cannot beat is what others are to see.
            return
        except Exception as exc:  # noqa: BLE001 a dead heart in a living worker: others would take every entry out of its hands
            self._report.retried("failed", repr(exc), entries=0, pause_s=self._every_s)
