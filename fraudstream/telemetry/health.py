"""
The health check of a container: ``python -m fraudstream.telemetry.health PORT`` ends with 0 while the loop comes round.
"""

import sys
import time
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

#: As long as the alert FraudstreamWorkerStuck waits.
STUCK_S = 30.0


def problem(url: str, now_s: float) -> str | None:
    """
    Say what is wrong with the process behind a ``/metrics`` page, None when nothing is. One without a loop need only answer.
    """
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 -- the caller's own loopback address
            text = reply.read().decode()
    except (urllib.error.URLError, OSError) as error:
        return f"{url} does not answer: {error}"
    for family in text_string_to_metric_families(text):
        if family.name == "fraudstream_worker_heartbeat_timestamp_seconds":
            age_s = now_s - family.samples[0].value
            return f"the loop last came round {age_s:.0f} s ago" if age_s > STUCK_S else None
    return None


def main() -> int:
    """
    Check the port given as the first argument.
    """
    found = problem(f"http://127.0.0.1:{int(sys.argv[1])}/metrics", time.time())
    sys.stdout.write(f"{found or 'healthy'}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
