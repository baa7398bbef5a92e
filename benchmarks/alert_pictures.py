"""
The pictures of docs/alerts.md, drawn by Chromium from what is sent: ``python benchmarks/alert_pictures.py [FOLDER]``.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fraudstream.adapters.email_message import email_message  # noqa: E402 the folder must be known first
from fraudstream.adapters.slack_limits import problems  # noqa: E402
from fraudstream.adapters.slack_message import slack_message  # noqa: E402
from fraudstream.domain.alert import Answer, Message  # noqa: E402
from fraudstream.domain.moments import moment  # noqa: E402
from tests.support.alerts import a_digest, a_notice  # noqa: E402
from tests.support.builders import NOW_MS  # noqa: E402
from tests.support.slack_page import slack_page  # noqa: E402

LINKS = {"case_url": "https://cases.example/al_0123456789abcdef", "runbook_url": "https://runbooks.example/card-testing"}
GROUP = {
    "transactions": 37,
    "value": ("12,480.00 EUR", "310.50 USD"),
    "outcomes": {"block": 31, "review": 6},
    "buttons": True,
    "last_at": moment(NOW_MS + 221_000),
    **LINKS,
}
DEGRADED = "degraded: decided without the model (no answer in time)"


def _slack(message: Message, **more: Any) -> dict[str, Any]:
    built = slack_message(message)
    assert problems(built) == [], problems(built)
    return {**built, **more}


def pages() -> dict[str, tuple[str, int, int]]:
    """
    Return the pages, each with width and height in pixels.
    """
    reply = {"text": "37 payments by now, 12,480.00 EUR + 310.50 USD", "thread_ts": "1", "at": "12:04 PM"}
    marked = {"text": "Marked fraud by @ann", "thread_ts": "1", "at": "12:09 PM"}
    answered = a_notice(**{**GROUP, "answer": Answer.FRAUD, "answered_by": "@ann"})
    single = a_notice(buttons=True, subject="this card", degraded=DEGRADED, **LINKS)
    mails = {
        "alert-mail": email_message(a_notice(**GROUP), sender="a@bank.example", recipients=["b@bank.example"]),
        "alert-mail-digest": email_message(
            a_digest(over=True, snoozes=("many cards for one card",)), sender="a@bank.example", recipients=["b@bank.example"]
        ),
    }
    return {
        "alert-slack": (slack_page("# fraud-critical", [_slack(a_notice(**GROUP), edited=True), reply]), 760, 690),
        "alert-slack-answered": (slack_page("# fraud-critical", [_slack(answered, edited=True), marked]), 760, 690),
        "alert-slack-single": (slack_page("# fraud-alerts", [_slack(single)]), 760, 600),
        "alert-slack-digest": (slack_page("# fraud-alerts", [_slack(a_digest(), edited=True)]), 760, 420),
        **{name: (_html(mail), 700, 730 if name == "alert-mail" else 520) for name, mail in mails.items()},
    }


def _html(mail: Any) -> str:
    return str(mail.get_body(("html",)).get_content())


def main() -> int:
    """
    Draw every page into a file.
    """
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no Chromium here; nothing is drawn", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        for name, (page, width, height) in pages().items():
            source = Path(scratch) / f"{name}.html"
            source.write_text(page, encoding="utf-8")
            command = [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--user-data-dir={scratch}/profile",
            ]
            command += [f"--window-size={width},{height}", f"--screenshot={folder / name}.png", source.as_uri()]
            subprocess.run(command, check=True, capture_output=True, timeout=120)  # noqa: S603 our own words
            print(folder / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
