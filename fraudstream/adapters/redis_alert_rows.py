"""
Between the hash of an alert group in Redis and the nouns of the stage.
"""

from collections.abc import Mapping, Sequence

import msgspec

from fraudstream.domain.alert import Alert, Answer
from fraudstream.stages.alert_grouping import Bearing
from fraudstream.stages.alert_notice import SEVERITIES
from fraudstream.stages.alert_policy import Storm
from fraudstream.stages.alert_ports import AlertGroup, Errand, Shown

_alerts = msgspec.json.Decoder(Alert)
_storms = msgspec.json.Decoder(Storm)


def fields_of(flat: Sequence[bytes]) -> dict[str, str]:
    """
    Return a reply of field, value … as a mapping.
    """
    return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}


def group_of(fields: Mapping[str, str]) -> AlertGroup:
    """
    Read the hash of a group.
    """
    return AlertGroup(
        alert_id=fields["id"],
        digest=fields["kind"] == "digest",
        revision=fields.get("rev", "0"),
        severity=SEVERITIES[max(0, int(fields["sev"]))],
        bearing=Bearing(
            family=fields.get("family", ""),
            rule_id=fields.get("rule_id", ""),
            entity=fields.get("entity", ""),
            entity_id=fields.get("entity_id", ""),
        ),
        alert=_alerts.decode(fields["alert"]) if "alert" in fields else None,
        transactions=int(fields.get("n", 0)),
        values=_prefixed(fields, "value:"),
        major=float(fields.get("major", 0)),
        outcomes=_prefixed(fields, "outcome:"),
        opened_ms=int(fields["opened"]),
        last_ms=int(fields.get("last", fields["opened"])),
        previous=fields.get("previous", ""),
        merchant=fields.get("merchant", ""),
        over="over" in fields,
        muted=int(fields.get("muted", 0)),
        answer=Answer(fields.get("answer", "")),
        answered_by=fields.get("answered_by", ""),
        acknowledged_by=fields.get("acknowledged_by", ""),
        snoozed_by=fields.get("snoozed_by", ""),
    )


def errand_of(fields: Mapping[str, str], channel: str) -> Errand:
    """
    Read the hash of a group as one channel sees it.
    """
    return Errand(group=group_of(fields), shown=shown_of(fields, channel))


def shown_of(fields: Mapping[str, str], channel: str) -> Shown:
    """
    Read what one channel knows of a group.
    """
    severity, since = fields.get(f"{channel}:sev"), fields.get(f"{channel}:since")
    return Shown(
        told=int(fields.get(f"{channel}:told", 0)),
        place=fields.get(f"{channel}:place", ""),
        severity=SEVERITIES[int(severity)] if severity else None,
        reply=fields.get(f"{channel}:reply", ""),
        digest=fields.get(f"{channel}:digest", ""),
        tries=int(fields.get(f"{channel}:tries", 0)),
        failed_since_ms=int(since) if since else None,
    )


def channels_of(fields: Mapping[str, str]) -> list[str]:
    """
    Return the channels that were told of a group.
    """
    return sorted(name.removesuffix(":told") for name in fields if name.endswith(":told"))


def storm_of(text: bytes) -> Storm | None:
    """
    Read the weather of a channel.
    """
    return _storms.decode(text) if text else None


def storm_text(storm: Storm | None) -> bytes:
    """
    Write the weather of a channel.
    """
    return b"" if storm is None else msgspec.json.encode(storm)


def _prefixed(fields: Mapping[str, str], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): int(value) for name, value in fields.items() if name.startswith(prefix)}
