"""
A process that keeps what it has freed does not take it from the system page by page for every batch.
"""

import subprocess
import sys

#: Four arrays as a batch has them, each of 60 pages; the faults of fifty rounds after the first.
_ROUNDS = """
import resource
import numpy as np
from fraudstream.app.memory import keep_freed_memory

def batch():
    return sum(float(np.ones(30_000).sum()) for _ in [np.ones(30_000) for _ in range(4)])

kept = keep_freed_memory() if {keep} else True
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    batch()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keep: bool) -> tuple[bool, int]:
    ran = subprocess.run([sys.executable, "-c", _ROUNDS.format(keep=keep)], capture_output=True, text=True, check=True)
    kept, count = ran.stdout.split()
    return kept == "True", int(count)


def test_memory_that_a_batch_has_freed_serves_the_next_one() -> None:
    kept, count = faults(keep=True)

    assert not kept or count < 500, "fifty batches of 240 pages would take 12,000"


#: Bodies of all sizes of which one in ten lives on: holes everywhere, and no end of the heap to give back. Prints MB.
_HOLES = """
import asyncio
from fraudstream.app.memory import give_back_holes, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

keep_freed_memory()
made = [bytes(20_000 if number % 10 else 600) for number in range(3_000)]
kept = made[::10]
full = resident()
del made
left = resident()
print(asyncio.run(give_back_holes()), full, left, resident())
"""


def test_holes_between_what_lives_on_go_back_to_the_system() -> None:
    ran = subprocess.run([sys.executable, "-c", _HOLES], capture_output=True, text=True, check=True)
    done, full, left, after = map(float, ran.stdout.split())

    assert full - left < 10, "what is freed between others stays with the process"
    assert not done or left - after > 30, "of 54 MB that were freed"
