"""
Entity states from beside the groups: where they stand, reading them without a touch, and telling them what became known.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import Keys
from fraudstream.adapters.redis_scripts import LABELS_TOLD, Argument, Call, run
from fraudstream.domain.decision import Label, LabelValue
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FRAUD_FLAG, LEGITIMATE_FLAG, FeatureSet
from fraudstream.features.records import Records, records
from fraudstream.features.states import Standing, States

#: Most labels of one script call: each may read several whole logs, and longer scripts keep everybody else waiting.
_CALL_LABELS = 64
#: When a transaction was labelled and when it happened (ms), and the flag bits; its identity stands behind.
_ITEM = struct.Struct("<ddd")
_BITS = {LabelValue.FRAUD: FRAUD_FLAG, LabelValue.LEGITIMATE: LEGITIMATE_FLAG}


class StateKeys:
    """
    The keys of the entity states behind a feature set.

    Args:
        features: Which states there are.
        keys: Names of the partition.
        here: Which entities have theirs in this partition; all of them when not given.
    """

    def __init__(self, features: FeatureSet, keys: Keys, here: Callable[[str], bool] | None = None) -> None:
        self._here = here
        self.log_prefixes = {kind: f"{keys.prefix('log')}{layout.id}:{kind}:" for kind, layout in features.layouts.items()}
        self.ring_prefixes = {kind: f"{keys.prefix('ring')}{features.ring_layout}:{kind}:" for kind in features.rings}

    def columns(self, prefixes: Mapping[str, str], records: Records) -> list[list[str | None]]:
        """
        Return, per kind, the key of each row; None where the transaction lacks the entity, or it is elsewhere.
        """
        if (here := self._here) is not None:
            return [
                [None if entity is None or not here(entity) else prefix + entity for entity in records.entities[kind]]
                for kind, prefix in prefixes.items()
            ]
        return [_named(prefix, records.entities[kind]) for kind, prefix in prefixes.items()]


def _named(prefix: str, entities: Sequence[str | None]) -> list[str | None]:
    if all(entities):
        return list(map(prefix.__add__, cast("Sequence[str]", entities)))
    return [None if entity is None else prefix + entity for entity in entities]


class RedisEntityStates:
    """
    ``LabelledStates`` of a feature set, and its states as they stand; see ``StateKeys`` for the arguments.
    """

    def __init__(self, client: Redis, *, features: FeatureSet, keys: Keys, here: Callable[[str], bool] | None = None) -> None:
        self._client = client
        self._features = features
        self._keys = keys
        self._here = here
        self._state_keys = StateKeys(features, keys, here)
        self._label = keys.prefix("label")
        self._head: list[Argument] = [
            features.state_ttl_s, len(features.logs), len(features.rings),
            *(layout.size for layout in features.layouts.values()),
            *(number for resolution in features.ring_resolutions for number in resolution), "|",
        ]  # fmt: skip

    async def tell(self, labels: Sequence[tuple[Label, Transaction]]) -> int:
        """
        Move the label-fed states; see the port.
        """
        known = [(label, transaction) for label, transaction in labels if label.label in _BITS]
        if not known:
            return 0
        rows = records(self._features, [transaction for _, transaction in known])
        logs = self._state_keys.columns(self._state_keys.log_prefixes, rows)
        rings = self._state_keys.columns(self._state_keys.ring_prefixes, rows)
        columns = [*logs, *rings]
        # Of one partition among several: a label that has nothing here leaves nothing here.
        there = [row for row in range(len(known)) if self._here is None or any(column[row] for column in columns)]
        calls = [
            self._call(known, rows, columns, there[start : start + _CALL_LABELS])
            for start in range(0, len(there), _CALL_LABELS)
        ]
        if not calls:
            return 0
        with translated("labels"):
            replies = await run(self._client, calls)
        return sum(answer == b"M" for reply in replies for answer in reply)

    def _call(
        self,
        labels: Sequence[tuple[Label, Transaction]],
        rows: Records,
        columns: Sequence[Sequence[str | None]],
        chunk: Sequence[int],
    ) -> Call:
        keys: list[Argument] = []
        args = list(self._head)
        for row in chunk:
            label, transaction = labels[row]
            told = self._label + transaction.transaction_id
            keys += [told, *(column[row] or told for column in columns)]
            labelled_ms, event_ms = label.labelled_at.timestamp() * 1000.0, int(rows.occurred_s[row]) * 1000.0
            args += (label.label_id, _ITEM.pack(labelled_ms, event_ms, float(_BITS[label.label])) + rows.identity(row))
        return Call(LABELS_TOLD, keys, args)

    async def read(self, rows: Records) -> States:
        """
        Read the states of a batch as they stand; nothing is moved.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        logs = self._state_keys.columns(self._state_keys.log_prefixes, rows)
        rings = self._state_keys.columns(self._state_keys.ring_prefixes, rows)
        wanted = list({key for column in (*logs, *rings) for key in column if key is not None})
        found: dict[str | None, bytes] = {}
        if wanted:
            with translated("states"):
                (values,) = await run(self._client, [["MGET", *wanted]])
            found = dict(zip(wanted, (value or b"" for value in values), strict=True))
        return States(
            logs={
                kind: [found.get(key, b"") for key in column] for kind, column in zip(self._features.logs, logs, strict=True)
            },
            rings={
                kind: [found.get(key, b"") for key in column] for kind, column in zip(self._features.rings, rings, strict=True)
            },
        )

    async def standings(self, transactions: Sequence[Transaction]) -> list[Standing]:
        """
        Say whether each transaction moved its states, as far as its record still tells: one that is decided is taken as moved.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("standings"):
            (values,) = await run(self._client, [["MGET", *(self._keys.txn(one.transaction_id) for one in transactions)]])
        return [Standing.LATE if value == b"L" else Standing.SEEN for value in values]
