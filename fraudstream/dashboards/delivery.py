"""
Alert delivery and dead letters: did people hear about it, and what did we fail to process?
"""

from fraudstream.dashboards import limits
from fraudstream.dashboards.panels import (
    TARGETS,
    Board,
    Panel,
    Step,
    bars,
    by,
    largest,
    of,
    quantile,
    quiet,
    rate,
    rise,
    share,
    stat,
)

_NOT_OK = 'outcome!="ok"'
_IN_TIME = rise("notification_latency_seconds_bucket", 'le="30.0"')
_DELIVERED = rise("notification_latency_seconds_count")
_LOST = rise("notifications_total", 'outcome="undeliverable"')

DELIVERY = Board(
    "delivery.json",
    "fraudstream-delivery",
    "Fraudstream / Alert delivery and dead letters",
    "Did people hear about it, and what did we fail to process?",
    [
        ("Alert delivery", [
            stat("Delivered in 30 s", "Notifications accepted within 30 s of the decision, in the selected range.", "percentunit",
                 f"sum({_IN_TIME}) / (sum({_DELIVERED}) + sum({_LOST}))", base="red",
                 steps=[Step(limits.OBJECTIVES["alert-delivery"], "green", "FraudstreamErrorBudgetBurn")], width=6),
            stat("Undeliverable", "Alerts that a channel never took; they stand in alerts:undeliverable.", "short",
                 f"max({of('alerts_undeliverable_entries')})",
                 steps=[Step(1, "red", "FraudstreamAlertsUndeliverable")], width=6),
            stat("Alerts waiting", "Alerts that a channel is to be told of within a minute, over all channels.", "short",
                 f"sum({largest('channel', 'notification_queue_entries')})", base="text", width=6),
            stat("Storm", "1 while some channel folds its alerts into digests.", "short",
                 f"max({of('alert_storm')})", base="text", width=6),
            Panel("Notifications by end", "One per alert and channel.", "eps",
                  quiet([(by("channel, outcome", rate("notifications_total")), "{{channel}} {{outcome}}")])),
            Panel("Time to notify p95", "From the decision to the acceptance by the channel.", "s",
                  [(quantile(0.95, "notification_latency_seconds", by="le, channel"), "{{channel}}")],
                  steps=[Step(limits.DELIVERY_S, "red", "FraudstreamErrorBudgetBurn")]),
            Panel("Tries that failed", "Share of all tries, by channel: failed, or throttled (HTTP 429, SMTP 4xx).", "percentunit",
                  [((f"sum by (channel) ({rate('notification_attempts_total', _NOT_OK)}) / "
                    f"sum by (channel) ({rate('notification_attempts_total')})"), "{{channel}}")],
                  steps=[Step(limits.TRIES, "red", "FraudstreamNotificationTriesFailing")]),
            Panel("Raised, and groups opened", "Alerts by severity before anything is folded, and the groups that people are told of.",
                  "eps", [(by("severity", rate("alerts_raised_total")), "raised {{severity}}"),
                          (f"sum({rate('alert_groups_total')})", "groups")]),
            Panel("Waiting, by channel", "Alerts due within a minute. They stay while the channel is away.", "short",
                  [(largest("channel", "notification_queue_entries"), "{{channel}}")]),
            Panel("Throttled", "Answers that told us to come later.", "eps",
                  quiet([(by("channel", rate("notification_attempts_total", 'outcome="throttled"')), "{{channel}}")])),
        ]),
        ("What people did", [
            Panel("Slack buttons", "Presses by action and what became of them; unsigned ones are not Slack's.", "eps",
                  quiet([(by("action, outcome", rate("slack_interactions_total")), "{{action}} {{outcome}}")]), width=24, height=6),
        ]),
        ("Dead letters", [
            Panel("Dead-lettered, by reason", "Per second.", "eps",
                  quiet([(by("reason", rate("dlq_events_total")), "{{reason}}")])),
            Panel("Waiting", "Entries in the dead-letter stream: fraudstream dlq list.", "short",
                  [(largest("stream", "dlq_entries"), "{{stream}}")]),
            Panel("Oldest dead letter", "Age of the oldest entry.", "s",
                  [(largest("stream", "dlq_oldest_entry_age_seconds"), "{{stream}}")],
                  steps=[Step(limits.LETTER_AGE_S, "red", "FraudstreamDeadLettersOld")]),
            bars("Reasons", "Dead letters in the selected range.", "short",
                 f"topk(8, {by('reason', rise('dlq_events_total'))})", "{{reason}}", width=12),
            Panel("Share that is dead-lettered", "Of finished entries, by stream.", "percentunit",
                  [(share(by("stream", rate("dlq_events_total")), by("stream", rate("events_processed_total"))), "{{stream}}")],
                  steps=[Step(limits.LETTERS_SHARE, "red", "FraudstreamDeadLettersHigh")], width=12),
        ]),
    ],
    TARGETS,
)  # fmt: skip
