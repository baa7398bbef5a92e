"""
What the verdict stages need from a distance: entity states that move once, and the ledger of verdicts that joins two groups.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.decision import Decision, Label
from fraudstream.domain.decision_codec import VerdictRecord
from fraudstream.domain.evidence import Fallback, Verdict
from fraudstream.domain.transaction import Transaction
from fraudstream.features.records import Records
from fraudstream.features.states import States


class Place(StrEnum):
    """
    Where a transaction stands for a group when it is touched.
    """

    __hash__ = str.__hash__  # that of an enumeration is written in Python, and every payment is counted by its place

    FIRST = "first"  #: its states were moved by this very call
    AGAIN = "again"  #: they had been moved before; there is no verdict yet
    LATE = "late"  #: it is older than the deduplication horizon: its states were left alone
    OTHER = "other"  #: the other group's verdict is there
    DUPLICATE = "done"  #: this group is done with it; the entry, a second one of the same id, was acknowledged here
    GONE = "gone"  #: this group is done with it, and the entry is no longer pending


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """
    The answer to a touch, one place per transaction.

    ``others`` holds, by position in the batch, the first verdicts that were found. ``states`` is as of after the touch.
    """

    places: Sequence[Place]
    others: Mapping[int, VerdictRecord]
    states: States


class Judge(Protocol):
    """
    What a group knows about fraud.
    """

    @property
    def step(self) -> str:
        """
        The name of the judging step in metrics: ``rules`` or ``model``.
        """
        ...

    @property
    def deadline_fallback(self) -> Fallback:
        """
        The reason code when the group did not answer in time.
        """
        ...

    async def judge(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[Verdict]:
        """
        Return one verdict per row. A pure function of the rows and of the rule set or model.
        """
        ...

    def no_opinion(self, reason: Fallback) -> Verdict:
        """
        Return the verdict of a group that could not look.
        """
        ...


class EntityStore(Protocol):
    """
    The histories that features look at. A transaction moves each of its entities once, however often it is touched.
    """

    async def touch(self, entry_ids: Sequence[bytes], transactions: Sequence[Transaction], records: Records) -> Touched:
        """
        Move the entity states of a batch and read them back, mostly in one round trip. A second call moves nothing.

        Raises:
            StreamUnavailable: States may have been moved; call again.
        """
        ...


class LabelledStates(Protocol):
    """
    The label-fed part of the histories. Of several labels of one transaction the one that was given last stands.
    """

    async def tell(self, labels: Sequence[tuple[Label, Transaction]]) -> int:
        """
        Move the states of each labelled transaction, and return how many labels were new. A second call moves nothing.

        A label that says ``unsure`` moves nothing either.

        Raises:
            StreamUnavailable: States may have been moved; call again.
        """
        ...


class DecisionFinder(Protocol):
    """
    The decisions on record, by transaction.
    """

    async def find(self, transaction_id: str) -> Decision | None:
        """
        Return the decision on record; None when there is none.

        Raises:
            DecisionStoreUnavailable: Call again.
        """
        ...


class Completion(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    The verdict of one group on one delivery, ready to be noted or to complete the join.

    ``basis`` is the write id of the other group's record that ``decision`` was computed from, empty when there was none yet.
    """

    entry_id: bytes
    transaction_id: str
    verdict: Verdict
    feature_set: str
    vector: bytes
    basis: bytes = b""
    decision: Decision | None = None


class Answer(StrEnum):
    """
    What the ledger did with one completion.
    """

    __hash__ = str.__hash__  # as above

    STORED = "stored"  #: first verdict noted, acknowledged
    EMITTED = "emitted"  #: decision emitted, acknowledged
    UNNEEDED = "unneeded"  #: a second entry of this id, or decided already; acknowledged
    OTHER = "other"  #: the other group's verdict is there: decide from it and call again
    GONE = "gone"  #: no longer in our hands: drop it
    ABSENT = "absent"  #: the record is lost with a part of Redis' history: touch again
    TOGETHER = "together"  #: decided from both groups' verdicts at once, acknowledged in both
    APART = "apart"  #: not in our hands in both groups, or somebody has noted a verdict: nothing was done


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """
    The answers to a batch of completions, in order; by position ``others`` where the answer is OTHER, and the records that
    were ``noted`` where it is STORED.
    """

    now_ms: int
    answers: Sequence[Answer]
    others: Mapping[int, VerdictRecord]
    noted: Mapping[int, VerdictRecord]


class FirstVerdicts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a look found, by position: the other group's verdicts in ``others``, in ``coming`` those that may yet get one, and in
    ``decided`` those that were decided for both groups.
    """

    others: Mapping[int, VerdictRecord]
    coming: Sequence[int]
    decided: Sequence[int] = ()


class VerdictLedger(Protocol):
    """
    Joins the verdicts of two groups: the first is stored with its vector, the second emits the decision, once. A decision
    whose basis is lost is not kept as a first verdict: its answer is ABSENT.
    """

    async def verdicts(self, transaction_ids: Sequence[str]) -> FirstVerdicts:
        """
        Look for the other group's verdicts; nothing is moved, noted or acknowledged.

        Raises:
            StreamUnavailable: Call again.
        """
        ...

    async def joined(self, spans: Sequence[tuple[bytes, bytes]]) -> list[bool]:
        """
        Say of each span of the stream, from an entry id to another, whether the other group has brought all of it to its end.

        Raises:
            StreamUnavailable: Call again.
        """
        ...

    async def complete(self, completions: Sequence[Completion]) -> Completed:
        """
        Note or join verdicts and acknowledge their entries, each in one step. Give them in the order of their entry ids.

        Calling again is harmless: the first verdict of a group wins, and a decision is emitted only against the very record
        that it was computed from.

        Raises:
            StreamUnavailable: Some may have been completed; call again.
        """
        ...

    async def decide(self, completions: Sequence[Completion], beside: str) -> Completed:
        """
        Emit decisions made from the verdicts of both groups, and acknowledge their entries in both, each in one step: where
        nobody has noted a verdict, and this consumer and consumer ``beside`` of the other group hold the entry. Give them in
        the order of their entry ids.

        Calling again is harmless; the answers are TOGETHER and APART.

        Raises:
            StreamUnavailable: Some may have been decided; call again.
        """
        ...


class VerdictReport(Protocol):
    """
    What the verdict stages tell about themselves; every method returns at once and never raises.
    """

    def touched(self, places: Sequence[Place]) -> None:
        """
        A batch was touched.
        """
        ...

    def completed(self, answers: Sequence[Answer]) -> None:
        """
        A batch was completed.
        """
        ...

    def decided(self, decisions: Sequence[Decision], latencies_s: Sequence[float]) -> None:
        """
        This worker emitted decisions, each so long after its entry was added.
        """
        ...

    def invalid(self, reason: str) -> None:
        """
        A delivery was no transaction.
        """
        ...

    def timed(self, step: str, seconds: float) -> None:
        """
        One step of a batch took so long: decode, features, rules, model, complete.
        """
        ...

    def rules_failed(self, errors: Mapping[str, int]) -> None:
        """
        Rules could not be evaluated on so many rows, by rule id.
        """
        ...

    def fell_back(self, reason: str, error: str, transactions: int) -> None:
        """
        A verdict was replaced by no opinion, for so many transactions.
        """
        ...
