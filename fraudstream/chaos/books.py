"""
The books of a run, and a single-threaded account of what must stand in them: exact sets, not counts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from fraudstream.adapters.postgres_books import Recorded, Row
from fraudstream.adapters.redis_books import Emitted, Letter
from fraudstream.chaos.absence import Absence
from fraudstream.chaos.letters import key_of
from fraudstream.chaos.traffic import Item
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.features.definitions import SLOT, FeatureSet
from fraudstream.features.inspected import entity_kinds
from fraudstream.features.kernel import compute
from fraudstream.features.layout import IDENTITY_BYTES, RecordLayout
from fraudstream.features.records import Records, records
from fraudstream.features.states import Standing, States

#: Recomputed at once.
_BATCH = 512


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that was gathered at the end of a run.

    ``sent`` is what the producer sent by key, ``attempts`` how often, ``history`` the keys sent since everything was last lost.
    ``rewritten`` are keys whose first history was lost, ``without_model`` those that came while nobody scored.
    """

    features: FeatureSet
    sent: Mapping[str, Item]
    attempts: Mapping[str, int]
    history: set[str]
    rewritten: set[str]
    without_model: Mapping[str, Absence]
    books: Recorded
    emitted: Emitted
    letters: Sequence[Letter]
    alerts: Mapping[str, int]
    logs: Mapping[str, bytes]
    rings: Mapping[str, bytes]
    deadline_on: bool


class Findings(msgspec.Struct, kw_only=True):
    """
    What is wrong, as counts, and in ``notes`` the first examples of each.
    """

    lost: int = 0
    doubled: int = 0
    counter_errors: int = 0
    counters_checked: int = 0
    vector_errors: int = 0
    vectors_checked: int = 0
    dead_letter_innocents: int = 0
    dead_letter_missing: int = 0
    dead_letter_doubled: int = 0
    alerts_missing: int = 0
    alerts_lost_with_history: int = 0
    alerts_doubled: int = 0
    labels_lost: int = 0
    late: int = 0
    degraded: int = 0
    flagged: int = 0
    notes: list[str] = msgspec.field(default_factory=list)

    def note(self, what: str, examples: Iterable[object]) -> int:
        """
        Keep some examples of something wrong, and return how many there are.
        """
        found = list(examples)
        if found:
            self.notes.append(f"{what}: {len(found)}, such as {', '.join(map(str, found[:3]))}")
        return len(found)


def audit(evidence: Evidence) -> Findings:
    """
    Compare the books with what must stand in them.
    """
    found = Findings()
    _rows(evidence, found)
    _letters(evidence, found)
    _alerts(evidence, found)
    transactions = {
        key: parse_transaction(item.body, now_ms=2**62, default_currency="USD")
        for key, item in evidence.sent.items()
        if item.kind in ("payment", "poison")
    }
    now = [transactions[key] for key in evidence.history & transactions.keys()]
    before = [transactions[key] for key in (evidence.rewritten - evidence.history) & transactions.keys()]
    _counters(evidence, now, before, found)
    _vectors(evidence, transactions, found)
    return found


def _rows(evidence: Evidence, found: Findings) -> None:
    wanted = {key for key, item in evidence.sent.items() if item.kind in ("payment", "poison")}
    rows = Counter(row.transaction_id for row in evidence.books.rows)
    labels = {key for key, item in evidence.sent.items() if item.kind == "label"}
    found.lost = found.note("lost: no row", wanted - rows.keys())
    found.lost += found.note(
        "lost: in the ledger without a row, or the other way round", evidence.books.ledger.keys() ^ rows.keys()
    )
    found.doubled = found.note("doubled: rows", (key for key, count in rows.items() if count > 1))
    found.doubled += found.note("doubled: rows of nobody", rows.keys() - wanted)
    found.doubled += found.note(
        "doubled: decisions emitted", (key for key, count in evidence.emitted.decisions.items() if count > 1)
    )
    found.doubled += found.note("doubled: fraud entries", (key for key, count in evidence.emitted.frauds.items() if count > 1))
    found.lost += found.note("lost: flagged without a fraud entry", evidence.emitted.flagged - evidence.emitted.frauds.keys())
    found.labels_lost = found.note("labels lost", labels - evidence.books.labels)
    found.degraded = sum(row.degraded for row in evidence.books.rows)
    found.flagged = sum(row.outcome != "approve" for row in evidence.books.rows)
    found.late = found.note(
        "decided late without the model",
        (
            f"{row.transaction_id} after {(row.decided_at - row.received_at).total_seconds():.1f} s"
            for row in evidence.books.rows
            if (absence := evidence.without_model.get(row.transaction_id)) is not None and _is_late(row, absence)
        ),
    )


def _is_late(row: Row, absence: Absence) -> bool:
    """
    Say whether a decision took too long, or was not there before the model was again.
    """
    took_s = (row.decided_at - row.received_at).total_seconds()
    return took_s > absence.allowed_s or row.decided_at.timestamp() > absence.back_at_s


def _letters(evidence: Evidence, found: Findings) -> None:
    """
    Each poison once, nobody else. What cannot be decoded has no id: there each entry has its letter, and it may have been sent
    more than once where a reply was lost.
    """
    poison = {key: item.kind for key, item in evidence.sent.items() if item.kind in ("poison", "undecodable")}
    about = Counter(key_of(letter) for letter in evidence.letters)
    entries = Counter((letter.source, letter.entry_id) for letter in evidence.letters)
    found.dead_letter_innocents = found.note(
        "dead letters of innocents",
        (
            f"{key_of(one)} ({one.reason}: {one.fields.get(b'error', b'')!r})"
            for one in evidence.letters
            if key_of(one) not in poison
        ),
    )
    found.dead_letter_missing = found.note("poison without a letter", poison.keys() - about.keys())
    found.dead_letter_doubled = found.note("entries with two letters", (entry for entry, count in entries.items() if count > 1))
    found.dead_letter_doubled += found.note(
        "poison with too many letters",
        (key for key, kind in poison.items() if about[key] > (evidence.attempts[key] if kind == "undecodable" else 1)),
    )


def _alerts(evidence: Evidence, found: Findings) -> None:
    flagged = {row.transaction_id for row in evidence.books.rows if row.outcome != "approve"}
    missing = flagged - evidence.alerts.keys()
    # What is on record is not sent again after a flush, and who had not been told of it by then is never told.
    found.alerts_lost_with_history = len(missing & evidence.rewritten)
    found.alerts_missing = found.note("flagged and nobody told", missing - evidence.rewritten)
    found.alerts_doubled = sum(count - 1 for count in evidence.alerts.values())


def _counters(evidence: Evidence, now: Sequence[Transaction], before: Sequence[Transaction], found: Findings) -> None:
    """
    Hold each log and ring against what was sent since everything was last lost.

    A worker that had a transaction in hand when that happened touches it again: it did happen, so it may be counted, once.
    """
    features = evidence.features
    rows = records(features, [*now, *_stale(evidence, before)])
    logs, rings = _expected_logs(features, rows), _expected_rings(features, rows)
    wrong = [*(evidence.logs.keys() - logs.keys()), *(evidence.rings.keys() - rings.keys())]
    wrong += [
        f"{key} {_log_difference(features, key, evidence.logs.get(key, b''), hashes)}"
        for key, hashes in logs.items()
        if not _log_is_right(features, key, evidence.logs.get(key, b""), hashes)
    ]
    wrong += [key for key, slots in rings.items() if not _ring_is_right(evidence.rings.get(key, b""), slots)]
    found.counters_checked = len(logs) + len(rings)
    found.counter_errors = found.note("counters", wrong)


def _stale(evidence: Evidence, before: Sequence[Transaction]) -> list[Transaction]:
    """
    Return those from before the loss that stand in a log now; whether once and in all of their logs is the caller's to check.
    """
    if not before:
        return []
    features = evidence.features
    held = {
        record[:IDENTITY_BYTES] for key, raw in evidence.logs.items() for record in _split(raw, _layout(features, key).size)
    }
    rows = records(features, before)
    return [one for row, one in enumerate(before) if rows.identity(row) in held]


def _layout(features: FeatureSet, key: str) -> RecordLayout:
    """
    Return how the records of a log look, by its key ``log:<layout>:<kind>:<id>``.
    """
    return features.layouts[key.split(":", 3)[2]]


def _split(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def _expected_logs(features: FeatureSet, rows: Records) -> dict[str, Counter[bytes]]:
    expected: dict[str, Counter[bytes]] = defaultdict(Counter)
    for kind, layout in features.layouts.items():
        for entity, packed in zip(rows.entities[kind], rows.packed[kind], strict=True):
            if entity is not None:
                expected[f"log:{layout.id}:{kind}:{entity}"][packed[: layout.flag_offset]] += 1
    return expected


def _held(layout: RecordLayout, raw: bytes) -> Counter[bytes]:
    """
    Count the records of a log, whatever became known of them since.
    """
    return Counter(record[: layout.flag_offset] for record in _split(raw, layout.size))


def _log_is_right(features: FeatureSet, key: str, raw: bytes, wanted: Counter[bytes]) -> bool:
    """
    Say whether a log holds each of its records once; a full one may have dropped its oldest.
    """
    layout = _layout(features, key)
    held = _held(layout, raw)
    if held == wanted:
        return True
    was_full = sum(wanted.values()) > features.log_cap_records
    kept = features.log_cap_records - features.log_cap_records // 4
    return was_full and held <= wanted and len(raw) >= kept * layout.size


def _log_difference(features: FeatureSet, key: str, raw: bytes, wanted: Counter[bytes]) -> str:
    held = _held(_layout(features, key), raw)
    return f"({(held - wanted).total()} too many, {(wanted - held).total()} missing of {wanted.total()})"


def _expected_rings(features: FeatureSet, rows: Records) -> dict[str, dict[int, tuple[int, int, float]]]:
    """
    Return, per ring and byte offset of a slot, its newest bucket with count and sum: the same in whatever order they came.
    """
    expected: dict[str, dict[int, tuple[int, int, float]]] = defaultdict(dict)
    for kind in features.rings:
        for entity, second, amount in zip(rows.entities[kind], rows.occurred_s.tolist(), rows.amounts.tolist(), strict=True):
            if entity is None:
                continue
            slots = expected[f"ring:{features.ring_layout}:{kind}:{entity}"]
            for resolution_ms, offset, length in features.ring_resolutions:
                bucket = second * 1000 // resolution_ms
                at = offset + SLOT.itemsize * (bucket % length)
                newest, count, total = slots.get(at, (bucket, 0, 0.0))
                if newest < bucket:
                    slots[at] = (bucket, 1, amount)
                elif newest == bucket:
                    slots[at] = (bucket, count + 1, total + amount)
    return expected


def _ring_is_right(raw: bytes, wanted: Mapping[int, tuple[int, int, float]]) -> bool:
    size = SLOT.itemsize
    raw += b"\0" * (-len(raw) % size)
    slots = np.frombuffer(raw, SLOT)
    held = {
        n * size: (int(slot["bucket"]), int(slot["count"]), float(slot["sum"])) for n, slot in enumerate(slots) if slot["count"]
    }
    return held == dict(wanted)


def _vectors(evidence: Evidence, transactions: Mapping[str, Transaction], found: Findings) -> None:
    """
    Compute every vector again from what stands before its record in the logs; features that look at rings cannot be rewound.
    """
    features = evidence.features
    kinds = entity_kinds(features)
    columns = [n for n, name in enumerate(features.names) if not kinds[name] & set(features.rings)]
    rows = [
        row
        for row in evidence.books.rows
        if row.feature_set == features.id
        and row.vector
        and row.transaction_id in transactions
        and row.transaction_id not in evidence.rewritten
    ]
    wrong: list[str] = []
    for at in range(0, len(rows), _BATCH):
        wrong += _differing(evidence, rows[at : at + _BATCH], transactions, columns, found)
    found.vector_errors = found.note("vectors that are not those of the log", wrong)


def _differing(
    evidence: Evidence, rows: Sequence[Row], transactions: Mapping[str, Transaction], columns: Sequence[int], found: Findings
) -> list[str]:
    features = evidence.features
    batch = [transactions[row.transaction_id] for row in rows]
    prepared = records(features, batch)
    logs = {
        kind: [evidence.logs.get(f"log:{layout.id}:{kind}:{one}", b"") for one in prepared.entities[kind]]
        for kind, layout in features.layouts.items()
    }
    rings = {kind: [b""] * len(batch) for kind in features.rings}
    again = compute(features, batch, prepared, [Standing.SEEN] * len(batch), States(logs=logs, rings=rings))
    capped = {kind: features.log_cap_bytes(kind) - features.log_drop_bytes(kind) for kind in features.logs}
    wrong: list[str] = []
    for n, row in enumerate(rows):
        if any(len(logs[kind][n]) >= capped[kind] for kind in features.logs):
            continue  # its past may have been dropped since
        found.vectors_checked += 1
        theirs = np.frombuffer(row.vector, "<f4")[columns]
        ours = again[n][columns]
        differ = np.flatnonzero((theirs != ours) & ~(np.isnan(theirs) & np.isnan(ours)))
        if len(differ):
            wrong.append(f"{row.transaction_id} ({', '.join(features.names[columns[at]] for at in differ[:4])})")
    return wrong
