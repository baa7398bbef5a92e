"""
What the alerter tells about itself.
"""

from typing import Protocol

from fraudstream.domain.alert import Alert, Severity


class AlertReport(Protocol):
    """
    What the alerter tells about itself; every method returns at once and never raises.
    """

    def raised(self, severity: Severity) -> None:
        """
        An alert was seen for the first time.
        """
        ...

    def attempted(self, channel: str, outcome: str) -> None:
        """
        One try ended ``ok``, ``throttled`` or ``failed``.
        """
        ...

    def ended(self, alert: Alert, channel: str, outcome: str, latency_s: float) -> None:
        """
        An alert is over for one channel: ``delivered`` or ``undeliverable``, so long after its decision.
        """
        ...


class Unreported:
    """
    Tells nobody.
    """

    def raised(self, severity: Severity) -> None:
        """
        See ``AlertReport``.
        """

    def attempted(self, channel: str, outcome: str) -> None:
        """
        See ``AlertReport``.
        """

    def ended(self, alert: Alert, channel: str, outcome: str, latency_s: float) -> None:
        """
        See ``AlertReport``.
        """
