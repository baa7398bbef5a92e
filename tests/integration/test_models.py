"""
Models of a running fleet: what is refused, who decides after each change, and a fleet whose models change while it works.
"""

import gc
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from fraudstream.adapters.model_folder import ModelFolder
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_models import RedisModels
from fraudstream.app.bench_swap import twin
from fraudstream.app.connections import address
from fraudstream.app.doctor import examine
from fraudstream.app.explain import Verdict, explain
from fraudstream.app.findings import Limits
from fraudstream.app.loading import load_rulebook
from fraudstream.app.model_registry import PushedModels, open_registry
from fraudstream.app.model_watch import DriftWatch, ModelWatch
from fraudstream.app.models import ModelDesk, open_model_desk
from fraudstream.app.shelf import Shelf
from fraudstream.domain.decision_codec import decode_decision
from fraudstream.domain.errors import IncompatibleModel, ModelRefused
from fraudstream.domain.evidence import ModelVerdict
from fraudstream.features.load import load_features
from fraudstream.fleet.stalls import Changes
from fraudstream.local import LocalValkey
from fraudstream.scoring.load import load_model
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE
from fraudstream.settings import Settings
from fraudstream.stages.ml_scoring import ModelJudge
from fraudstream.stages.shadow_scoring import Shadows
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.report import GroupReport
from tests.support.builders import a_transaction
from tests.support.models import a_rival
from tests.support.system import a_system, append, ids_of, payments, shipped_features, wait_until_done
from tests.support.wait import wait_until

SHIPPED = Path(__file__).parents[2] / "models"
FEATURES = shipped_features()


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rivals")
    return [a_rival(folder / f"rival-{seed}", FEATURES, version=f"rival-{seed}", seed=seed) for seed in (1, 2)]


class Office:
    """
    Desks on one Redis and one registry, and workers that follow them.
    """

    def __init__(self, settings: Settings, models: RedisModels) -> None:
        self.settings = settings
        self.models = models
        self.registry = ModelFolder(Path(settings.model_registry))

    def desk(self, actor: str = "ana") -> ModelDesk:
        return ModelDesk(self.models, self.registry, FEATURES, actor)

    async def pushed(self, *folders: Path) -> list[str]:
        return [(await self.desk().push(one, reason="trained")).model for one in folders]


@pytest.fixture
async def office(valkey: LocalValkey, tmp_path: Path) -> AsyncIterator[Office]:
    settings = Settings(redis_url=valkey.url, model_registry=str(tmp_path / "registry"))
    async with connected(address(settings)) as client:
        yield Office(settings, RedisModels(client))


async def test_a_model_of_other_features_is_refused_by_their_names_and_nothing_is_written(
    office: Office, valkey: LocalValkey, tmp_path: Path
) -> None:
    source = (SHIPPED / "default.features").read_text().replace("card_count_10m", "card_count_11m")
    stranger = a_rival(tmp_path / "stranger", load_features(source))

    with pytest.raises(IncompatibleModel, match=r"the model needs 'card_count_11m'.*the definitions add 'card_count_10m'"):
        await office.desk().push(stranger, reason="why")

    assert office.registry.models() == []
    with Redis.from_url(valkey.url) as client:
        assert client.keys("*") == []


async def test_a_pushed_model_is_not_in_use_until_it_is_promoted(office: Office, rivals: list[Path]) -> None:
    desk = office.desk()

    (model,) = await office.pushed(rivals[0])
    before = await office.models.pointer()
    changed = await desk.promote("rival-1", reason="better")

    pointer, history = await desk.history()
    assert (before.seq, before.champion) == (0, "")
    assert (changed.seq, pointer.champion, pointer.actor, pointer.reason) == (1, model, "ana", "better")
    assert [(one.kind, one.champion) for one in history] == [("push", model), ("promote", model)]
    assert [(one.version, one.role, one.problem) for one in (await desk.models())[1]] == [("rival-1", "champion", "")]


async def test_of_two_who_saw_the_same_state_the_second_is_refused(office: Office, rivals: list[Path]) -> None:
    one, _ = await office.pushed(*rivals)
    seen = await office.models.pointer()

    await office.desk().promote(one, reason="first")
    with pytest.raises(ModelRefused, match="meanwhile"):
        await office.models.point(seen, seen)

    assert (await office.models.pointer()).champion == one


async def test_a_rollback_undoes_what_reached_decisions_step_by_step(office: Office, rivals: list[Path]) -> None:
    desk = office.desk()
    one, two = await office.pushed(*rivals)
    await desk.promote(one, reason="why")
    await desk.canary(two, share=0.2, reason="why")
    await desk.shadow(two, off=False, reason="why")
    await desk.promote(two, reason="why")

    steps = [await desk.rollback(reason="no") for _ in range(3)]
    with pytest.raises(ModelRefused, match="nothing to roll back"):
        await desk.rollback(reason="no")

    assert [(step.champion, step.canary, step.share) for step in steps] == [(one, two, 0.2), (one, "", 0.0), ("", "", 0.0)]


async def test_a_promoted_shadow_is_no_shadow_any_more_and_others_stay(office: Office, rivals: list[Path]) -> None:
    desk = office.desk()
    one, two = await office.pushed(*rivals)
    for model in (one, two):
        await desk.shadow(model, off=False, reason="watch")

    promoted = await desk.promote(one, reason="calm")
    back = await desk.rollback(reason="no")

    assert (promoted.champion, promoted.shadows) == (one, (two,))
    assert (back.champion, back.shadows) == ("", (two,))


async def test_a_name_that_nobody_or_two_bear_is_refused(office: Office, rivals: list[Path], tmp_path: Path) -> None:
    twin = a_rival(tmp_path / "twin", FEATURES, version="rival-1", seed=9)
    await office.pushed(rivals[0], twin)

    with pytest.raises(IncompatibleModel, match="no model is 'rival-7'"):
        await office.desk().promote("rival-7", reason="why")
    with pytest.raises(IncompatibleModel, match="several models are called 'rival-1'"):
        await office.desk().promote("rival-1", reason="why")


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        (MODEL_FILE, lambda raw: raw[:-40], "cut short, changed"),
        (MODEL_FILE, lambda raw: raw[:500] + bytes([raw[500] ^ 1]) + raw[501:], "is not the model that its manifest describes"),
        (MANIFEST_FILE, lambda raw: raw.replace(b'"review": 0.5', b'"review": 0.9'), "is not the manifest that was pushed"),
        (MODEL_FILE, None, "cannot be read from the registry"),
    ],
    ids=["truncated", "tampered", "other manifest", "missing"],
)
async def test_a_damaged_model_is_refused_at_promotion_until_it_is_pushed_again(
    office: Office, rivals: list[Path], name: str, damage, said: str
) -> None:
    (model,) = await office.pushed(rivals[0])
    path = Path(office.registry.place) / model / name
    raw = path.read_bytes()
    path.write_bytes(damage(raw)) if damage else path.unlink()

    with pytest.raises(IncompatibleModel, match=said):
        await office.desk().promote(model, reason="why")
    listed = (await office.desk().models())[1]
    await office.pushed(rivals[0])

    assert said in listed[0].problem
    assert (await office.desk().promote(model, reason="again")).champion == model


class Worker:
    """
    What of a worker follows the models.
    """

    def __init__(self, office: Office) -> None:
        self.metrics = Metrics(groups=["ml-scoring"], producer=False, monitor=False)
        report = GroupReport(self.metrics, stream="transactions:raw", group="ml-scoring", worker="one")
        self.from_file = load_model(SHIPPED, FEATURES.names, feature_set=FEATURES.id)
        self.executor = ThreadPoolExecutor(1)
        self.drift = DriftWatch(report)
        policy = load_rulebook(office.settings).policy
        self.shadows = Shadows(self.executor, policy, office.models, report)
        watches = (self.drift, self.shadows)
        self.judge = ModelJudge(self.from_file, self.executor, explain_from=0.25, report=report, watches=watches)
        pushed = PushedModels(open_registry(office.settings), FEATURES)
        self.watch = ModelWatch(office.models, self.judge, self.from_file, pushed, report, changes=Changes())

    async def verdicts(self, rows: int = 1) -> list[ModelVerdict]:
        batch = [a_transaction(transaction_id=f"txn_{at}", card_id=f"card_{at}") for at in range(rows)]
        matrix = np.random.default_rng(1).random((rows, len(FEATURES.names))).astype(np.float32) * 10
        return list(await self.judge.judge(batch, matrix))

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"fraudstream_{name}", labels)


@pytest.fixture
async def worker(office: Office) -> AsyncIterator[Worker]:
    found = Worker(office)
    yield found
    await found.shadows.close()
    found.executor.shutdown()


async def test_a_worker_follows_the_pointer_and_returns_to_its_file(office: Office, worker: Worker, rivals: list[Path]) -> None:
    await worker.watch.start()
    (model,) = await office.pushed(rivals[0])
    looks = [await worker.watch.look()]
    await office.desk().promote(model, reason="on")
    looks.append(await worker.watch.look())
    (scored,) = await worker.verdicts()
    shown = worker.value("model_info", model=model[:12], version="rival-1", provider="CPUExecutionProvider", role="champion")
    await office.desk().rollback(reason="back")
    looks.append(await worker.watch.look())
    (after,) = await worker.verdicts()

    assert looks == [0, 1, 1]
    assert (scored.model, after.model) == (model, worker.from_file.id)
    assert scored.score != after.score
    assert (shown, worker.value("model_swaps_total")) == (1, 2)


async def test_a_rollback_is_at_once_and_needs_no_registry(office: Office, worker: Worker, rivals: list[Path]) -> None:
    # given a model that another one has replaced
    one, two = await office.pushed(*rivals)
    await office.desk().promote(one, reason="on")
    await worker.watch.start()
    await office.desk().promote(two, reason="better")
    await worker.watch.look()

    # when the registry is away at the moment at which the worker hears of the rollback
    await office.desk().rollback(reason="worse")
    for model in (one, two):
        (Path(office.registry.place) / model / MODEL_FILE).unlink()

    # then the first one scores again
    assert await worker.watch.look() == 1
    assert [verdict.model for verdict in await worker.verdicts()] == [one]


async def test_a_model_that_has_long_been_out_of_use_is_let_go(
    office: Office, worker: Worker, rivals: list[Path], tmp_path: Path
) -> None:
    # given a model that decides
    twins = [twin(folder, tmp_path / folder.name) for folder in rivals]
    one, *others = await office.pushed(*rivals, *twins)
    await office.desk().promote(one, reason="on")
    await worker.watch.start()
    old = weakref.ref(worker.judge.lineup.champion)

    # when three others come after it
    for model in others:
        await office.desk().promote(model, reason="on")
        await worker.watch.look()
        await worker.verdicts()
    gc.collect()

    # then it is gone
    assert old() is None


async def test_models_that_cannot_be_used_leave_the_old_ones_and_are_counted_once(
    office: Office, worker: Worker, rivals: list[Path]
) -> None:
    await worker.watch.start()
    one, two = await office.pushed(*rivals)
    await office.desk().promote(one, reason="on")
    await worker.watch.look()
    await office.desk().promote(two, reason="on")
    (Path(office.registry.place) / two / MODEL_FILE).write_bytes(b"")

    looks = [await worker.watch.look() for _ in range(3)]

    assert looks == [0, 0, 0]
    assert [one.model for one in await worker.verdicts()] == [one]
    assert worker.value("model_apply_failures_total") == 1


async def test_a_worker_does_not_start_with_other_models_than_the_fleet(
    office: Office, worker: Worker, rivals: list[Path]
) -> None:
    (model,) = await office.pushed(rivals[0])
    await office.desk().promote(model, reason="on")
    (Path(office.registry.place) / model / MODEL_FILE).unlink()

    with pytest.raises(IncompatibleModel, match="every worker must see the folder"):
        await worker.watch.start()


async def test_shadows_see_every_row_are_kept_and_decide_nothing(office: Office, worker: Worker, rivals: list[Path]) -> None:
    (model,) = await office.pushed(rivals[0])
    await worker.watch.start()
    before = await worker.verdicts(40)
    await office.desk().shadow(model, off=False, reason="watch")
    await worker.watch.look()

    after = await worker.verdicts(40)
    await wait_until(lambda: worker.value("shadow_score_ratio_count", model=model[:12]) == 40, "the shadow to score")
    await worker.shadows.close()
    (kept,) = await office.models.shadow_batches(model)

    assert after == before
    assert list(kept.transaction_ids) == [f"txn_{at}" for at in range(40)]
    assert np.frombuffer(kept.scores, "<f4").tolist() == [one.score for one in after]
    assert np.frombuffer(kept.shadow_scores, "<f4").tolist() != [one.score for one in after]
    assert (
        sum(worker.value("shadow_rows_total", model=model[:12], result=one) or 0 for one in ("same", "milder", "harsher")) == 40
    )


async def test_drift_is_told_of_a_model_whose_manifest_keeps_a_reference(
    office: Office, worker: Worker, rivals: list[Path]
) -> None:
    (model,) = await office.pushed(rivals[0])
    await office.desk().promote(model, reason="on")
    await worker.watch.start()

    for _ in range(20):  # of a large batch only some rows are counted
        await worker.verdicts(100)
    told = await worker.drift.tell()

    assert told == 1
    assert (worker.value("model_score_psi", model=model[:12]) or 0) > 0.25
    assert worker.value("model_feature_psi", model=model[:12], feature="card_count_1h") is not None


async def test_the_doctor_names_a_champion_that_a_worker_would_refuse(office: Office, rivals: list[Path]) -> None:
    (model,) = await office.pushed(rivals[0])
    await office.desk().promote(model, reason="on")
    fine = await _said_of_models(office.settings)
    (Path(office.registry.place) / model / MODEL_FILE).write_bytes(b"cut")

    assert fine == [("ok", f"champion rival-1, {model[:12]}")]
    ((level, says),) = await _said_of_models(office.settings)
    assert level == "fail"
    assert "its 3 bytes have SHA-256" in says


async def _said_of_models(settings: Settings) -> list[tuple[str, str]]:
    found = (await examine(settings, Limits(), between_s=0)).findings
    return [(one.level.value, one.says) for one in found if one.about == "models in use"]


async def test_promotions_during_a_run_lose_nothing_and_every_decision_is_of_the_model_it_names(
    tmp_path: Path, rivals: list[Path]
) -> None:
    sent = payments(3_000)
    groups = ("fraud-check,ml-scoring", "fraud-check,ml-scoring")
    registry = tmp_path / "registry"
    with (
        a_system(groups, deadline_ms=20_000, model_registry=str(registry)) as system,
        Redis.from_url(system.valkey.url) as client,
    ):
        system.start_workers()
        settings = Settings(redis_url=system.valkey.url, model_registry=str(registry))
        async with open_model_desk(settings, "ana") as desk:
            one, two = [(await desk.push(rival, reason="why")).model for rival in rivals]
            changes = [
                partial(desk.promote, one, reason="1"),
                partial(desk.canary, two, share=0.5, reason="2"),
                partial(desk.promote, two, reason="3"),
                partial(desk.rollback, reason="4"),
            ]
            for number, change in enumerate(changes):
                append(client, sent[number * 600 : number * 600 + 300])
                pointer = await change()
                await wait_until(partial(_followed, system, pointer.seq), "both workers to follow")
                append(client, sent[number * 600 + 300 : number * 600 + 600])
            append(client, sent[2_400:])
            wait_until_done(client, ("fraud-check", "ml-scoring"))
        found = [decode_decision(value) for _, each in client.xrange("transactions:decisions") for value in each.values()]
    explained = await explain(found, Shelf(settings))

    last = ids_of(sent[2_400:])
    late = [each for each in found if each.transaction.transaction_id in last]
    assert Counter(each.transaction.transaction_id for each in found) == Counter(dict.fromkeys(ids_of(sent), 1))
    assert [each for each in found if each.degraded or each.probability is None] == []
    assert {each.model for each in found} >= {one, two}
    assert Counter(each.model for each in late).keys() == {one, two}, "the canary came back with the rollback"
    assert Counter(each.verdict for each in explained) == {Verdict.SAME: 3_000}, "also of models that were swapped out"


def _followed(system, seq: int) -> bool:  # type: ignore[no-untyped-def]
    return all(f"fraudstream_model_swaps_total {float(seq)}" in worker.metrics() for worker in system.workers)
