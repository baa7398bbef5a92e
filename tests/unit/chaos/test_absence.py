import pytest

from fraudstream.chaos.absence import Crowd


@pytest.mark.parametrize(("seen", "allowed_s"), [((0.5,), 2.25), ((1.0, 1.0), 2.25), ((2.0, 4.0), 6.25)])
def test_a_crowded_machine_has_as_much_more_time_for_its_seconds_and_the_deadline_stays(
    seen: tuple[float, ...], allowed_s: float
) -> None:
    assert Crowd(*seen).allowed_s(0.25) == pytest.approx(allowed_s)


def test_a_look_at_this_machine_allows_no_less_than_a_quiet_one_has() -> None:
    crowd = Crowd()

    crowd.look()

    assert crowd.allowed_s(0.25) >= 2.25
