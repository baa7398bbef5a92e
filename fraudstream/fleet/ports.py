"""
What the fleet needs from a distance, as contracts: streams, decisions, channels, time.

Nothing here knows a vendor. Every contract says what may be called twice, what blocks, and what is left behind on an error.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from fraudstream.domain.alert import Alert
from fraudstream.domain.decision import Decision, Label


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """
    One stream entry in our hands.

    ``entry_id`` is Redis' own (``<ms>-<n>``). ``fields`` is None when the entry was trimmed before we read it. ``deliveries``
    counts how often it was handed out, this time included; from 2 on it is a suspect and travels alone.
    """

    entry_id: bytes
    fields: Mapping[bytes, bytes] | None
    deliveries: int = 1

    @property
    def received_at_ms(self) -> int:
        """
        When the entry was added to its stream, in milliseconds by the clock of Redis.
        """
        return int(self.entry_id.partition(b"-")[0])


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """
    Why we gave up on a delivery, or on one part of it.

    ``fields`` are what the dead letter keeps, card numbers already masked. ``part`` names the part (a transaction id inside an
    entry of many decisions); an entry may leave one letter per part, and one only.
    """

    entry_id: bytes
    reason: str
    error: str
    fields: Mapping[bytes, bytes]
    part: str = ""


class Handled(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of a batch. Every delivery of it stands in exactly one of the first three.

    ``settled``: the stage acknowledged it in the very step of its effect. ``done``: the effect is durable, the fleet is to
    acknowledge. ``retry``: entry id to the seconds after which it is due again. ``letters`` are written before anything in
    ``done`` is acknowledged.
    """

    settled: Sequence[bytes] = ()
    done: Sequence[bytes] = ()
    retry: Mapping[bytes, float] = {}
    letters: Sequence[Letter] = ()


class Stage(Protocol):
    """
    The work of one consumer group.

    ``work`` may be called twice for the same delivery and must make the second call harmless. It raises ``TransientError`` when
    a server is away: the fleet keeps the batch in hand and calls again after a pause, without counting an attempt. Any other
    exception is taken as the fault of some delivery: the fleet works each one alone, gives the culprit back to be tried later,
    and after the attempt limit calls ``give_up``.
    """

    async def work(self, batch: Sequence[Delivery]) -> Handled:
        """
        Do the work of a batch in the order of its entry ids. Trimmed deliveries never come here.
        """
        ...

    async def give_up(self, delivery: Delivery, error: str) -> Handled:
        """
        End a delivery that failed too often: leave a letter, and whatever keeps others from waiting for it.
        """
        ...


class Clock(Protocol):
    """
    The time of Redis, so that all machines agree; it may be some milliseconds behind.
    """

    def now_ms(self) -> int:
        """
        Return milliseconds since 1970 UTC; never blocks.
        """
        ...


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a decision store did: ``stored`` ids are new rows, ``known`` ids had one before, ``refused`` maps an id to the reason
    why the database will never take it.
    """

    stored: Sequence[str] = ()
    known: Sequence[str] = ()
    refused: Mapping[str, str] = {}


class DecisionStore(Protocol):
    """
    The durable truth: one row per transaction id, however often it is offered.
    """

    async def record(self, decisions: Sequence[Decision]) -> Recorded:
        """
        Store decisions in one database transaction, durable on return; a second call with the same ids changes nothing.

        Ids may repeat within the batch; the first one counts. One bad decision condemns only itself.

        Raises:
            DecisionStoreUnavailable: Nothing of this call may be assumed, stored or not; call again.
        """
        ...

    async def record_labels(self, labels: Sequence[Label]) -> Recorded:
        """
        Store labels, keyed by ``label_id``; the ids in the answer are label ids. Promises and errors as in ``record``.
        """
        ...


class AlertChannel(Protocol):
    """
    One way to tell people.
    """

    @property
    def name(self) -> str:
        """
        One of ``slack``, ``email``, ``webhook``, ``console``; a metric label and a field of the outbox.
        """
        ...

    async def send(self, alert: Alert) -> None:
        """
        Send one alert; on return the channel has accepted it. A second call sends a second message.

        Raises:
            AlertFailed: Not accepted; ``permanent`` says whether trying again can help. A time-out is not permanent, although
                the channel may have accepted the alert.
        """
        ...

    async def close(self) -> None:
        """
        Give back connections; the channel is not used afterwards.
        """
        ...


class AlertOutbox(Protocol):
    """
    Which channels are settled for which flagged transaction; the pending entries of the stream are the queue.
    """

    async def settled(self, transaction_ids: Sequence[str]) -> list[Mapping[str, str]]:
        """
        Return, for each transaction, channel name to outcome of those already settled.
        """
        ...

    async def settle(
        self, delivery: Delivery, transaction_id: str, channel: str, outcome: str, *, channels: int, letter: Mapping[str, str]
    ) -> bool:
        """
        Note the outcome of one channel and acknowledge the entry when all ``channels`` are settled, in one step.

        Calling it twice changes nothing. Outcome ``undeliverable`` also writes ``letter`` to ``alerts:undeliverable``.

        Returns:
            True once every channel is settled (or the entry is no longer ours); False while others are to follow.
        """
        ...
