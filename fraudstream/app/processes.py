"""
What the processes of a system use: CPU and memory, by kind, from the process table of Linux.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from fraudstream.app.local_system import LocalSystem
from fraudstream.settings.declared import BOTH_DECIDING_GROUPS

#: What ``--group`` takes for several groups in one process.
_SEVERAL = (BOTH_DECIDING_GROUPS,)
_GROUP_CPU = re.compile(r'^fraudstream_group_cpu_seconds_total\{group="([a-z-]+)"\} (\S+)$', re.MULTILINE)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(msgspec.Struct, frozen=True):
    """
    CPU seconds so far and resident megabytes now, by kind of process.

    ``parts_s`` are the CPU seconds of the work of each group in processes that serve several: what a process takes is told by
    group in the same proportion.
    """

    cpu_s: Mapping[str, float]
    rss_mb: Mapping[str, float]
    parts_s: Mapping[str, Mapping[str, float]] = {}

    def micros_since(self, before: "Usage", transactions: int) -> dict[str, float]:
        """
        Return the CPU since then per transaction, in microseconds.
        """
        micros: dict[str, float] = {}
        for name, now_s in self.cpu_s.items():
            spent_s = now_s - before.cpu_s[name]
            parts = {part: s - before.parts_s[name].get(part, 0.0) for part, s in self.parts_s.get(name, {}).items()}
            whole_s = sum(parts.values())
            shares = {part: spent_s * s / whole_s for part, s in parts.items()} if whole_s else {name: spent_s}
            micros |= {part: round(s * 1e6 / transactions, 1) for part, s in shares.items()}
        return micros


def usage(system: LocalSystem) -> Usage:
    """
    Return what each kind of process uses, this one as the producer; processes of one kind are added up.
    """
    found: dict[str, list[int]] = {"redis": [system.valkey.pid], "postgres": [system.postgres.pid]}
    parts: dict[str, dict[str, float]] = {}
    for worker in system.workers:
        name = worker.groups.replace("-", "_").replace(",", "_and_")
        found.setdefault(name, []).append(worker.pid)
        if worker.groups in _SEVERAL:
            for group, cpu_s in _by_group(worker.metrics()).items():
                parts.setdefault(name, {}).setdefault(group, 0.0)
                parts[name][group] += cpu_s
    families = {name: [one for pid in pids for one in (pid, *_descendants(pid))] for name, pids in found.items()}
    families["producer"] = [os.getpid()]
    return Usage(
        {name: sum(map(_cpu_s, pids)) for name, pids in families.items()},
        {name: round(sum(map(_rss_mb, pids)), 1) for name, pids in families.items()},
        parts,
    )


def _by_group(page: str) -> dict[str, float]:
    """
    Return the CPU seconds of the work of each group that a metrics page tells of.
    """
    return {match[1].replace("-", "_"): float(match[2]) for match in _GROUP_CPU.finditer(page)}


def rss_mb(pid: int) -> float:
    """
    Return the resident megabytes of a process and its descendants; 0 when it has gone.
    """
    return round(sum(map(_rss_mb, [pid, *_descendants(pid)])), 1)


def cpu_s(pid: int) -> float:
    """
    Return the CPU seconds that a process and its descendants have used so far.
    """
    return sum(map(_cpu_s, [pid, *_descendants(pid)]))


def _stat(pid: int) -> list[str]:
    """
    Return the fields of /proc/<pid>/stat after the name, or none when the process has gone.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    # utime, stime, and those of children that have been waited for: PostgreSQL's backends come and go.
    return sum(map(int, fields[11:15])) / _TICKS_PER_S if fields else 0.0


def _rss_mb(pid: int) -> float:
    fields = _stat(pid)
    return int(fields[21]) * _PAGE_BYTES / 1e6 if fields else 0.0


def _descendants(pid: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) and int(fields[1]) == pid:
            yield int(entry.name)
            yield from _descendants(int(entry.name))
