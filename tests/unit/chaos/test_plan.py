import pytest

from fraudstream.chaos.plan import AGAIN, HEAVY, PROFILES, STOP_POINTS, beats
from fraudstream.fleet.crash import POINTS


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_seed_plans_the_same_faults_again_and_another_one_others(name: str) -> None:
    profile = PROFILES[name]

    again, other = beats(profile, 7), beats(profile, 8)

    assert beats(profile, 7) == again
    assert other != again


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_plan_holds_at_least_what_the_profile_needs(name: str) -> None:
    profile = PROFILES[name]

    faults = [fault.name for beat in beats(profile, 7) for fault in beat]

    own = ("fenced", "together", "poison", "sigterm")
    short = {one: faults.count(one) for one, least in profile.least.items() if one not in own and faults.count(one) < least}
    assert short == {}
    assert profile.undecodable + profile.raises + profile.kills_poison >= profile.least.get("poison", 0)


def test_the_model_is_away_only_while_the_deadline_is_on() -> None:
    profile = PROFILES["full"]

    places = [number for number, beat in enumerate(beats(profile, 7)) for fault in beat if fault.name == "model_stop"]

    assert len(places) == profile.model_stops
    assert min(places) > profile.beats * profile.whole


def test_great_faults_come_after_the_small_ones_of_their_beat() -> None:
    planned = beats(PROFILES["full"], 7)

    assert all(
        names == sorted(names, key=lambda one: one in HEAVY) for beat in planned if (names := [one.name for one in beat])
    )


def test_workers_are_stopped_at_places_that_exist() -> None:
    assert set(STOP_POINTS) <= set(POINTS)


def test_the_profiles_reach_the_bars_of_the_project() -> None:
    commit, full = PROFILES["commit"], PROFILES["full"]

    assert commit.transactions >= 20_000
    assert commit.least["sigkill"] >= 100
    assert commit.crash_hits >= 3
    assert commit.least["sigstop"] >= 20
    assert commit.least["connection"] >= 50
    assert commit.least["poison"] >= 25
    assert (commit.least["redis_kill"], commit.least["flushall"], commit.least["promotion"]) == (2, 1, 1)
    assert full.transactions >= 250_000
    assert full.least["sigkill"] >= 1_000


def test_what_is_done_again_is_asked_for_and_takes_no_server_away() -> None:
    assert set(AGAIN) <= PROFILES["commit"].least.keys() & PROFILES["full"].least.keys()
    assert {fault.name for fault in AGAIN.values()}.isdisjoint(HEAVY)
    assert {fault.detail for fault in AGAIN.values() if fault.name == "sigstop"} <= {"", *STOP_POINTS}
