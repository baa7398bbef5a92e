from datetime import time
from pathlib import Path
from typing import Any

import pytest

from fraudstream.adapters.console import ConsoleAlertChannel
from fraudstream.adapters.email import EmailAlertChannel
from fraudstream.adapters.slack import SlackAlertChannel
from fraudstream.adapters.webhook import WebhookAlertChannel
from fraudstream.app.channels import channels, links, policies
from fraudstream.domain.alert import Severity
from fraudstream.domain.errors import InvalidSettings
from fraudstream.settings import load
from fraudstream.stages.alert_policy import QuietHours
from tests.support.alerts import a_notice
from tests.support.smtp import self_signed

SLACK: dict[str, Any] = {"slack_bot_token": "xoxb-1", "slack_channel": "#fraud"}
EMAIL: dict[str, Any] = {"smtp_host": "mail", "smtp_from": "a@bank.example", "smtp_to": "b@bank.example"}


def test_the_channels_of_the_setting_are_built_in_its_order_and_the_fallback_once() -> None:
    settings = load(
        {}, {"alert_channels": "webhook,slack,console", "webhook_url": "https://x/", "alert_fallback": "slack", **SLACK}
    )

    assert [type(one) for one in channels(settings)] == [WebhookAlertChannel, SlackAlertChannel, ConsoleAlertChannel]


def test_the_fallback_is_built_although_no_alert_goes_there_by_itself() -> None:
    settings = load({}, {"alert_channels": "slack", "alert_fallback": "email", **SLACK, **EMAIL})

    assert [type(one) for one in channels(settings)] == [SlackAlertChannel, EmailAlertChannel]


def test_critical_alerts_have_a_slack_channel_of_their_own_where_one_is_named() -> None:
    (slack,) = channels(load({}, {"alert_channels": "slack", "slack_critical_channel": "#war-room", **SLACK}))

    told = [slack.recipient(a_notice(severity=severity)) for severity in (Severity.CRITICAL, Severity.WARNING)]

    assert told == ["#war-room", "#fraud"]


def test_a_certificate_authority_of_ones_own_is_read(tmp_path: Path) -> None:
    ca_file = self_signed(tmp_path).certificate

    channels(load({}, {"alert_channels": "email", "smtp_tls": "tls", "smtp_ca_file": str(ca_file), **EMAIL}))

    with pytest.raises(InvalidSettings, match=r"no file '/nowhere\.pem'"):
        channels(load({}, {"alert_channels": "email", "smtp_ca_file": "/nowhere.pem", **EMAIL}))


def test_quiet_hours_and_storms_are_those_of_the_settings_but_the_console_has_none() -> None:
    hours = {"alert_quiet_hours": "22:00-08:00", "alert_time_zone": "Europe/Berlin"}
    settings = load({}, {**hours, "alert_storm_groups": 10, "alert_storm_amount_major": 500.0})

    chosen = policies(settings)

    quiet = QuietHours(time(22), time(8), "Europe/Berlin")
    assert {name: policy.quiet for name, policy in chosen.items()} == {**dict.fromkeys(chosen, quiet), "console": None}
    storms = {name: policy.storm and policy.storm.enter_groups for name, policy in chosen.items()}
    assert storms == {"slack": 10, "email": 10, "webhook": 200, "console": None}
    assert chosen["slack"].storm is not None
    assert (chosen["slack"].storm.leave_groups, chosen["slack"].storm.alone_major) == (3, 500.0)


def test_there_are_buttons_only_where_somebody_can_receive_what_they_send() -> None:
    assert not links(load({})).buttons
    assert links(load({}, {"slack_signing_secret": "s"})).buttons
