"""
Event time of a benchmark: it goes on from one stretch of payments to the next, as it does for those who pay.
"""

from fraudstream.producers.plan import DAY_MS, SyntheticPlan, demo_plan

#: 2000-01-01 00:00:00 UTC. Between then and now there is room for more stretches than any benchmark has.
_FIRST_MS = 946_684_800_000
#: Length of a world in days.
WORLD_DAYS = 14


class Calendar:
    """
    Hands out worlds of two weeks one after the other.

    The same people live in all of them. Were all to take place in the same two weeks, each stretch would send its payments
    among those that an earlier one has sent: every history of every batch out of order, which no stream of payments is.
    """

    def __init__(self) -> None:
        self._begins_ms = _FIRST_MS

    def world(self, transactions: int) -> SyntheticPlan:
        """
        Return the world of the next two weeks.
        """
        ends_ms = self._begins_ms + WORLD_DAYS * DAY_MS
        self._begins_ms = ends_ms
        return demo_plan(end_ms=ends_ms, transactions=transactions, days=WORLD_DAYS)
