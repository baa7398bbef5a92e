"""
Collects what the dashboards show of a real fleet, under load and during a drill, for ``shoot.mjs`` to draw.

``PYTHONPATH=. python tools/dashpreview/collect.py OUT`` writes ``load.json`` and ``drill.json``: for each dashboard its JSON,
and the answer to each of its queries.
"""

import asyncio
import json
import signal
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from fraudstream.dashboards.files import BOARDS, built
from fraudstream.dashboards.panels import CHOSEN
from fraudstream.dashboards.queries import filled, filled_sql
from tests.support.drills import Fleet, _beside, _poison

#: How long the fleet works before the first picture, and how long the drill lasts, in seconds.
_LOAD_S, _DRILL_S = 75.0, 35.0
_STEP_S = 1


def main() -> None:
    """
    Run the fleet, look twice, and write what was seen.
    """
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with Fleet(Path(tempfile.mkdtemp(prefix="fraudstream-pictures-"))) as fleet:
        started = time.time()
        time.sleep(_LOAD_S)
        (out / "load.json").write_text(json.dumps(_seen(fleet, started + 8)))
        fleet.workers["ml-scoring"].signal(signal.SIGUSR1)
        fleet.slack.blocked = True
        with _beside(lambda stop: _poison(fleet, stop)):
            time.sleep(_DRILL_S / 2)
            fleet.workers["recorder"].kill()
            time.sleep(_DRILL_S / 2)
            (out / "drill.json").write_text(json.dumps(_seen(fleet, started + 8)))


def _seen(fleet: Fleet, since: float) -> dict[str, Any]:
    until = time.time()
    texts = built()
    boards = []
    for board in BOARDS:
        answers = []
        for panel in board.panels():
            if board.source == "prometheus":
                queries = [
                    filled(q.replace("$J", CHOSEN), scrape_s=1.25, span=f"{int(until - since)}s") for q, _ in panel.queries
                ]
                answers.append([_ask(fleet.prometheus.url, q, since, until, instant=panel.instant) for q in queries])
            else:
                answers.append([asyncio.run(_rows(fleet.system.postgres.url, q)) for q, _ in panel.queries])
        boards.append({"dashboard": json.loads(texts[board.file]), "answers": answers})
    return {"from": since * 1000, "to": until * 1000, "boards": boards}


def _ask(url: str, query: str, since: float, until: float, *, instant: bool) -> list[Any]:
    wanted = {"query": query} | (
        {"time": f"{until}"} if instant else {"start": f"{since}", "end": f"{until}", "step": f"{_STEP_S}"}
    )
    path = "query" if instant else "query_range"
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(wanted)}", timeout=20) as reply:  # noqa: S310
        return list(json.load(reply)["data"]["result"])


async def _rows(url: str, query: str) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    since, until = (now - timedelta(days=7)).isoformat(), (now + timedelta(hours=1)).isoformat()
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(filled_sql(query, since=since, until=until))
    finally:
        await connection.close()
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp() * 1000
    return value if value is None or isinstance(value, bool | str | int | float) else float(value)


if __name__ == "__main__":
    main()
