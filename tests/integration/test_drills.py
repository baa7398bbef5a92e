"""
Fault drills: for each fault, which alert fires and how soon, and that ``status`` and ``doctor`` both name the cause.

The rules are the shipped ones with every duration divided by 30; the real durations are proved by ``promtool test rules``.
"""

import fcntl
import json
from pathlib import Path

import pytest

from tests.support.drills import ACT, CAUSES, FASTER, Seen, run_all, table
from tests.support.tools import needs

pytestmark = [needs("prometheus"), pytest.mark.timeout(900)]

#: Seconds until the alert on an idle machine, and then much: a busy one starts and scrapes later.
_SOON_S = 120.0


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """
    One run for all tests, also where several processes share them.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base
    with (shared / "drills.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = shared / "drills.json"
        if not kept.exists():
            kept.write_text(json.dumps(run_all(tmp_path_factory.mktemp("drills"))))
        return {name: Seen(*row) for name, row in json.loads(kept.read_text()).items()}


@pytest.mark.parametrize(
    ("fault", "alerts"),
    [
        ("group", ["FraudstreamGroupGone"]),
        ("database", ["FraudstreamSinkStale", "FraudstreamPendingTooOld"]),
        ("redis", ["FraudstreamRedisFull"]),
        ("model", ["FraudstreamModelFallback"]),
        ("slack", ["FraudstreamNotificationTriesFailing"]),
        ("poison", ["FraudstreamDeadLettersHigh"]),
        ("slow", ["FraudstreamSinkSlow"]),
        ("stuck", ["FraudstreamWorkerStuck"]),
    ],
)
def test_the_alert_fires_and_both_commands_name_the_cause(seen: dict[str, Seen], fault: str, alerts: list[str]):
    found = seen[fault]

    assert list(found.alerts) == alerts
    assert all(after < _SOON_S for after in found.alerts.values()), found.alerts
    assert CAUSES[fault] in found.says("status"), found.says("status")
    assert CAUSES[fault] in found.says("doctor"), found.says("doctor")


@pytest.mark.parametrize("fault", ACT)
def test_a_fault_that_somebody_must_act_on_is_unhealthy(seen: dict[str, Seen], fault: str):
    assert tuple(seen[fault].exits) == (1, 1)


def test_the_table_tells_of_every_fault(seen: dict[str, Seen]):
    assert FASTER == 30
    assert len(table(seen).splitlines()) == 2 + len(CAUSES)
    assert "NOT NAMED" not in table(seen)
    told = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    assert [alert for one in seen.values() for alert in one.alerts if f"`{alert}`" not in told] == []
