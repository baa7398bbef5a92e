"""
What a run does and in which order: a profile says how much, the seed says when and to whom.
"""

import random
from collections.abc import Iterator

import msgspec

#: Kinds of trouble on a connection, as the proxy knows them.
CONNECTION_KINDS = ("cut", "reply_lost", "delay", "half_open")
#: How long after the burst of its beat a fault comes at the latest, in seconds.
LATEST_S = 0.08
#: Where a worker is stopped (SIGSTOP) with work in its hands, so that it wakes up as a zombie.
STOP_POINTS = ("touched", "judged", "computed", "recording", "recorded", "sending")


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """
    How much of everything. A beat is a burst of payments and the faults that hit it.

    ``kills_poison``, ``raises`` and ``undecodable`` are the three kinds of poison; ``crash_hits`` is how often every labelled
    place is hit at the least; ``stops`` are SIGSTOPs longer than the claim time; ``model_stops`` are times in which nobody
    scores; ``read_lost`` and ``commit_lost`` are replies to reads and to COMMIT that get lost. ``least`` says how often a fault
    must have happened for the run to count. Where ``encores`` are on, beats are added until every labelled place was hit and
    ``least`` is reached. For the end of all work ``finish_s`` are waited. In the first ``whole`` share of the beats there is no
    decision deadline, so that every poison ends as a letter.
    """

    transactions: int
    beats: int
    beat_s: float = 1.0
    groups: tuple[str, ...] = (
        *("fraud-check", "ml-scoring") * 2,
        "fraud-group",
        "recorder",
        "recorder",
        "alerter",
        "labels",
    )
    whole: float = 0.7
    sigkill: int = 0
    crash_hits: int = 0
    stops: int = 0
    connection: int = 0
    commit_lost: int = 0
    redis_kill: int = 0
    flushall: int = 0
    promotion: int = 0
    oom: int = 0
    postgres_stop: int = 0
    sigterm: int = 0
    model_stops: int = 0
    rule_changes: int = 0
    undecodable: int = 0
    raises: int = 0
    kills_poison: int = 0
    read_lost: int = 0
    least: dict[str, int] = {}
    encores: bool = True
    finish_s: float = 90.0


PROFILES = {
    "slice": Profile(
        transactions=2_400, beats=11, beat_s=0.7,
        groups=("fraud-check", "ml-scoring", "fraud-group", "recorder", "alerter", "labels"),
        sigkill=12, stops=2, connection=8, redis_kill=1, postgres_stop=1, sigterm=1, rule_changes=1,
        undecodable=2, raises=2, kills_poison=1,
        least={"sigkill": 10, "sigstop": 1, "connection": 5, "redis_kill": 1, "postgres_stop": 1, "poison": 5, "sigterm": 5},
    ),
    "commit": Profile(
        transactions=20_000, beats=80, sigkill=112, crash_hits=3, stops=28, connection=62, commit_lost=3, redis_kill=2,
        flushall=1, promotion=1, oom=1, postgres_stop=1, sigterm=5, model_stops=1, rule_changes=3,
        undecodable=10, raises=12, kills_poison=5,
        least={
            "sigkill": 100, "sigstop": 20, "connection": 50, "redis_kill": 2, "flushall": 1, "promotion": 1, "oom": 1,
            "postgres_stop": 1, "sigterm": 5, "poison": 25, "fenced": 1,
            "together": 20,
        },
    ),
    "control": Profile(
        transactions=1_800, beats=10, beat_s=0.6, whole=1.0,
        groups=("fraud-check",) * 2 + ("ml-scoring",) * 2 + ("recorder", "alerter", "labels"),
        sigkill=12, crash_hits=2, stops=8, connection=4, read_lost=2, undecodable=1, encores=False, finish_s=45.0,
    ),
    "counters": Profile(
        transactions=100_000, beats=125, groups=("fraud-check",) * 3 + ("ml-scoring",) * 2 + ("recorder", "alerter", "labels"),
        sigkill=115, stops=6, redis_kill=2, encores=False,
        least={"sigkill": 100, "sigstop": 3, "redis_kill": 2},
    ),
    "full": Profile(
        transactions=250_000, beats=600, sigkill=1_060, crash_hits=25, stops=260, connection=540, commit_lost=25,
        redis_kill=20, flushall=3, promotion=10, oom=3, postgres_stop=10, sigterm=50, model_stops=10, rule_changes=30,
        undecodable=100, raises=110, kills_poison=50,
        least={
            "sigkill": 1_000, "sigstop": 200, "connection": 500, "redis_kill": 20, "flushall": 3, "promotion": 10, "oom": 3,
            "postgres_stop": 10, "sigterm": 50, "poison": 250, "fenced": 20,
            "together": 500,
        },
    ),
}  # fmt: skip


class Fault(msgspec.Struct, frozen=True):
    """
    One fault of a beat: its name, a detail (kind of connection trouble, place to stop at), and seconds after the burst.
    """

    name: str
    detail: str = ""
    after_s: float = 0.0


#: What is done again, by name in ``Profile.least``, where it happened too seldom; the other faults happen as often as planned.
AGAIN = {
    "sigkill": Fault("sigkill"),
    "sigstop": Fault("sigstop"),
    "connection": Fault("connection", "cut"),
    "fenced": Fault("sigstop", "judged"),
}
#: Faults that are waited for, one in a beat: they take a server away, or the whole group.
HEAVY = ("redis_kill", "flushall", "promotion", "oom", "postgres_stop", "model_stop")


def beats(profile: Profile, seed: int) -> list[list[Fault]]:
    """
    Return the faults of every beat; the same profile and seed give the same ones.
    """
    rng = random.Random(f"plan {seed}")  # noqa: S311 a replay needs the same
    found: list[list[Fault]] = [[] for _ in range(profile.beats)]
    for place, fault in _light(profile, rng):
        found[place].append(fault)
    heavy = [Fault(name) for name, count in _heavy(profile) for _ in range(count)]
    rng.shuffle(heavy)
    first_stop = profile.beats * profile.whole
    for place, fault in zip(_spread(len(heavy), profile.beats, rng), heavy, strict=True):
        if fault.name == "model_stop" and place < first_stop:
            place = rng.randrange(int(first_stop) + 1, profile.beats - 1)  # noqa: PLW2901 with the deadline on only
        found[place].append(fault)
    return [sorted(each, key=lambda fault: fault.name in HEAVY) for each in found]


def _heavy(profile: Profile) -> Iterator[tuple[str, int]]:
    yield "redis_kill", profile.redis_kill
    yield "flushall", profile.flushall
    yield "promotion", profile.promotion
    yield "oom", profile.oom
    yield "postgres_stop", profile.postgres_stop
    yield "model_stop", profile.model_stops


def _spread(count: int, length: int, rng: random.Random) -> list[int]:
    """
    Return places that are spread evenly, each moved a little.
    """
    step = length / (count + 1)
    return [min(length - 1, max(1, round(step * (n + 1) + rng.uniform(-step / 3, step / 3)))) for n in range(count)]


def _light(profile: Profile, rng: random.Random) -> Iterator[tuple[int, Fault]]:
    def anywhere() -> int:
        return rng.randrange(profile.beats)

    def soon() -> float:
        return rng.uniform(0.0, LATEST_S)

    for _ in range(profile.sigkill):
        yield anywhere(), Fault("sigkill", after_s=soon())
    for n in range(profile.stops):
        yield anywhere(), Fault("sigstop", "" if n % 4 == 0 else STOP_POINTS[n % len(STOP_POINTS)], soon())
    for n in range(profile.connection):
        kind = "half_open" if n % 12 == 11 else CONNECTION_KINDS[n % 3]
        yield anywhere(), Fault("connection", kind, soon())
    for kind, count in (("commit_lost", profile.commit_lost), ("read_lost", profile.read_lost)):
        for _ in range(count):
            yield anywhere(), Fault("connection", kind)
    for _ in range(profile.sigterm):
        yield anywhere(), Fault("sigterm", after_s=soon())
    for _ in range(profile.rule_changes):
        yield anywhere(), Fault("rules")
