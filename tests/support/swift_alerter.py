"""
An alerter that waits a part of the time that people are given: ``python -m tests.support.swift_alerter``.
"""

import msgspec

from fraudstream.adapters import redis_alerts
from fraudstream.app import channels
from fraudstream.cli.worker import serve
from fraudstream.stages.alert_policy import POLICIES

if __name__ == "__main__":
    slack = msgspec.structs.replace(POLICIES["slack"], storm_gap_s=1.0, longest_retry_s=2.0)
    channels.POLICIES = {**POLICIES, "slack": slack}
    redis_alerts._LEAD_S = 1.5
    serve(consumer_group="alerter", alert_channels="slack")
