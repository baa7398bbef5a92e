"""
Online = offline, bit for bit: random definitions and histories through the real scripts and through the store in memory.
"""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from redis.asyncio import Redis

from fraudstream.adapters.redis_states import RedisEntityStates
from fraudstream.domain.decision import LabelValue, Outcome
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import compute, records
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.states import Standing
from fraudstream.local import LocalValkey
from fraudstream.stages.ports import Answer, Place
from tests.support.builders import a_label
from tests.support.verdicts import MODEL, RULES, Side, VerdictRig
from tests.unit.features.streams import calls, definitions, log_columns, transactions

#: Few of the random definitions look at outcomes; these do in every example.
_OUTCOMES = """
feature not_blocked = count() by card_id where outcome != "block"
feature approved = count() by user_id over 1h where outcome = "approve"
"""
_FIRST_LABEL = datetime(2026, 1, 1, tzinfo=UTC)


class _Twins:
    """
    The same deliveries and labels to both stores; every delivery gives the vectors of both.
    """

    def __init__(self, features: FeatureSet, rig: VerdictRig, client: Redis) -> None:
        self._features = features
        self._sides = {group: rig.side(group) for group in (RULES, MODEL)}
        self._states = RedisEntityStates(client, features=features, keys=rig.streams.keys)
        self._memory = MemoryEntityStore(features)
        self._rig = rig
        self._labels = 0

    async def deliver(self, group: str, batch: Sequence[Transaction]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = records(self._features, batch)
        side: Side = self._sides[group]
        touched = await side.entities.touch([b"0-1"] * len(batch), batch, rows)
        online = [Standing.TOUCHED if place is Place.FIRST else Standing.SEEN for place in touched.places]
        offline = self._memory.touch(rows)
        # What is decided is not looked at again: it has neither features nor another decision.
        asked = [place not in (Place.DUPLICATE, Place.GONE) for place in touched.places]
        return (
            compute(self._features, batch, rows, online, touched.states)[asked],
            compute(self._features, batch, rows, offline, self._memory.states(rows))[asked],
        )

    async def decide(self, said: Sequence[tuple[Transaction, int]]) -> None:
        """
        Decide as both groups do: the outcome reaches the records in the step that emits the decision, and only there.
        """
        rules, model = self._sides[RULES], self._sides[MODEL]
        for one, outcome in said:
            self._rig.streams.add(1)
            told, scored = await rules.read(), await model.read()
            await rules.complete(told, [one])
            (answer,) = await model.decide(scored, [one], outcome=list(Outcome)[outcome])
            if answer is Answer.EMITTED:
                self._memory.set_outcomes(records(self._features, [one]), [outcome])

    async def label(self, said: Sequence[tuple[Transaction, bool]]) -> None:
        for one, fraud in said:
            self._labels += 1
            label = a_label(
                transaction_id=one.transaction_id,
                label=LabelValue.FRAUD if fraud else LabelValue.LEGITIMATE,
                labelled_at=_FIRST_LABEL + timedelta(seconds=self._labels),
            )
            for _ in range(2):  # a redelivery of the label
                await self._states.tell([(label, one)])
            self._memory.set_labels(records(self._features, [one]), [fraud])


@given(data=st.data(), source=definitions(), history=transactions(most=30))
@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_every_delivery_gives_online_what_it_gives_offline(
    valkey: LocalValkey, data: Any, source: str, history: list[Transaction]
) -> None:
    features = load_features(source + _OUTCOMES)
    rig = VerdictRig(valkey.url, features=features)
    rig.streams.flush()
    client = Redis.from_url(valkey.url, protocol=2)
    try:
        twins, earlier = _Twins(features, rig, client), list[list[Transaction]]()

        for call in data.draw(calls(history)):
            await twins.decide(call.outcomes)
            await twins.label(call.labels)
            first = await twins.deliver(RULES, call.batch)
            other = await twins.deliver(MODEL, call.batch)
            earlier.append(call.batch)
            again = await twins.deliver(RULES, data.draw(st.sampled_from(earlier)))

            for online, offline in (first, other, again):
                assert online.tobytes() == offline.tobytes()
            logs = log_columns(features)
            assert first[0][:, logs].tobytes() == other[0][:, logs].tobytes()
    finally:
        await client.aclose()
        await rig.close()


@given(data=st.data(), source=definitions(), history=transactions(most=24))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_workers_at_the_same_moment_see_each_other_in_the_order_of_the_logs(
    valkey: LocalValkey, data: Any, source: str, history: list[Transaction]
) -> None:
    features = load_features(source)
    rig = VerdictRig(valkey.url, features=features)
    rig.streams.flush()
    try:
        workers = [rig.side(RULES), rig.side(RULES), rig.side(MODEL)]
        cut = sorted(data.draw(st.lists(st.integers(0, len(history)), min_size=2, max_size=2)))
        batches = [part for part in (history[: cut[0]], history[cut[0] : cut[1]], history[cut[1] :]) if part]
        vectors = await asyncio.gather(
            *(_first_seen(side, features, batch) for side, batch in zip(workers, batches, strict=False))
        )

        # A batch is one script: whichever came first, all of its records stand before all of the next one's.
        logs = log_columns(features)
        orders = itertools.permutations(range(len(batches)))
        assert any(_in_order(features, batches, order, vectors, logs) for order in orders)
    finally:
        await rig.close()


async def _first_seen(side: Side, features: FeatureSet, batch: list[Transaction]) -> NDArray[np.float32]:
    rows = records(features, batch)
    touched = await side.entities.touch([b"0-1"] * len(batch), batch, rows)
    standings = [Standing.TOUCHED if place is Place.FIRST else Standing.SEEN for place in touched.places]
    return compute(features, batch, rows, standings, touched.states)


def _in_order(
    features: FeatureSet,
    batches: list[list[Transaction]],
    order: Sequence[int],
    vectors: Sequence[NDArray[np.float32]],
    logs: list[int],
) -> bool:
    """Say whether one worker alone, given the batches in this order, computes the same log features bit for bit."""
    store = MemoryEntityStore(features)
    for at in order:
        rows = records(features, batches[at])
        alone = compute(features, batches[at], rows, store.touch(rows), store.states(rows))
        if alone[:, logs].tobytes() != vectors[at][:, logs].tobytes():
            return False
    return True
