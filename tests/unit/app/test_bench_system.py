"""
Which processes the benchmarks measure.
"""

import pytest

from fraudstream.app.bench_system import processes_of


@pytest.mark.parametrize(
    ("each", "apart", "deciding"),
    [
        (1, False, ["fraud-group"]),
        (1, True, ["fraud-check", "ml-scoring"]),
        (2, False, ["fraud-check", "ml-scoring"] * 2),
    ],
)
def test_a_single_process_serves_both_deciding_groups_unless_they_are_apart(
    each: int, apart: bool, deciding: list[str]
) -> None:
    assert processes_of(each, apart=apart) == [*deciding, "recorder", "alerter"]
