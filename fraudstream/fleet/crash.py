"""
Labelled places at which a worker can be made to end: where the proof of the protocol kills.

They are passed once per batch or entry and nothing happens there, unless this process was armed, which only the worker entry
point of ``fraudstream chaos`` does: no setting and no environment variable can.
"""

from collections.abc import Callable

#: Every labelled place, with what has just happened there.
POINTS: dict[str, str] = {
    "read": "new entries were read",
    "claimed": "entries of somebody who is gone were taken over",
    "overdue": "overdue entries of the lagging group were taken over",
    "touched": "the states were moved",
    "computed": "the features were computed",
    "judged": "the verdicts are there and nobody was told",
    "completed": "verdicts were noted or decisions emitted",
    "joining": "the other group's verdict came back, to be joined",
    "stepped_in": "overdue entries were completed with no opinion",
    "given_up": "the letter of an entry was written, its verdict of no opinion was not",
    "buried": "dead letters were written, their entries are not acknowledged",
    "acknowledged": "entries were acknowledged",
    "later": "an entry was given back, to be tried later",
    "recording": "decisions were decoded, nothing is stored",
    "inserted": "rows were inserted, the transaction is not committed",
    "recorded": "rows were committed, nothing is acknowledged",
    "sending": "an alert is about to be sent",
    "sent": "an alert was sent, and that is not noted",
    "settled": "it is noted that an alert was sent",
    "labelled": "labels were stored, nothing is acknowledged",
}

_act: Callable[[str], None] | None = None


def here(point: str) -> None:
    """
    Pass a labelled place.
    """
    if _act is not None:
        _act(point)


def arm(act: Callable[[str], None]) -> None:
    """
    Have ``act`` called with the name of each place that this process passes.
    """
    global _act  # noqa: PLW0603 one switch for the process
    _act = act
