"""
How a worker follows the models that are in use: looked for off the hot path, loaded beside it, swapped in between two batches.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.adapters.redis_models import Pointer, RedisModels
from fraudstream.app.model_registry import PushedModels
from fraudstream.domain.errors import IncompatibleModel, TransientError
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet.stalls import Changes, in_slices
from fraudstream.scoring.drift import Drift
from fraudstream.scoring.model import OnnxModel
from fraudstream.stages.lineup import Lineup
from fraudstream.stages.ml_scoring import ModelJudge
from fraudstream.telemetry.report import GroupReport

#: Pause before models that could not be taken over are tried again, in seconds; the folder may have come by then.
_AGAIN_S = 30.0
#: Models that were in use before and stay loaded: a rollback is at once, and needs no registry.
_KEPT = 2
#: Pause between two looks at whether the loop is held up, in seconds.
_PROBE_S = 0.001
#: Pause between two reports of drift, in seconds.
TELL_EVERY_S = 15.0


class ModelWatch:
    """
    Keeps one judge on the models that the pointer names; on the file of the settings while it names no champion.

    Args:
        models: Where pointer and notes are.
        judge: Who works with them.
        from_file: The model of the file.
        pushed: Where models come from.
        report: Told of every change that is taken over or refused.
        changes: What is taken over beside the batches of this loop.
    """

    def __init__(
        self,
        models: RedisModels,
        judge: ModelJudge,
        from_file: OnnxModel,
        pushed: PushedModels,
        report: GroupReport,
        *,
        changes: Changes,
    ) -> None:
        self._models = models
        self._judge = judge
        self._from_file = from_file
        self._pushed = pushed
        self._changes = changes
        self._report = report
        self._loaded: dict[str, OnnxModel] = {}
        self._earlier: dict[str, OnnxModel] = {}
        self._applied = -1
        self._failed = (-1, 0.0)

    async def start(self) -> None:
        """
        Take over what is in use, before the first batch is read.

        Raises:
            IncompatibleModel: It cannot be used here; to decide with other models than the fleet would be silently wrong.
            StreamUnavailable: Redis did not answer.
        """
        await self._apply(await self._models.pointer(), working=False)

    async def look(self) -> int:
        """
        Take over a change; return how many were. One that cannot be used is reported, and the old models stay.

        Raises:
            StreamUnavailable: Redis did not answer; the old models stay.
        """
        pointer = Pointer()
        try:
            pointer = await self._models.pointer()
            if pointer.seq == self._applied or self._rests(pointer.seq):
                return 0
            await self._apply(pointer, working=True)
        except TransientError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with a new model, the old one goes on working
            self._failed = (pointer.seq, time.monotonic() + _AGAIN_S)
            self._report.models_refused(pointer.models, str(exc))
            return 0
        return 1

    def _rests(self, seq: int) -> bool:
        failed, until = self._failed
        return seq == failed and time.monotonic() < until

    async def _apply(self, pointer: Pointer, *, working: bool) -> None:
        probe = _Probe()
        probing = asyncio.create_task(probe.run())
        try:
            with self._changes.under_way():
                loaded = {model: await self._ready(model) for model in pointer.models}
                self._judge.use(self._lineup(pointer, loaded))
            self._keep(loaded)
            self._applied = pointer.seq
            await asyncio.sleep(0)
        finally:
            probe.stop()
            await probing
        self._report.models_applied(_told(self._judge.lineup), probe.worst_s if working else None)

    def _keep(self, loaded: dict[str, OnnxModel]) -> None:
        """
        Hold what is in use and the last that were; an older one goes when the last batch that it scores is over.
        """
        known = self._earlier | self._loaded
        earlier = [(name, model) for name, model in known.items() if name not in loaded]
        self._loaded, self._earlier = loaded, dict(earlier[-_KEPT:])

    async def _ready(self, model: str) -> OnnxModel:
        known = self._loaded.get(model) or self._earlier.get(model)
        if known is not None:
            return known
        if model == self._from_file.id:
            return self._from_file
        note = await self._models.note(model)
        if note is None:
            raise IncompatibleModel(f"model {model[:12]} was never pushed to this Redis; push it: fraudstream model push")
        # Read in a thread, which waits; built between the batches, as a thread would want the interpreter all the time.
        read = await asyncio.to_thread(self._pushed.read, note)
        return await in_slices(self._pushed.built(note, *read), self._changes)

    def _lineup(self, pointer: Pointer, loaded: dict[str, OnnxModel]) -> Lineup:
        return Lineup(
            champion=loaded[pointer.champion] if pointer.champion else self._from_file,
            canary=loaded[pointer.canary] if pointer.canary else None,
            share=pointer.share,
            shadows=tuple(loaded[model] for model in pointer.shadows),
        )


class _Probe:
    """
    Finds the longest time for which the event loop was held up.
    """

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    async def run(self) -> None:
        while not self._stopped:
            before = time.perf_counter()
            await asyncio.sleep(_PROBE_S)
            self.worst_s = max(self.worst_s, time.perf_counter() - before - _PROBE_S)


def _told(lineup: Lineup) -> list[tuple[str, str, str]]:
    roles = [(lineup.champion, "champion"), *((one, "shadow") for one in lineup.shadows)]
    if lineup.canary is not None:
        roles.insert(1, (lineup.canary, "canary"))
    return [(model.id, model.version, role) for model, role in roles]


#: Most rows of a batch that are held against the training: a share of a busy stream tells as much as all of it.
_SAMPLED = 128


class DriftWatch:
    """
    ``ScoreWatch`` that holds the rows of each deciding model against what it was trained on: all of a small batch, and of a
    large one every second, third, ... so that some hundred are counted.

    A model whose manifest holds no reference is not watched.
    """

    def __init__(self, report: GroupReport, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._drifts: dict[str, Drift | None] = {}

    def scored(
        self,
        lineup: Lineup,
        transactions: Sequence[Transaction],  # noqa: ARG002 rows are enough
        matrix: NDArray[np.float32],
        scores: NDArray[np.float32],
        of_canary: NDArray[np.bool_],
    ) -> None:
        """
        Take note of a batch; see ``ScoreWatch``.
        """
        now_s = self._clock()
        if lineup.canary is None:
            self._add(lineup.champion, matrix, scores, now_s)
            return
        self._add(lineup.champion, matrix[~of_canary], scores[~of_canary], now_s)
        self._add(lineup.canary, matrix[of_canary], scores[of_canary], now_s)

    async def tell(self) -> int:
        """
        Report how far each model's rows have moved; return for how many models there was something to say.
        """
        told = 0
        for model, drift in list(self._drifts.items()):
            rows, moved = (0, {}) if drift is None else drift.moved(self._clock())
            if moved:
                self._report.drifted(model, moved)
                told += 1
            if drift is not None and not rows:
                del self._drifts[model]  # nothing came its way for a whole window
        return told

    def _add(self, model: object, matrix: NDArray[np.float32], scores: NDArray[np.float32], now_s: float) -> None:
        if not isinstance(model, OnnxModel) or not len(scores):
            return
        if model.id not in self._drifts:
            reference = model.manifest.reference
            known = reference is not msgspec.UNSET and set(model.feature_names) <= reference.features.keys()
            self._drifts[model.id] = Drift(reference, model.feature_names) if known else None  # type: ignore[arg-type]
        drift = self._drifts[model.id]
        if drift is not None:
            step = -(-len(scores) // _SAMPLED)
            drift.add(matrix[::step], scores[::step], now_s)
