import msgspec
import pytest

from fraudstream.adapters.redis_troubles import complaints_in
from fraudstream.app.findings import Level
from fraudstream.app.health import _complaints
from fraudstream.fleet.overview import Complaint, GroupState
from fraudstream.telemetry.troubles import Trouble


def a_group(group: str, *complaints: tuple[str, str, int]) -> GroupState:
    told = tuple(Complaint(consumer="a", about=about, says=says, times=times) for about, says, times in complaints)
    return GroupState(stream="transactions:raw", group=group, exists=True, complaints=told)


@pytest.mark.parametrize(
    ("complaint", "level", "about", "words"),
    [
        (("model", "RuntimeError()", 12), Level.FAIL, "model", "the model failed on 12 transactions"),
        (("rules", "rule R1 cannot be evaluated", 1), Level.FAIL, "rules", "the rules failed on 1 row"),
        (("writes", "2.1 s", 2), Level.WARN, "group ml-scoring", "2 writes to the database took longer than a second"),
        (("slack", "slack throttles us", 2), Level.WARN, "alerts", "2 tries failed"),
        (("slack", "slack throttles us", 3), Level.FAIL, "alerts", "people do not hear of fraud on slack"),
    ],
)
def test_a_complaint_is_judged_by_its_kind(complaint: tuple[str, str, int], level: Level, about: str, words: str):
    (found,) = _complaints(a_group("ml-scoring", complaint))

    assert (found.level, found.about) == (level, about)
    assert words in found.says
    assert complaint[1] in found.says
    assert found.command


def test_the_same_complaint_of_two_workers_is_one_finding():
    (found,) = _complaints(a_group("ml-scoring", ("model", "a", 5), ("model", "b", 6)))

    assert "11 transactions" in found.says


def test_a_complaint_that_is_not_repeated_is_over():
    note = msgspec.json.encode((1_000_000, [Trouble(about="model", says="x", times=1)]))

    assert [one.says for one in complaints_in([b"worker", note], 1_010_000)] == ["x"]
    assert complaints_in({b"worker": note}, 1_020_000) == ()
    assert complaints_in(None, 0) == ()
