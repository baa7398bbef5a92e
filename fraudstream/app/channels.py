"""
The alert channels that the settings name.
"""

import sys
import time

from fraudstream.adapters.console import ConsoleAlertChannel
from fraudstream.adapters.email import EmailAlertChannel, SmtpTls
from fraudstream.adapters.slack import SlackAlertChannel
from fraudstream.adapters.webhook import WebhookAlertChannel
from fraudstream.fleet.ports import AlertChannel
from fraudstream.settings import Settings


def channels(settings: Settings) -> list[AlertChannel]:
    """
    Build the channels in the order of the setting; their own settings have been checked when they were read.
    """
    return [_channel(name, settings) for name in settings.alert_channels]


def _channel(name: str, settings: Settings) -> AlertChannel:
    if name == "slack":
        return SlackAlertChannel(settings.slack_bot_token or "", settings.slack_channel or "", base_url=settings.slack_base_url)
    if name == "email":
        return EmailAlertChannel(
            settings.smtp_host or "",
            settings.smtp_port,
            sender=settings.smtp_from or "",
            recipients=settings.smtp_to,
            tls=SmtpTls.STARTTLS if settings.smtp_starttls else SmtpTls.NONE,
            username=settings.smtp_username,
            password=settings.smtp_password,
        )
    if name == "webhook":
        return WebhookAlertChannel(settings.webhook_url or "", settings.webhook_secret or "", now_s=time.time)
    return ConsoleAlertChannel(sys.stdout)
