"""
What the deciding groups tell of touching, completing and deciding.
"""

import itertools
from collections import Counter as Tally
from collections.abc import Mapping, Sequence

from prometheus_client import Histogram

from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.evidence import Fallback
from fraudstream.telemetry.declaring import Declarer, observe_all
from fraudstream.telemetry.labels import COMPLETION_RESULTS, DECIDING_GROUPS, LATENCY_BUCKETS_S, PAYMENT_CHANNELS, TOUCH_RESULTS

#: Room that OpenMetrics leaves for an exemplar, less the name of its one label.
_EXEMPLAR_CHARACTERS = 128 - len("transaction_id")
#: Faster decisions carry no exemplar, nor do others than the slowest of a batch: nobody looks for them, and it costs more than
#: the rest of the count together.
_EXEMPLAR_FROM_S = 0.05


class DecisionMetrics:
    """
    What the scripts answered, and what was decided; ``Metrics.decided_all`` counts a batch.

    Args:
        new: Declares them.
        streams: The intake streams.
    """

    def __init__(self, new: Declarer, streams: Sequence[str]) -> None:
        # A worker completes for the lagging group as well, so both groups have series in each deciding process.
        self.touches_total = new.counter(
            "touches_total",
            "Answers of the touch script: first moved the states; done is a second entry of the same id.",
            ("group", "result"),
            itertools.product(DECIDING_GROUPS, TOUCH_RESULTS),
        )
        self.completions_total = new.counter(
            "completions_total",
            "Answers of the completion script; gone is a fencing, absent a lost history: worry at any.",
            ("group", "result"),
            itertools.product(DECIDING_GROUPS, COMPLETION_RESULTS),
        )
        self.step_ins_total = new.counter(
            "step_ins_total",
            "Entries completed for a group that missed the deadline; worry when it lasts: the group is away.",
            ("group",),
            [(group,) for group in DECIDING_GROUPS],
        )
        self.decisions_total = new.counter(
            "decisions_total",
            "Decisions, by the worker that emitted them; worry when the share of block triples in a day.",
            ("outcome", "channel"),
            itertools.product((o.value for o in Outcome), PAYMENT_CHANNELS),
        )
        self.decisions_degraded_total = new.counter(
            "decisions_degraded_total",
            "Decisions made without the opinion of a group, by reason; worry above 1 % of all.",
            ("reason",),
            [(reason.value,) for reason in Fallback],
        )
        self.decision_latency_seconds = new.histogram(
            "decision_latency_seconds",
            "From adding the entry to the decision, by the clock of Redis; the objective is 0.25.",
            ("stream",),
            [(stream,) for stream in streams],
            LATENCY_BUCKETS_S,
        )
        # Counted for each transaction: a look-up by labels costs more than the count itself.
        self._decisions = {
            (outcome, channel): self.decisions_total.labels(outcome.value, channel)
            for outcome in Outcome
            for channel in PAYMENT_CHANNELS
        }
        self._latencies = {stream: self.decision_latency_seconds.labels(stream) for stream in streams}

    def touched(self, group: str, results: Mapping[str, int]) -> None:
        """
        Count a batch of answers of the touch script, given as how often each came.
        """
        for result, count in results.items():
            self.touches_total.labels(group, result).inc(count)

    def completed(self, group: str, results: Mapping[str, int]) -> None:
        """
        Count a batch of answers of the completion script, given as how often each came.
        """
        for result, count in results.items():
            self.completions_total.labels(group, result).inc(count)

    def decided(self, decisions: Sequence[Decision], latencies_s: Sequence[float], stream: str) -> None:
        """
        Count one or more decisions and the time that each took; see ``Metrics.decided_all``.
        """
        for (outcome, channel), count in Tally([(one.outcome, one.transaction.channel) for one in decisions]).items():
            known = channel or "none"
            self._decisions[outcome, known if known in PAYMENT_CHANNELS else "other"].inc(count)
        for decision in decisions:
            for reason in decision.degraded:
                self.decisions_degraded_total.labels(reason.value).inc()
        self._took(decisions, latencies_s, self._latencies[stream])

    def _took(self, decisions: Sequence[Decision], latencies_s: Sequence[float], histogram: Histogram) -> None:
        slowest = max(range(len(decisions)), key=latencies_s.__getitem__)
        name = decisions[slowest].transaction.transaction_id
        telling = latencies_s[slowest] >= _EXEMPLAR_FROM_S and len(name) <= _EXEMPLAR_CHARACTERS
        histogram.observe(latencies_s[slowest], {"transaction_id": name} if telling else None)
        observe_all(histogram, [*latencies_s[:slowest], *latencies_s[slowest + 1 :]])
