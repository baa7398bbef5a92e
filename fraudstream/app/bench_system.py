"""
The system that the benchmarks measure: servers and workers of our own, everything on, fifty rules and the shipped model.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.app.demo import Progress
from fraudstream.app.loading import load_rule_set, load_rulebook
from fraudstream.app.local_system import LocalSystem
from fraudstream.features.definitions import FeatureSet
from fraudstream.settings import Settings, locate
from fraudstream.settings.declared import BOTH_DECIDING_GROUPS

#: Rules of the benchmark: those that ship, and others that look at as much and never fire.
RULES = 50


@asynccontextmanager
async def bench_system(
    inherited: Mapping[str, str],
    groups: Sequence[str],
    progress: Progress,
    *,
    partitions: int = 1,
    settings: Mapping[str, str] | None = None,
    server_arguments: Sequence[str] = (),
) -> AsyncIterator[LocalSystem]:
    """
    Lend a system that is up, with a decision deadline of 250 ms; events of any age count.

    Args:
        inherited: What the processes need of our environment.
        groups: One entry per process.
        progress: Told what takes a moment.
        partitions: In how many parts streams and states are.
        settings: Of every worker beside these, by environment name.
        server_arguments: More of the command line of the Redis server.

    Raises:
        ConfigurationError: A server of our own did not start.
    """
    with LocalSystem(
        inherited=inherited,
        deadline_ms=250,
        horizon_s=0,
        groups=groups,
        partitions=partitions,
        server_arguments=server_arguments,
    ) as system:
        rules = system.folder / "bench.rules"
        rules.write_text(fifty_rules(load_rulebook(Settings()).features), encoding="utf-8")
        system.inherit({"FRAUDSTREAM_RULES": str(rules), **(settings or {})})
        progress.step("starting servers and workers")
        await migrate(system.postgres.url)
        system.start_workers()
        yield system


def processes_of(each: int, *, apart: bool = False) -> list[str]:
    """
    Return the groups of every process where so many serve each deciding group: a single one serves both, unless they are apart.
    """
    deciding = ["fraud-check", "ml-scoring"] if apart or each > 1 else [BOTH_DECIDING_GROUPS]
    return [*deciding * each, "recorder", "alerter"]


def fifty_rules(features: FeatureSet) -> str:
    """
    Return the rules that ship, and as many more as make fifty: each looks at a feature, an amount and a word, and never fires.
    """
    shipped = locate(Settings().rules_path).read_text(encoding="utf-8")
    missing = RULES - len(load_rule_set(Settings(), features).rules)
    names = [features.names[number % len(features.names)] for number in range(missing)]
    return shipped + "".join(
        f"\nrule bench_{number}\n  review if :{name}: > 1000000000000 and :amount: > {20 + number} and :country: != 'ZZ'\n"
        f'  reason "never"\n'
        for number, name in enumerate(names)
    )
