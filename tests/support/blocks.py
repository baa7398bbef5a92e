"""
An hour of every metric, as blocks that a Prometheus serves at once: the same figures in every run, and no waiting.
"""

import itertools
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path

from fraudstream.dashboards.limits import OBJECTIVES
from fraudstream.telemetry.declaring import Described
from fraudstream.telemetry.labels import (
    BATCH_BUCKETS,
    GROUP_STREAMS,
    LATENCY_BUCKETS_S,
    NOTIFICATION_BUCKETS_S,
    SCORE_BUCKETS,
    SINK_BUCKETS_S,
    STAGE_BUCKETS_S,
    STAGES,
)
from fraudstream.telemetry.metrics import Metrics

#: When the hour ends, in unix seconds; nothing here asks the clock.
END_S = 1_790_000_000
_STEP_S, _STEPS = 15, 240
_BUCKETS = {
    "fraudstream_decision_latency_seconds": LATENCY_BUCKETS_S,
    "fraudstream_stage_duration_seconds": STAGE_BUCKETS_S,
    "fraudstream_read_batch_events": BATCH_BUCKETS,
    "fraudstream_model_score_ratio": SCORE_BUCKETS,
    "fraudstream_shadow_score_ratio": SCORE_BUCKETS,
    "fraudstream_sink_write_duration_seconds": SINK_BUCKETS_S,
    "fraudstream_notification_latency_seconds": NOTIFICATION_BUCKETS_S,
}
#: Values of labels whose sets are open.
_VALUES = {
    "stream": ("transactions:raw", "transactions:decisions"),
    "group": tuple(GROUP_STREAMS),
    "stage": tuple(STAGES),
    "outcome": (
        *("approve", "block", "challenge", "scored", "failed", "dead_lettered", "appended", "rejected", "committed"),
        *("retried", "delivered", "undeliverable", "ok", "throttled", "unsigned"),
    ),
    "action": ("block", "allow"),
    "level": ("info", "warning", "error"),
    "state": ("active", "idle"),
    "reason": ("model_deadline", "rules_deadline", "decode_error", "unavailable"),
    "result": ("first", "done", "gone", "stored", "absent", "harsher"),
    "channel": ("slack", "web"),
    "role": ("champion",),
    "le": (),
}


def write_blocks(folder: Path) -> Path:
    """
    Write the blocks and return the folder that Prometheus serves.
    """
    text = folder / "openmetrics.txt"
    text.write_text("".join(_lines()))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "blocks")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "blocks"


def _lines() -> Iterator[str]:
    for described in Metrics().catalogue():
        yield from _family(described)
    for name in ("process_cpu_seconds", "process_start_time_seconds", "process_resident_memory_bytes"):
        counted = name == "process_cpu_seconds"
        yield f"# TYPE {name} {'counter' if counted else 'gauge'}\n"
        yield from _series(f"{name}_total" if counted else name, "", counted)
    yield "# TYPE up gauge\n"
    yield from _series("up", "", False)
    yield "# TYPE ALERTS gauge\n"
    yield from _series(
        "ALERTS", ',alertname="FraudstreamGroupGone",alertstate="firing",severity="critical",component="worker"', False
    )
    for name in ("slo:sli_error:ratio_rate1h", "slo:objective:ratio", "slo:error_budget_remaining:ratio"):
        yield f"# TYPE {name} gauge\n"
        for slo, objective in OBJECTIVES.items():
            yield from _series(name, f',slo="{slo}"', False, value=objective)
    yield "# EOF\n"


def _family(described: Described) -> Iterator[str]:
    name = described.name.removesuffix("_total")
    yield f"# TYPE {name} {described.type}\n"
    values = [_VALUES.get(label, (f"{label}-1",)) for label in described.labels]
    for row in itertools.product(*values):
        labels = "".join(f',{label}="{value}"' for label, value in zip(described.labels, row, strict=True))
        if described.type == "histogram":
            yield from _histogram(name, labels)
        else:
            yield from _series(described.name, labels, described.type == "counter")


def _series(name: str, labels: str, counted: bool, *, value: float | None = None) -> Iterator[str]:
    for step in range(_STEPS):
        shown = value if value is not None else 3.0 * step if counted else 1 + 0.5 * math.sin(step / 9)
        yield f'{name}{{job="fraudstream",instance="a:9464"{labels}}} {shown:g} {END_S - (_STEPS - step) * _STEP_S}\n'


def _histogram(name: str, labels: str) -> Iterator[str]:
    bounds = [*(f"{float(bound)}" for bound in _BUCKETS.get(name, (0.01, 0.1, 1))), "+Inf"]
    for step in range(_STEPS):
        at = END_S - (_STEPS - step) * _STEP_S
        base = f'job="fraudstream",instance="a:9464"{labels}'
        for place, bound in enumerate(bounds, 1):
            yield f'{name}_bucket{{{base},le="{bound}"}} {step * place} {at}\n'
        yield f"{name}_count{{{base}}} {step * len(bounds)} {at}\n"
        yield f"{name}_sum{{{base}}} {step * 0.5:g} {at}\n"
