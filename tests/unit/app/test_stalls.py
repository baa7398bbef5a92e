from collections import Counter

from fraudstream.app.loaded_fleet import BY_TAKEOVERS, EVERY_LOOK, IN_TAKEOVERS, TAKEOVER_CPU, looks_between, stalls_in
from fraudstream.telemetry.labels import STALL_BUCKETS_S
from fraudstream.telemetry.metrics import Metrics


def page(*stalls_s: float, name: str = EVERY_LOOK) -> str:
    counts = {f"{bound}": sum(one <= bound for one in stalls_s) for bound in (*map(float, STALL_BUCKETS_S), float("inf"))}
    names = {"inf": "+Inf"}
    return "\n".join(
        f'fraudstream_{name}_seconds_bucket{{le="{names.get(bound, bound)}"}} {float(count)}' for bound, count in counts.items()
    )


def test_only_stalls_between_the_two_looks_count_all_workers_together():
    found = stalls_in(looks_between([page(0.2), page()], [page(0.2, 0.012, 0.06), page(0.001, 0.03)]))

    assert (found.looks, found.longest_ms) == (4, 75.0)
    assert found.over == {"20_ms": 2, "50_ms": 1, "100_ms": 0}


def test_a_stall_beyond_every_bucket_has_no_bound():
    assert stalls_in(looks_between([page()], [page(60.0)])).longest_ms is None


def test_the_page_of_a_worker_has_the_bounds_that_are_asked_for():
    assert {0.02, 0.05, 0.1} <= set(STALL_BUCKETS_S)
    known = {one.name for one in Metrics().catalogue()}
    assert {f"fraudstream_{name}_seconds" for name in (EVERY_LOOK, IN_TAKEOVERS, BY_TAKEOVERS, TAKEOVER_CPU)} <= known


def test_stretches_add_up_and_each_histogram_stands_for_itself():
    after = page(0.06) + "\n" + page(0.2, name=BY_TAKEOVERS)
    counts = Counter(looks_between([page()], [after])) + Counter(looks_between([page()], [page(0.06, 0.001)]))

    assert stalls_in(counts).over == {"20_ms": 2, "50_ms": 2, "100_ms": 0}
    assert stalls_in(looks_between([page(name=BY_TAKEOVERS)], [after], BY_TAKEOVERS)).over["100_ms"] == 1
