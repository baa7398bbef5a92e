"""
How the alerter stands a storm, and how soon it tells in fair weather: real alerter processes, a real Valkey, a Slack of our own
that throttles, fails, hangs and drops.

    python benchmarks/alert_storm.py                    20,000 flagged payments in a minute
    python benchmarks/alert_storm.py --calm             below a storm: the delay of critical alerts
    python benchmarks/alert_storm.py --postgres down    the same with the database stopped

The exit code is 1 where a promise of docs/alerts.md is not kept.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.alert_storm import Storm, StormPlan, StormReport

#: Below a storm: some twenty new groups a minute, each of several payments, all of them critical.
CALM = {"transactions": 90, "over_s": 120.0, "entities": 14, "critical": 1.0, "kills": 0, "moody": False}


def broken(report: StormReport, *, calm: bool) -> list[str]:
    """
    Return the promises that were not kept.
    """
    checks = {
        "a flagged transaction was lost": report.lost == 0,
        "a flagged transaction is not in exactly one group": report.astray == 0,
        "more than 300 messages": report.posts + report.digests + report.replies <= 300,
        "more than a handful of digests": report.digests <= 6,
        "more doubles than drops and what the killed had under way": report.doubles <= report.drops + 4 * report.kills,
        "a message beyond Slack's limits": report.refused_by_limits == 0,
        "undeliverable alerts": report.undeliverable == 0,
        "critical alerts took too long": report.delay_critical_s["p99"] < (5 if calm else 60),
        "alerts took too long": report.delay_s["p99"] < 60,
    }
    return [words for words, kept in checks.items() if not kept]


def main() -> int:
    """
    Run once and print.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int)
    parser.add_argument("--over-s", type=float)
    parser.add_argument("--entities", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--alerters", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--calm", action="store_true", help="below a storm")
    parser.add_argument("--quiet-slack", dest="moody", action="store_const", const=False, help="a Slack that always answers")
    parser.add_argument("--postgres", choices=("none", "up", "down"))
    parser.add_argument("--json", action="store_true")
    given = vars(parser.parse_args())
    calm, as_json = given.pop("calm"), given.pop("json")
    changes = {name: value for name, value in given.items() if value is not None}
    report = asyncio.run(Storm(StormPlan(**{**(CALM if calm else {}), **changes})).run())
    wrong = broken(report, calm=calm)
    data = {**msgspec.to_builtins(report), "broken": wrong}
    if as_json:
        print(json.dumps({"schema": "fraudstream.alert_storm/1", "data": data}))
    else:
        for name, value in data.items():
            print(f"{name:<20} {value}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
