import time

import pytest

from fraudstream.telemetry import troubles
from fraudstream.telemetry.troubles import Troubles


def test_each_kind_of_complaint_is_told_once_with_its_times_and_newest_words():
    told = Troubles()
    told.note("model", "first", 3)
    told.note("model", "second", 4)
    told.note("slack", "slack does not take our messages")

    found = {one.about: (one.says, one.times) for one in told.lately()}

    assert found == {"model": ("second", 7), "slack": ("slack does not take our messages", 1)}


def test_what_is_over_is_not_told_again(monkeypatch: pytest.MonkeyPatch):
    told = Troubles()
    told.note("model", "gone")
    later = time.monotonic() + troubles.LATELY_S + 1
    monkeypatch.setattr(troubles.time, "monotonic", lambda: later)

    assert told.lately() == []


def test_what_an_error_says_of_a_person_is_taken_out():
    told = Troubles()
    told.note("work", "bad value 4111 1111 1111 1111 of jane@example.com")

    assert told.lately()[0].says == "bad value [PAN *1111] of j***@example.com"
