from fraudstream.app.loaded_fleet import stalls_between
from fraudstream.telemetry.labels import STALL_BUCKETS_S
from fraudstream.telemetry.metrics import Metrics


def page(*stalls_s: float) -> str:
    counts = {f"{bound}": sum(one <= bound for one in stalls_s) for bound in (*map(float, STALL_BUCKETS_S), float("inf"))}
    names = {"inf": "+Inf"}
    return "\n".join(
        f'fraudstream_event_loop_stall_seconds_bucket{{le="{names.get(name, name)}"}} {float(count)}'
        for name, count in counts.items()
    )


def test_only_stalls_between_the_two_looks_count_all_workers_together():
    found = stalls_between([page(0.2), page()], [page(0.2, 0.012, 0.06), page(0.001, 0.03)])

    assert (found.looks, found.longest_ms) == (4, 75.0)
    assert found.over == {"20_ms": 2, "50_ms": 1, "100_ms": 0}


def test_a_stall_beyond_every_bucket_has_no_bound():
    assert stalls_between([page()], [page(60.0)]).longest_ms is None


def test_the_page_of_a_worker_has_the_bounds_that_are_asked_for():
    assert {0.02, 0.05, 0.1} <= set(STALL_BUCKETS_S)
    assert any(one.name == "fraudstream_event_loop_stall_seconds" for one in Metrics().catalogue())
