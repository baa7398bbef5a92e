"""
Presses of Slack's buttons as Slack sends them: a signed form.
"""

import json
import time
from typing import Any
from urllib.parse import quote_plus

import aiohttp

from fraudstream.adapters.slack_interactions import PATH, sign

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


def a_press(action: str, alert_id: str, **changes: Any) -> dict[str, Any]:
    """
    Return the payload of a press.
    """
    payload: dict[str, Any] = {
        "type": "block_actions",
        "user": {"id": "U1", "username": "ann"},
        "actions": [{"action_id": action, "block_id": "alert_actions", "value": json.dumps({"v": 1, "alert": alert_id})}],
    }
    return {**payload, **changes}


async def press(
    base_url: str,
    payload: dict[str, Any],
    *,
    secret: str = SECRET,
    at_s: float | None = None,
    headers: dict[str, str] | None = None,
) -> int:
    """
    Send a payload, signed now or ``at_s``, and return the status.
    """
    body = b"payload=" + quote_plus(json.dumps(payload)).encode()
    stamp = int(time.time() if at_s is None else at_s)
    signed = {"X-Slack-Request-Timestamp": str(stamp), "X-Slack-Signature": sign(secret, stamp, body)}
    sent = {"Content-Type": "application/x-www-form-urlencoded", **signed, **(headers or {})}
    async with aiohttp.ClientSession() as session, session.post(f"{base_url}{PATH}", data=body, headers=sent) as answer:
        return answer.status
