"""
The alert channels that the settings name, and what each may be burdened with.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fraudstream.adapters.console import ConsoleAlertChannel
from fraudstream.adapters.email import EmailAlertChannel, SmtpTls
from fraudstream.adapters.slack import SlackAlertChannel
from fraudstream.adapters.webhook import WebhookAlertChannel
from fraudstream.domain.errors import InvalidSettings
from fraudstream.settings import Settings
from fraudstream.stages.alert_notice import Links
from fraudstream.stages.alert_policy import POLICIES, ChannelPolicy, QuietHours, StormLimits
from fraudstream.stages.alert_ports import AlertChannel


def channels(settings: Settings) -> list[AlertChannel]:
    """
    Build the channels in the order of the setting, and the fallback; their own settings have been checked when they were read.
    """
    named = (*settings.alert_channels, *([settings.alert_fallback] if settings.alert_fallback else []))
    return [channel(name, settings) for name in dict.fromkeys(named)]


def channel(name: str, settings: Settings) -> AlertChannel:
    """
    Build one channel.
    """
    if name == "slack":
        return SlackAlertChannel(
            settings.slack_bot_token or "",
            settings.slack_channel or "",
            critical_channel=settings.slack_critical_channel,
            base_url=settings.slack_base_url,
        )
    if name == "email":
        return EmailAlertChannel(
            settings.smtp_host or "",
            settings.smtp_port,
            sender=settings.smtp_from or "",
            recipients=settings.smtp_to,
            tls=SmtpTls(settings.smtp_tls) if settings.smtp_starttls else SmtpTls.NONE,
            username=settings.smtp_username,
            password=settings.smtp_password,
            ca_file=_authority(settings.smtp_ca_file),
        )
    if name == "webhook":
        return WebhookAlertChannel(settings.webhook_url or "", settings.webhook_secret or "", now_s=time.time)
    return ConsoleAlertChannel(sys.stdout)


def _authority(path: Path | None) -> str | None:
    if path is not None and not path.is_file():
        raise InvalidSettings(f"smtp_ca_file: no file {str(path)!r}; name the PEM file, or leave the setting empty")
    return None if path is None else str(path)


def policies(settings: Settings) -> Mapping[str, ChannelPolicy]:
    """
    Return what each channel may be burdened with; the console, which wakes nobody, is spared quiet hours and storms.
    """
    hours = settings.alert_quiet_hours
    quiet = QuietHours.parse(hours, settings.alert_time_zone) if hours else None
    return {name: _policy(POLICIES[name], settings, quiet) for name in POLICIES}


def _policy(policy: ChannelPolicy, settings: Settings, quiet: QuietHours | None) -> ChannelPolicy:
    if policy.storm is None:
        return policy
    scale = policy.storm.enter_groups / StormLimits().enter_groups
    enter = int(settings.alert_storm_groups * scale)
    storm = msgspec.structs.replace(
        policy.storm, enter_groups=enter, leave_groups=max(1, enter // 3), alone_major=settings.alert_storm_amount_major
    )
    return msgspec.structs.replace(policy, storm=storm, quiet=quiet)


def links(settings: Settings) -> Links:
    """
    Return what messages offer beside their words: buttons only where somebody can receive what they send.
    """
    return Links(
        case_url=settings.alert_case_url or "",
        runbook_url=settings.alert_runbook_url or "",
        overview_url=settings.alert_overview_url or "",
        buttons=settings.slack_signing_secret is not None,
    )
