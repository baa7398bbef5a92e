"""
What the alerter needs from a distance: the book of alert groups, which outlives every process, and the channels.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from fraudstream.domain.alert import Alert, Answer, Message, Severity
from fraudstream.fleet.ports import Delivery
from fraudstream.stages.alert_grouping import Bearing
from fraudstream.stages.alert_policy import Fold, Storm


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    """
    One flagged decision on its way into its group. ``major`` is the amount in major units, whatever the currency.
    """

    delivery: Delivery
    transaction_id: str
    alert: Alert
    bearing: Bearing
    amount_minor: int
    currency: str
    major: float


class Folded(StrEnum):
    """
    What became of a flagged decision.
    """

    OPENED = "opened"  #: it opened a group
    JOINED = "joined"  #: it joined one
    KNOWN = "known"  #: it is in a group already
    GONE = "gone"  #: the entry is no longer in our hands


class AlertGroup(msgspec.Struct, frozen=True, kw_only=True):
    """
    One alert group, or one digest of groups, as the book has it.

    ``values`` are minor units by currency, ``outcomes`` count decisions. ``revision`` changes when there is something to tell.
    ``bearing`` holds the entity's token in place of its id; that of a digest holds its reason as ``family``. ``alert`` is None
    in a digest only.
    """

    alert_id: str
    digest: bool
    revision: str
    severity: Severity
    bearing: Bearing
    alert: Alert | None
    transactions: int
    values: Mapping[str, int]
    major: float
    outcomes: Mapping[str, int]
    opened_ms: int
    last_ms: int
    previous: str = ""
    merchant: str = ""
    over: bool = False
    muted: int = 0
    answer: Answer = Answer.OPEN
    answered_by: str = ""
    acknowledged_by: str = ""
    snoozed_by: str = ""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one channel knows of a group: how many payments it ``told`` of, where its message stands (``place``, a word of the
    channel's own), the severity and the reply that it told last, and failed ``tries`` since ``failed_since_ms``.
    """

    told: int = 0
    place: str = ""
    severity: Severity | None = None
    reply: str = ""
    digest: str = ""
    tries: int = 0
    failed_since_ms: int | None = None


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """
    A group that is due on a channel.
    """

    group: AlertGroup
    shown: Shown


class View(msgspec.Struct, frozen=True, kw_only=True):
    """
    A channel as its leader sees it: the ``storm``, when the newest groups were opened (newest first), what is due.

    ``next_ms`` is when the next group is due, None when none waits.
    """

    now_ms: int
    storm: Storm | None
    opened_ms: Sequence[int]
    due: Sequence[Errand]
    next_ms: int | None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of one message. ``action`` says what was done: posted, updated, replied.

    ``retry_s`` is set where the message was taken and its reply was not: so long until the reply is tried again. ``letter`` is
    what ``alerts:undeliverable`` keeps, empty unless the outcome is ``undeliverable``.
    """

    errand: Errand
    outcome: str
    action: str
    place: str = ""
    recipient: str = ""
    reply: str = ""
    gap_s: float = 0.0
    retry_s: float | None = None
    fallback: str = ""
    error: str = ""
    letter: Mapping[str, str] = {}


class DigestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a digest tells beside its own totals: how many groups, those with the highest amounts, payments by family and merchant,
    and the snoozes in force (``rule|entity|entity_id``).
    """

    groups: int
    top: Sequence[AlertGroup]
    families: Sequence[tuple[str, int]]
    merchants: Sequence[tuple[str, int]]
    snoozes: Sequence[str]


class AlertFolder(Protocol):
    """
    Takes flagged decisions into their groups.
    """

    async def fold(self, raised: Sequence[Raised]) -> list[Folded]:
        """
        Put each decision into its group, schedule the group on every channel, and acknowledge the entry, each in one step.

        A second call changes nothing: a transaction is in exactly one group.

        Raises:
            StreamUnavailable: Some may have been folded; call again.
        """
        ...


class AlertBook(Protocol):
    """
    The alert groups as the leader of one channel works them. One process leads a channel at a time; for whoever has lost the
    lead every call changes nothing. Every method raises ``StreamUnavailable``, after which nothing may be assumed.
    """

    async def look(self, channel: str, *, openings: int) -> View | None:
        """
        Take or keep the lead and see what is due, the earliest first; None while another process leads.
        """
        ...

    async def blow(self, channel: str, storm: Storm | None) -> None:
        """
        Note the weather; None closes the storm's digest, which is then due to say so.
        """
        ...

    async def digest(
        self, channel: str, fold: Fold, errands: Sequence[Errand], *, due_ms: int, gap_s: float, life_s: float
    ) -> None:
        """
        Fold groups into the open digest for that reason. Their payments count as told by it. The digest is due at ``due_ms``,
        and once it was told, ``gap_s`` after that.
        """
        ...

    async def facts(self, digest_id: str) -> DigestFacts:
        """
        Return what a digest tells beside its totals.
        """
        ...

    async def members(self, alert_id: str, first: int, end: int) -> list[str]:
        """
        Return the transaction ids of a group from one place in its order to another, at most some hundreds.
        """
        ...

    async def settle(self, channel: str, settled: Settled) -> list[int] | None:
        """
        Note what became of a message; return when each payment that it was the first to tell of was decided, in milliseconds.

        None when the lead was lost: the message was sent all the same, and the new leader may send it again.
        """
        ...

    async def defer(self, channel: str, errand: Errand, delay_s: float, *, counted: bool, fallback: str = "") -> None:
        """
        Try again after a delay; ``counted`` adds a failed try. ``fallback`` then tells the group too, if it has not.
        """
        ...

    async def resign(self, channel: str) -> None:
        """
        Give up the lead, so that another process takes it at once.
        """
        ...


class Threads(Protocol):
    """
    Where replies can be put under a message.
    """

    async def reply(self, words: str, message: Message, place: str) -> None:
        """
        Put words under a message. Raises as ``AlertChannel.post``.
        """
        ...


class AlertChannel(Protocol):
    """
    One way to tell people.
    """

    @property
    def name(self) -> str:
        """
        One of ``slack``, ``email``, ``webhook``, ``console``; a metric label and a word in the book.
        """
        ...

    @property
    def threads(self) -> Threads | None:
        """
        Takes replies under a message; None where there is no such place.
        """
        ...

    def recipient(self, message: Message) -> str:
        """
        Say who is told: for the records.
        """
        ...

    async def post(self, message: Message) -> str:
        """
        Send a first message; on return the channel has accepted it. A second call sends a second message.

        Returns:
            The place where the message stands, by which it can be found again.

        Raises:
            AlertFailed: Not accepted; ``permanent`` says whether trying again can help. A time-out is not permanent, although
                the channel may have accepted the message.
        """
        ...

    async def update(self, message: Message, place: str) -> str:
        """
        Tell anew what a message of ours says, in place where the channel can, else as a message that follows the first.

        Calling it twice is harmless where it works in place. Returns and raises as ``post``.
        """
        ...

    async def close(self) -> None:
        """
        Give back connections; the channel is not used afterwards.
        """
        ...
