"""
What the fleet needs from a distance, as contracts: streams, decisions, channels, time.

Nothing here knows a vendor. Every contract says what may be called twice, what blocks, and what is left behind on an error.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from fraudstream.domain.decision import Decision, Label

#: Up to here being handed out again is counted, which makes a suspect and convicts nobody. From here on an entry is tried
#: alone, and counted is what that brings to light.
TRIED_ALONE = 3
#: So many deaths that may have had another reason weigh as much as one that had not.
DOUBTS = 4


class Delivery(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    One stream entry in our hands.

    ``entry_id`` is Redis' own (``<ms>-<n>``). ``fields`` is None when the entry was trimmed before we read it. ``deliveries``
    counts how often it was handed out, this time included, up to ``TRIED_ALONE``; what is more are tries alone that failed, or
    that whoever tried it did not survive. From 2 on it is a suspect and travels alone.
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


class Accused(Enum):
    """
    What a try of one entry alone means if the process dies of it: it counts, or it does not; or it should not be made, because
    others of the group come first, or because the entry is no longer ours.
    """

    COUNTED = "counted"
    NOT_COUNTED = "not counted"
    OTHERS_FIRST = "others first"
    GONE = "gone"


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


class TransactionStream(Protocol):
    """
    One stream as one consumer of one group sees it.

    Every method raises ``StreamUnavailable`` when Redis is away: assume nothing then; everything may be called again.
    """

    @property
    def name(self) -> str:
        """
        The full name of the stream.
        """
        ...

    @property
    def group(self) -> str:
        """
        The name of the consumer group.
        """
        ...

    async def open(self) -> None:
        """
        Make sure that the group exists, from the very first entry on.
        """
        ...

    async def read(self, count: int, block_ms: int) -> list[Delivery]:
        """
        Return new entries, waiting at most ``block_ms`` for the first. Never cancel this call: the reply would be stranded.
        """
        ...

    async def stranded(self, in_hand: Collection[bytes], idle_ms: int) -> list[Delivery]:
        """
        Return entries that are ours by the books, idle for so long, and not in hand: their reply was lost on the way.
        """
        ...

    async def due(self, count: int) -> list[Delivery]:
        """
        Take entries whose delay (``later``) is over; a suspect comes alone.
        """
        ...

    async def claim(self, count: int) -> list[Delivery]:
        """
        Take entries of consumers that are gone, from where the last call stopped looking; a suspect comes alone.
        """
        ...

    async def later(self, entry_id: bytes, delay_s: float, *, failed: int = 0) -> bool:
        """
        Give an entry back, to be taken up again after a delay by anybody; False when it was no longer ours.

        Where the entry itself failed, ``failed`` is the count that it comes back with at least, once it is tried alone.
        """
        ...

    async def accuse(self, entry_id: bytes, deliveries: int, *, proven: bool, alone: bool) -> Accused:
        """
        Have an entry counted as handed out so often, before it is tried by itself: if this process dies of it the count stands.
        A second call sets the same count again.

        Where the process is not ``proven`` to live through other entries, its death may have any reason. Then the group's other
        entries come first, as they show it. Where there is none that was not itself tried alone, and where the process is not
        ``alone`` with it, each ``DOUBTS`` tries of an entry count once: else two entries of which workers die would do so for
        ever while nothing else comes, and one of them beside work of another group that hangs.
        """
        ...

    async def acquit(self, entry_id: bytes, deliveries: int) -> None:
        """
        Take back what was said of an entry that is still ours: the process lived. ``deliveries`` is what it was before.
        """
        ...

    async def bury(self, letter: Letter) -> bool:
        """
        Write a dead letter, once per entry and part, while the entry is ours; True when this call wrote it.
        """
        ...

    async def entomb(self, entry_id: bytes) -> bool:
        """
        Write the dead letter of an entry whose body was trimmed before anybody worked it; True when this call wrote it.
        """
        ...

    async def acknowledge(self, entry_ids: Sequence[bytes]) -> None:
        """
        Tell Redis that the effects of these entries are durable.
        """
        ...

    async def hand_back(self, entry_ids: Sequence[bytes]) -> None:
        """
        Give back entries that were not worked, so that others take them at once; counts no delivery.
        """
        ...

    async def leave(self) -> None:
        """
        Stop beating, and forget this consumer if it holds nothing.
        """
        ...


class TransactionIntake(Protocol):
    """
    Where producers hand in transactions.
    """

    async def append(self, bodies: Sequence[bytes]) -> list[bytes]:
        """
        Append bodies in their order, each as one entry, in a handful of round trips; return their entry ids in that order.

        A second call with the same bodies appends them a second time: the fleet drops transactions that it knows.

        Raises:
            AdmissionRefused: The intake is full; nothing of this call was appended.
            StreamUnavailable: Nothing may be assumed: none, some or all of it was appended. Calling again loses nothing.
        """
        ...


class Heart(Protocol):
    """
    The sign of life of one consumer; called from a thread of its own.
    """

    def beat(self, in_hand: Sequence[bytes]) -> list[bytes]:
        """
        Extend our life and keep the entries in hand from being claimed; return those that are no longer ours.

        Raises:
            StreamUnavailable: Nothing was extended, or we cannot know.
        """
        ...

    def close(self) -> None:
        """
        Close the connection; called once, last.
        """
        ...


class OverdueSource(Protocol):
    """
    The entries of a lagging group that others have waited for long enough.
    """

    async def overdue(self, count: int) -> tuple[list[Delivery], bool]:
        """
        Take entries over in the lagging group, without counting a delivery; True when more are due at once.

        Nothing is taken in the first look after a standstill of our own or of the server's: the other group may have stood
        still with us, and is given until the next.
        """
        ...


class FleetReport(Protocol):
    """
    What the runtime tells about itself; every method returns at once and never raises.
    """

    def ticked(self) -> None:
        """
        The loop is alive.
        """
        ...

    def read(self, entries: int) -> None:
        """
        One read returned so many entries.
        """
        ...

    def reclaimed(self, entries: int) -> None:
        """
        So many entries were taken over from consumers that are gone.
        """
        ...

    def in_hand(self, entries: int) -> None:
        """
        So many entries are being worked on.
        """
        ...

    def handled(self, entries: int, letters: int) -> None:
        """
        A batch of so many entries met its end, and so many letters were written for it.
        """
        ...

    def spent(self, cpu_s: float) -> None:
        """
        The work of a batch took so much CPU of the thread of the loop.
        """
        ...

    def gave_up(self, error: str) -> None:
        """
        An entry was given up after too many tries.
        """
        ...

    def retried(self, reason: str, error: str, *, entries: int, pause_s: float) -> None:
        """
        Work will be tried again: ``reason`` is unavailable (a server is away) or failed (a delivery is at fault).
        """
        ...

    def buried(self, reason: str, entry_id: str, error: str) -> None:
        """
        A dead letter was written.
        """
        ...

    def changed(self, state: str) -> None:
        """
        The worker is now starting, running, draining or stopped.
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
    why the database will never take it. ``flagged`` is how many of the stored decisions are.
    """

    stored: Sequence[str] = ()
    known: Sequence[str] = ()
    refused: Mapping[str, str] = {}
    flagged: int = 0


class DecisionStore(Protocol):
    """
    The durable truth: one row per transaction id, however often it is offered.
    """

    async def record(self, decisions: Iterable[Decision]) -> Recorded:
        """
        Store decisions in one database transaction, durable on return; a second call with the same ids changes nothing.

        They are gone through once, and none need be kept. Ids may repeat among them; the first one counts. One bad decision
        condemns only itself.

        Raises:
            DecisionStoreUnavailable: Nothing of this call may be assumed, stored or not; call again.
        """
        ...

    async def record_labels(self, labels: Sequence[Label]) -> Recorded:
        """
        Store labels, keyed by ``label_id``; the ids in the answer are label ids. Promises and errors as in ``record``.
        """
        ...
