"""
Service level objectives: what they measure, over which windows, and how fast their budget may burn.

The names follow Sloth; the windows are those of the Google SRE workbook, chapter 5.
"""

from collections.abc import Iterator

from fraudstream.dashboards import limits
from fraudstream.dashboards.rules import Alert, Group, Recording

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
_LATENCY = "fraudstream_decision_latency_seconds"
_EVENTS = 'fraudstream_events_processed_total{stream=~"transactions:raw.*"'
_TOLD = "fraudstream_notification_latency_seconds"
_LOST = 'sum(rate(fraudstream_notifications_total{outcome="undeliverable"}[WINDOW]))'
#: Share of events that missed the objective; absent, not undefined, while there are none: one NaN would spoil the mean of 30 days. A transaction passes two groups and is counted once, by fraud-check; one that was
#: given up counts against success and not against latency.
ERRORS = {
    "decision-latency": f'1 - sum(rate({_LATENCY}_bucket{{le="{limits.LATENCY_S}"}}[WINDOW]))'
    f" / (sum(rate({_LATENCY}_count[WINDOW])) > 0)",
    "decision-success": f'sum(rate({_EVENTS},outcome=~"dead_lettered|failed"}}[WINDOW]))'
    f' / (sum(rate({_EVENTS},group="fraud-check"}}[WINDOW])) > 0)',
    "alert-delivery": f'1 - sum(rate({_TOLD}_bucket{{le="{limits.DELIVERY_S}"}}[WINDOW]))'
    f" / (sum(rate({_TOLD}_count[WINDOW])) + {_LOST} > 0)",
}
_BURNS = (
    ("critical", "2m", "1h", "5m", limits.PAGE_FAST),
    ("critical", "15m", "6h", "30m", limits.PAGE_SLOW),
    ("warning", "1h", "1d", "2h", limits.TICKET_FAST),
    ("warning", "3h", "3d", "6h", limits.TICKET_SLOW),
)


def recordings() -> list[Group]:
    """
    Return the rules that compute each objective over each window, and what is left of its budget.
    """
    objectives = [
        Recording("slo:objective:ratio", f"vector({value})", {"slo": slo}) for slo, value in limits.OBJECTIVES.items()
    ]
    return [
        ("fraudstream.rates", _RATES),
        ("fraudstream.slo", [*objectives, *_windows()]),
        ("fraudstream.slo.budget", _BUDGET),
    ]


def _windows() -> Iterator[Recording]:
    for slo, text in ERRORS.items():
        for window in WINDOWS:
            yield Recording(f"slo:sli_error:ratio_rate{window}", text.replace("WINDOW", window), {"slo": slo})


_RATES = [
    Recording("outcome:fraudstream_decisions:rate5m", "sum without (instance, worker, channel) (rate(fraudstream_decisions_total[5m]))"),
    Recording(
        "stream_group_outcome:fraudstream_events_processed:rate5m",
        "sum without (instance, worker) (rate(fraudstream_events_processed_total[5m]))",
    ),
    *(
        Recording(
            f"stream:fraudstream_decision_latency_seconds:p{q * 100:.0f}_rate5m",
            f"histogram_quantile({q:.2f}, sum without (instance, worker) (rate({_LATENCY}_bucket[5m])))",
        )
        for q in (0.5, 0.95, 0.99)
    ),
]  # fmt: skip

_BUDGET = [
    # Thirty days of a range would be read anew at each turn; the mean of what was recorded is Sloth's way and costs nothing.
    Recording(
        "slo:sli_error:ratio_rate30d",
        "sum_over_time(slo:sli_error:ratio_rate5m[30d]) / ignoring () count_over_time(slo:sli_error:ratio_rate5m[30d])",
    ),
    Recording("slo:error_budget_remaining:ratio", "1 - slo:sli_error:ratio_rate30d / on (slo) (1 - slo:objective:ratio)"),
]


def burn_alerts() -> list[Alert]:
    """
    Return one alert for each pair of windows: the long one says that it matters, the short one that it still goes on.
    """
    return [
        Alert(
            "FraudstreamErrorBudgetBurn",
            severity,
            "slo",
            held,
            " and on (slo) ".join(
                f"slo:sli_error:ratio_rate{window} > on (slo) ({factor:g} * (1 - slo:objective:ratio))"
                for window in (long, short)
            ),
            "{{ $labels.slo }} is spending its error budget too fast.",
            f"{{{{ $value | humanizePercentage }}}} of events missed the objective over the last {long} ({factor:g} times what "
            "lasts 30 days).",
            "fraudstream-overview",
            labels={"long": long, "short": short},
        )
        for severity, held, long, short, factor in _BURNS
    ]
