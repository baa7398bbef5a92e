"""
How streams, groups and consumers stand at one moment: read in an adapter, judged in ``app``, shown in ``cli``.
"""

from collections.abc import Mapping

import msgspec


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """
    One consumer of one group.

    ``alive`` says that its heartbeat has not run out; ``quiet_s`` is how long ago it did, or how long the consumer has not
    asked for anything where it never beat, 0 while it lives. One that is ``stepping_in`` belongs to a worker of another group
    and answers only for what is overdue.
    """

    name: str
    pending: int = 0
    alive: bool = True
    quiet_s: float = 0.0
    stepping_in: bool = False


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a consumer met ``times`` within half a minute: ``about`` says what with, ``says`` what it was, in its words.
    """

    consumer: str
    about: str
    says: str
    times: int


class PendingEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    One entry that was read and not acknowledged; ``age_s`` counts from when it was added to the stream.
    """

    stream: str
    group: str
    entry_id: str
    consumer: str
    consumer_alive: bool
    idle_s: float
    age_s: float
    deliveries: int


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """
    One consumer group of one stream.

    ``exists`` is False where the group was expected and is not there: everything on the stream then counts as lag. ``known``
    groups are those of the fleet. ``lag_entries`` is corrected, None where nobody can tell; ``lag_told`` says whether Redis
    itself could. ``retrying_entries`` are pending ones that wait for their next try. Ages are 0 where nothing waits.
    """

    stream: str
    group: str
    exists: bool
    known: bool = True
    lag_entries: int | None = 0
    lag_told: bool = True
    oldest_unread_age_s: float = 0.0
    last_delivered_id: str = "0-0"
    pending_entries: int = 0
    retrying_entries: int = 0
    oldest_pending_age_s: float = 0.0
    oldest_pending: PendingEntry | None = None
    consumers: tuple[Consumer, ...] = ()
    complaints: tuple[Complaint, ...] = ()

    @property
    def workers(self) -> tuple[Consumer, ...]:
        """
        Who reads new entries: alive, and not merely stepping in.
        """
        return tuple(one for one in self.consumers if one.alive and not one.stepping_in)

    @property
    def gone(self) -> tuple[Consumer, ...]:
        """
        Who was killed or lost its way, the latest first.
        """
        return tuple(sorted((one for one in self.consumers if not one.alive), key=lambda one: one.quiet_s))


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """
    One stream; ``memory_bytes`` is what Redis reports, up to four times too high.
    """

    stream: str
    exists: bool
    entries: int = 0
    memory_bytes: int = 0
    oldest_age_s: float = 0.0
    last_id: str = "0-0"
    groups: int = 0


class Letters(msgspec.Struct, frozen=True, kw_only=True):
    """
    A stream that people must look at.

    ``counts`` tells the newest ``counted`` entries apart: dead letters by reason, undeliverable alerts by channel.
    """

    stream: str
    entries: int = 0
    oldest_age_s: float = 0.0
    counted: int = 0
    counts: Mapping[str, int] = {}


class ServerProblem(msgspec.Struct, frozen=True, kw_only=True):
    """
    Why a server could lose our data as it is configured; ``kind`` is version, eviction, persistence or cluster.
    """

    kind: str
    says: str


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """
    The server that the streams live on.

    ``memory_limit_bytes`` 0 is no limit. ``answer_ms`` is what the first look took; ``clock_ahead_s``
    says how far its clock is ahead of ours, exact to half of that.
    """

    name: str
    version: str
    answer_ms: float
    clock_ahead_s: float
    memory_bytes: int
    memory_limit_bytes: int
    eviction_policy: str
    append_only: bool
    last_append_ok: bool
    last_rewrite_ok: bool
    evicted_keys: int
    replica: bool
    clients: int
    uptime_s: int
    problems: tuple[ServerProblem, ...] = ()


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything at once, at ``at_ms`` by the clock of the server.

    ``alerts_waiting`` counts, by channel, the alerts that are due within the next minute.
    """

    at_ms: int
    server: ServerState
    streams: tuple[StreamState, ...]
    groups: tuple[GroupState, ...]
    dead_letters: Letters
    undeliverable: Letters
    alerts_waiting: Mapping[str, int] = {}
