"""
What the alerter tells of alerts and of the channels that carry them.
"""

import itertools

from fraudstream.domain.alert import Severity
from fraudstream.telemetry.declaring import Declarer
from fraudstream.telemetry.labels import NOTIFICATION_BUCKETS_S, NOTIFICATION_CHANNELS


class AlertMetrics:
    """
    Alerts, groups of them, and notifications by channel.
    """

    def __init__(self, new: Declarer) -> None:
        channels = NOTIFICATION_CHANNELS
        self.alerts_raised_total = new.counter(
            "alerts_raised_total",
            "Alerts, before any of them is folded or sent.",
            ("severity",),
            [(severity.value,) for severity in Severity],
        )
        self.alert_groups_total = new.counter(
            "alert_groups_total",
            "Alert groups opened: what people would be told of alone in fair weather.",
            ("severity",),
            [(severity.value,) for severity in Severity],
        )
        self.alert_storm = new.gauge(
            "alert_storm",
            "1 while this process leads the channel and folds its alerts into a digest; worry when it does not end.",
            ("channel",),
        )
        self.notifications_total = new.counter(
            "notifications_total",
            "One per alert and channel, by how it ended; worry at undeliverable: nobody was told.",
            ("channel", "outcome"),
            itertools.product(channels, ("delivered", "deduplicated", "digested", "undeliverable")),
        )
        self.notification_attempts_total = new.counter(
            "notification_attempts_total",
            "One per try; worry when throttled or failed outnumber ok.",
            ("channel", "outcome"),
            itertools.product(channels, ("ok", "throttled", "failed")),
        )
        self.slack_interactions_total = new.counter(
            "slack_interactions_total",
            "Presses of buttons, and what became of them; worry at unsigned and replayed: somebody tries.",
            ("action", "outcome"),
            [("none", "unsigned"), ("none", "replayed")],
        )
        self.notification_latency_seconds = new.histogram(
            "notification_latency_seconds",
            "From the decision to the channel's acceptance; the objective is 30.",
            ("channel",),
            [(channel,) for channel in channels],
            NOTIFICATION_BUCKETS_S,
        )
