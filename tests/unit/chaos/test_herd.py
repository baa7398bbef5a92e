from pathlib import Path

from fraudstream.chaos.herd import Herd
from fraudstream.chaos.plan import PROFILES


def test_workers_are_replaced_in_turns_that_leave_each_group_its_others(tmp_path: Path) -> None:
    herd = Herd(tmp_path, lambda _: {}, PROFILES["commit"].groups, "", lambda _animal, _event: None)

    turns = herd.turns()

    assert sorted(animal.place for turn in turns for animal in turn) == sorted(animal.place for animal in herd.animals)
    for turn in turns:
        served = [group for animal in turn for group in animal.serves]
        assert len(set(served)) == len(served)
    assert len(turns) == 3
