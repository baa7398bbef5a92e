"""
Whether Slack knows our token; nothing is posted.
"""

from collections.abc import Mapping

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from fraudstream.adapters.slack import SLACK_API
from fraudstream.domain.errors import AlertFailed

_TIMEOUT_S = 5


async def check_slack(token: str, *, base_url: str = SLACK_API) -> str:
    """
    Ask Slack who we are (``auth.test``) and return bot and workspace.

    Raises:
        AlertFailed: It refused the token, or did not answer; the text is Slack's own word.
    """
    try:
        answer = await AsyncWebClient(token, base_url=base_url, timeout=_TIMEOUT_S, retry_handlers=[]).auth_test()
    except SlackApiError as exc:
        # A body that is no JSON comes as the HTTP library's own answer.
        data = getattr(exc.response, "data", None)
        word = data.get("error") if isinstance(data, Mapping) else None
        raise AlertFailed("slack", str(word or "the answer is not one of Slack"), permanent=bool(word)) from None
    except (aiohttp.ClientError, TimeoutError, OSError, SlackClientError, AttributeError) as exc:
        raise AlertFailed("slack", f"no answer: {type(exc).__name__}", permanent=False) from None
    return f"{answer.get('user', 'a bot')} of {answer.get('team', 'a workspace')}"
