"""
How much of everything a rate of payments needs, and what gives way first: arithmetic over measured costs of one payment.

What is not measured is said to be assumed: prices, how full a core may be, and the shape of the traffic.
"""

import math
from collections.abc import Mapping

import msgspec
import numpy as np

from fraudstream.adapters.redis_balance import partitions_per_server
from fraudstream.adapters.redis_keys import Partitions

#: Most that a key of one entity can be asked of a server: one core.
_CORE_US = 1e6
_GB = 1e9


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """
    Costs of one payment, as measured: see ``benchmarks/plan.py --measure`` for how.

    ``redis_us`` is all of a server's CPU with one partition; ``spread_us`` is what the first touch costs more with so many
    partitions, and ``spread_client_us`` what it costs the worker more. ``hot_us`` is the server's CPU for one payment at a
    merchant that every payment is at. ``worker_us`` is by kind of process. Bytes are of memory, but for those on the way.
    """

    redis_us: float
    spread_us: Mapping[int, float]
    spread_client_us: Mapping[int, float]
    hot_us: float
    worker_us: Mapping[str, float]
    record_bytes: float
    mark_bytes: float
    log_bytes: float
    ring_bytes: float
    stream_bytes: float
    network_in_bytes: float
    network_out_bytes: float
    append_bytes: float
    row_bytes: float
    recorder_rows_per_s: float


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is to be carried, and what is assumed of it and of the machines.

    ``hottest_share`` is the share of payments at one merchant, ``crossing`` how many states of a payment lie elsewhere.
    ``backlog_s`` of payments may wait; ``full`` is how full a core may be. A deciding process keeps ``connections`` to every
    partition, and a server takes ``most_connections``. Prices are in dollars.
    """

    rate_tps: float
    entities: int = 100_000_000
    merchants: int = 5_000_000
    hottest_share: float = 0.02
    crossing: float = 3.0
    horizon_s: int = 3_900
    backlog_s: int = 60
    full: float = 0.6
    partitions_per_server: int = 16
    replicas: int = 1
    connections: int = 2
    most_connections: int = 10_000
    core_hour: float = 0.04
    gb_hour: float = 0.005
    disk_gb_month: float = 0.08
    kept_days: int = 90


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """
    What it takes. ``limits`` is the rate at which each part is full, lowest first: what breaks first is the first of them.
    """

    servers: int
    partitions: int
    redis_us: float
    busiest_server: float
    memory_gb: dict[str, float]
    memory_gb_per_server: float
    connections_per_server: int
    network_gbit_per_s: dict[str, float]
    append_mb_per_s_per_server: float
    worker_cores: dict[str, float]
    postgres_cores: float
    databases: int
    disk_tb: float
    dollars_per_month: dict[str, float]
    limits: dict[str, float]


def need(measured: Measured, traffic: Traffic) -> Need:
    """
    Return what a rate takes.
    """
    servers, partitions, redis_us = _servers(measured, traffic)
    worst = max(partitions_per_server(Partitions(partitions), servers)) / (partitions / servers) if partitions > 1 else 1.0
    busiest = traffic.rate_tps * redis_us / _CORE_US / servers * worst
    memory = _memory_gb(measured, traffic)
    cores = _cores(measured, traffic, partitions)
    postgres = cores.pop("postgres", 0.0)
    databases = math.ceil(traffic.rate_tps / (measured.recorder_rows_per_s * traffic.full))
    disk_tb = traffic.rate_tps * 86_400 * traffic.kept_days * measured.row_bytes / 1e12
    copies = 1 + traffic.replicas
    return Need(
        servers=servers,
        partitions=partitions,
        redis_us=round(redis_us, 1),
        busiest_server=round(busiest, 2),
        memory_gb={name: round(gb, 1) for name, gb in memory.items()},
        memory_gb_per_server=round(sum(memory.values()) / servers * worst, 1),
        connections_per_server=round(_connections(traffic, cores, partitions / servers)),
        network_gbit_per_s={
            "into redis": round(traffic.rate_tps * measured.network_in_bytes * 8 / _GB, 1),
            "out of redis": round(traffic.rate_tps * measured.network_out_bytes * 8 / _GB, 1),
            "to replicas": round(traffic.rate_tps * measured.append_bytes * traffic.replicas * 8 / _GB, 1),
        },
        append_mb_per_s_per_server=round(traffic.rate_tps * measured.append_bytes / servers / 1e6, 1),
        worker_cores={name: round(count, 1) for name, count in cores.items()},
        postgres_cores=round(postgres, 1),
        databases=databases,
        disk_tb=round(disk_tb, 1),
        dollars_per_month=_dollars(
            traffic, servers * copies + sum(cores.values()) + postgres, sum(memory.values()) * copies, disk_tb
        ),
        limits=_limits(measured, traffic, servers, redis_us * worst, _connections(traffic, cores, partitions / servers)),
    )


def _servers(measured: Measured, traffic: Traffic) -> tuple[int, int, float]:
    """
    Return servers, partitions, and the CPU of Redis per payment: each depends on the others, so it is found by going round.
    """
    servers = partitions = 1
    redis_us = measured.redis_us
    for _ in range(20):
        wanted = math.ceil(traffic.rate_tps * redis_us / _CORE_US / traffic.full)
        if wanted == servers:
            break
        servers = wanted
        partitions = 1 if servers == 1 else servers * traffic.partitions_per_server
        redis_us = measured.redis_us + _between(measured.spread_us, partitions)
    return servers, partitions, redis_us


def _between(costs: Mapping[int, float], partitions: int) -> float:
    """
    Return a cost between the numbers of partitions that were measured, on a logarithmic scale; beyond the last it stays.
    """
    counts = sorted(costs)
    return float(np.interp(math.log(partitions), np.log(counts), [costs[count] for count in counts]))


def _memory_gb(measured: Measured, traffic: Traffic) -> dict[str, float]:
    crossing = traffic.crossing
    return {
        "states": (traffic.entities * measured.log_bytes + traffic.merchants * measured.ring_bytes) / _GB,
        "records": traffic.rate_tps * traffic.horizon_s * measured.record_bytes / _GB,
        "marks": traffic.rate_tps * traffic.horizon_s * measured.mark_bytes * crossing / _GB,
        "backlog": traffic.rate_tps * traffic.backlog_s * measured.stream_bytes / _GB,
    }


def _cores(measured: Measured, traffic: Traffic, partitions: int) -> dict[str, float]:
    more = {"fraud_check": _between(measured.spread_client_us, partitions)}
    return {
        name: traffic.rate_tps * (micros + more.get(name, 0.0)) / _CORE_US / traffic.full
        for name, micros in measured.worker_us.items()
    }


def _connections(traffic: Traffic, cores: Mapping[str, float], partitions_per_server: float) -> float:
    deciding = sum(math.ceil(cores.get(name, 0.0)) for name in ("fraud_check", "ml_scoring"))
    return deciding * traffic.connections * partitions_per_server


def _dollars(traffic: Traffic, cores: float, memory_gb: float, disk_tb: float) -> dict[str, float]:
    hours = 730
    return {
        "cores": round(cores * traffic.core_hour * hours),
        "memory": round(memory_gb * traffic.gb_hour * hours),
        "disk": round(disk_tb * 1_000 * traffic.disk_gb_month),
    }


def _limits(measured: Measured, traffic: Traffic, servers: int, busiest_us: float, connections: float) -> dict[str, float]:
    """
    Return the rate at which each part of this very layout is full, lowest first.
    """
    limits = {
        "one database": measured.recorder_rows_per_s,
        "the hottest merchant": _CORE_US / (measured.hot_us * traffic.hottest_share),
        "the busiest server": servers * _CORE_US / busiest_us,
        "connections to a server": traffic.rate_tps * traffic.most_connections / max(connections, 1.0),
    }
    return {name: round(limit) for name, limit in sorted(limits.items(), key=lambda one: one[1])}


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long payments wait for their server, in milliseconds, and the share of time that the busiest server was busy.
    """

    p50_ms: float
    p99_ms: float
    p999_ms: float
    busiest: float


def simulate(measured: Measured, traffic: Traffic, *, seconds: float = 2.0, tick_ms: float = 1.0, seed: int = 1) -> Simulated:
    """
    Let payments arrive at random for some seconds, and servers work them off one after the other.

    Each server is a queue; arrivals of a tick are Poisson over its partitions. The server that has the hottest merchant
    gets those payments on top, at the cost of one count.
    """
    needed = need(measured, traffic)
    rng = np.random.default_rng(seed)
    shares = np.array(partitions_per_server(Partitions(needed.partitions), needed.servers), float) / needed.partitions
    per_tick = traffic.rate_tps * tick_ms / 1_000
    budget_us = tick_ms * 1_000
    waiting_us, waits, weights = np.zeros(needed.servers), [], []
    busy_us = np.zeros(needed.servers)
    for _ in range(int(seconds * 1_000 / tick_ms)):
        arrived = rng.poisson(per_tick * shares)
        work_us = arrived * needed.redis_us
        work_us[0] += rng.poisson(per_tick * traffic.hottest_share) * measured.hot_us
        waits.append((waiting_us + work_us / 2) / 1_000)
        weights.append(arrived)
        waiting_us += work_us
        done_us = np.minimum(waiting_us, budget_us)
        busy_us += done_us
        waiting_us -= done_us
    order = np.argsort(flat := np.concatenate(waits))
    reached = np.cumsum(np.concatenate(weights)[order])
    p50, p99, p999 = (float(flat[order][np.searchsorted(reached, reached[-1] * share)]) for share in (0.5, 0.99, 0.999))
    return Simulated(
        p50_ms=round(p50, 2),
        p99_ms=round(p99, 2),
        p999_ms=round(p999, 2),
        busiest=round(float(busy_us.max()) / (seconds * 1e6), 2),
    )
