"""
Entity states that are laid out anew or filled from records, beside workers that may be moving them.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import Keys
from fraudstream.adapters.redis_scripts import CARRY, Argument, Call, run
from fraudstream.adapters.redis_states import StateKeys
from fraudstream.domain.errors import StreamUnavailable
from fraudstream.features.definitions import FeatureSet

#: States of one round trip: some hundred kilobytes.
_BATCH = 64
#: How often a state that others keep moving is read again before somebody must stop them.
_ATTEMPTS = 20

#: Gives the new state from what was found for the entity and the state as it stands.
Join = Callable[[bytes, bytes], bytes]


class StateCarrier:
    """
    Reads and replaces the states behind one feature set. Every method raises ``StreamUnavailable`` when Redis does not answer.
    """

    def __init__(self, client: Redis, features: FeatureSet, keys: Keys) -> None:
        self._client = client
        self._features = features
        found = StateKeys(features, keys)
        self._prefixes = {**found.log_prefixes, **found.ring_prefixes}
        self._former_logs = f"{keys.prefix('log')}{features.former_log_layout}:"
        self._label = keys.prefix("label")

    def _former_prefix(self, kind: str) -> str:
        return f"{self._former_logs}{kind}:"

    async def entities(self, kind: str, *, former: bool = False) -> AsyncIterator[dict[str, bytes]]:
        """
        Yield all states of a kind, some at a time, by the id of their entity; one that moves meanwhile may come twice.

        Args:
            kind: The kind of entity.
            former: Yield the logs from before each kind had records of its own.
        """
        prefix, cursor = (self._former_prefix(kind) if former else self._prefixes[kind]).encode(), b"0"
        while True:
            with translated("states"):
                cursor, keys = await self._client.execute_command(
                    "SCAN", cursor, "MATCH", _escaped(prefix) + b"*", "COUNT", 1000
                )
                values = await self._client.execute_command("MGET", *keys) if keys else []
            found = zip(keys, values, strict=True)
            yield {key[len(prefix) :].decode(): value for key, value in found if value is not None}
            if cursor in {b"0", 0}:
                return

    async def join(self, kind: str, found: Mapping[str, bytes], join: Join) -> int:
        """
        Join what was found for each entity to its state, and return how many states changed.

        Raises:
            StreamUnavailable: A state was moved each time between reading and replacing it.
        """
        ids, changed = list(found), 0
        for start in range(0, len(ids), _BATCH):
            changed += await self._join(kind, {entity: found[entity] for entity in ids[start : start + _BATCH]}, join)
        return changed

    async def _join(self, kind: str, found: Mapping[str, bytes], join: Join) -> int:
        changed: int = 0
        open_ids = list(found)
        for _ in range(_ATTEMPTS):
            keys = [self._prefixes[kind] + entity for entity in open_ids]
            with translated("states"):
                (there,) = await run(self._client, [["MGET", *keys]])
                pairs = [
                    (value or b"", join(found[entity], value or b"")) for entity, value in zip(open_ids, there, strict=True)
                ]
                moved = [i for i, (before, after) in enumerate(pairs) if before != after]
                if not moved:
                    return changed
                args: list[Argument] = [self._features.state_ttl_s]
                for i in moved:
                    args += (_sha(pairs[i][0]), pairs[i][1])
                (answers,) = await run(self._client, [Call(CARRY, [keys[i] for i in moved], args)])
            changed += sum(answers)
            open_ids = [open_ids[i] for i, answer in zip(moved, answers, strict=True) if not answer]
            if not open_ids:
                return changed
        raise StreamUnavailable(
            f"{len(open_ids)} states of {kind} are moved faster than they can be joined; stop the workers and run again"
        )

    async def note_labels(self, told: Mapping[str, bytes]) -> None:
        """
        Note which label each transaction's states were told last, where nothing is noted yet.
        """
        pairs = list(told.items())
        for start in range(0, len(pairs), 1000):
            commands: list[Sequence[Argument]] = [
                ("SET", self._label + identity, value, "NX", "EX", self._features.state_ttl_s)
                for identity, value in pairs[start : start + 1000]
            ]
            with translated("labels"):
                await run(self._client, commands)


def _sha(value: bytes) -> str:
    return hashlib.sha1(value, usedforsecurity=False).hexdigest() if value else ""


def _escaped(prefix: bytes) -> bytes:
    """
    Return a prefix in which no character is a pattern.
    """
    return b"".join(b"\\" + bytes([one]) if one in b"*?[]\\^-" else bytes([one]) for one in prefix)
