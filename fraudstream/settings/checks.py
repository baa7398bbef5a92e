"""
What must hold between settings, or beyond what a type can say.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fraudstream.domain.currency import EXPONENTS
from fraudstream.settings.declared import BOTH_DECIDING_GROUPS, CATALOGUE, GROUPS, Settings

#: The stream that each group reads, unpartitioned.
GROUP_STREAMS: dict[str, str] = {
    "fraud-check": "transactions:raw",
    "ml-scoring": "transactions:raw",
    "recorder": "transactions:decisions",
    "alerter": "transactions:fraud",
    "labels": "transactions:labels",
}
#: What each channel cannot do without.
_CHANNEL_NEEDS: dict[str, tuple[str, ...]] = {
    "slack": ("slack_bot_token", "slack_channel"),
    "email": ("smtp_host", "smtp_from", "smtp_to"),
    "webhook": ("webhook_url",),
}


def misfits(settings: Settings) -> Iterator[tuple[str, Sequence[str]]]:
    """
    Yield what is wrong between settings, or beyond what a type can say, and which settings it is about.
    """
    for group in settings.groups:
        if group not in GROUPS:
            known = (*GROUPS, BOTH_DECIDING_GROUPS)
            yield f"consumer_group {group!r} is unknown; known are {', '.join(known)}", ["consumer_group"]
        if group in {"recorder", "labels"} and not settings.postgres_url:
            yield f"group {group} needs POSTGRES_URL", ["consumer_group", "postgres_url"]
        wanted = GROUP_STREAMS.get(group)
        if settings.stream in set(GROUP_STREAMS.values()) - {wanted} and wanted is not None:
            yield f"group {group} reads {wanted}, not {settings.stream}", ["consumer_group", "stream"]
    if settings.currency not in EXPONENTS:
        hint = did_you_mean(settings.currency.upper(), EXPONENTS)
        yield f"currency {settings.currency!r} is no ISO 4217 code{hint}", ["currency"]
    if not settings.heartbeat_life_s <= settings.claim_idle_s <= settings.hard_idle_s:
        text = "heartbeat_life_s must not be longer than claim_idle_s, nor that longer than hard_idle_s"
        yield text, ["heartbeat_life_s", "claim_idle_s", "hard_idle_s"]
    if "+cluster://" in settings.redis_url and settings.partitions == 1:
        yield "a cluster needs partitions, a multiple of its servers: set FRAUDSTREAM_PARTITIONS", ["redis_url", "partitions"]
    yield from _tls_misfits(settings)
    yield from _alert_misfits(settings)


def _tls_misfits(settings: Settings) -> Iterator[tuple[str, Sequence[str]]]:
    files = ["redis_ca_file", "redis_cert_file", "redis_key_file"]
    if any(getattr(settings, name) for name in files) and not settings.redis_url.startswith("rediss"):
        yield "certificates for Redis are set, but REDIS_URL does not begin with rediss:// (or rediss+)", ["redis_url", *files]
    if (settings.redis_cert_file is None) != (settings.redis_key_file is None):
        yield "redis_cert_file and redis_key_file must be set together", files[1:]


def _alert_misfits(settings: Settings) -> Iterator[tuple[str, Sequence[str]]]:
    for channel in settings.alert_channels:
        for name in _CHANNEL_NEEDS.get(channel, ()):
            if not getattr(settings, name):
                yield f"alert channel {channel} needs {CATALOGUE[name].variables[0]}", ["alert_channels", name]
    if settings.smtp_username and not settings.smtp_password:
        yield "smtp_username is set without smtp_password", ["smtp_username", "smtp_password"]
    try:
        ZoneInfo(settings.alert_time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield f"alert_time_zone {settings.alert_time_zone!r} is no time zone; write it as Europe/Berlin", ["alert_time_zone"]
    for name in _CHANNEL_NEEDS.get(settings.alert_fallback or "", ()):
        if not getattr(settings, name):
            yield f"alert_fallback {settings.alert_fallback} needs {CATALOGUE[name].variables[0]}", ["alert_fallback", name]
    if settings.smtp_password and not settings.smtp_starttls:
        yield "smtp_password would travel in clear: smtp_starttls must not be false", ["smtp_password", "smtp_starttls"]
    if settings.smtp_password and settings.smtp_tls == "none":
        yield "smtp_password would travel in clear: smtp_tls must not be none", ["smtp_password", "smtp_tls"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """
    Return a hint to append to a sentence, empty when nothing known is close.
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
