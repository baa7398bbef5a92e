"""
What the alerter tells about itself.
"""

from collections.abc import Sequence
from typing import Protocol

from fraudstream.domain.alert import Severity


class AlertReport(Protocol):
    """
    What the alerter tells about itself; every method returns at once and never raises.
    """

    def raised(self, severity: Severity, *, opened: bool) -> None:
        """
        A flagged decision went into a group, or ``opened`` one.
        """
        ...

    def attempted(self, channel: str, outcome: str) -> None:
        """
        One try ended ``ok``, ``throttled`` or ``failed``.
        """
        ...

    def told(self, channel: str, outcome: str, delays_s: Sequence[float], *, digest: bool) -> None:
        """
        A message ended ``delivered`` or ``undeliverable``: the first of so many payments, each so long after its decision.
        """
        ...

    def folded(self, channel: str, reason: str, groups: int, transactions: int) -> None:
        """
        Groups with so many payments were folded into a digest.
        """
        ...

    def weather(self, channel: str, *, storm: bool) -> None:
        """
        A storm has begun on a channel, or is over.
        """
        ...

    def away(self, error: str) -> None:
        """
        Redis does not answer; nothing is told for now.
        """
        ...

    def faulty(self, channel: str, error: str) -> None:
        """
        Something of ours failed where nothing should.
        """
        ...


class Unreported:
    """
    Tells nobody.
    """

    def raised(self, severity: Severity, *, opened: bool) -> None:
        """
        See ``AlertReport``.
        """

    def attempted(self, channel: str, outcome: str) -> None:
        """
        See ``AlertReport``.
        """

    def told(self, channel: str, outcome: str, delays_s: Sequence[float], *, digest: bool) -> None:
        """
        See ``AlertReport``.
        """

    def folded(self, channel: str, reason: str, groups: int, transactions: int) -> None:
        """
        See ``AlertReport``.
        """

    def weather(self, channel: str, *, storm: bool) -> None:
        """
        See ``AlertReport``.
        """

    def away(self, error: str) -> None:
        """
        See ``AlertReport``.
        """

    def faulty(self, channel: str, error: str) -> None:
        """
        See ``AlertReport``.
        """
