"""
A part of a batch: the rows that still need features.
"""

from collections.abc import Sequence

from fraudstream.features.records import Records
from fraudstream.features.states import States


def part_of_records(records: Records, rows: Sequence[int]) -> Records:
    """
    Return the records of these rows, in this order.
    """
    if len(rows) == len(records.hashes):
        return records
    index = list(rows)
    return Records(
        hashes=records.hashes[index],
        occurred_s=records.occurred_s[index],
        amounts=records.amounts[index],
        entities={kind: [ids[row] for row in rows] for kind, ids in records.entities.items()},
        words={name: column[index] for name, column in records.words.items()},
        packed={kind: [column[row] for row in rows] for kind, column in records.packed.items()},
    )


def part_of_states(states: States, rows: Sequence[int], *, of: int) -> States:
    """
    Return the states of these rows out of ``of``, in this order.
    """
    if len(rows) == of:
        return states
    return States(
        logs={kind: [values[row] for row in rows] for kind, values in states.logs.items()},
        rings={kind: [values[row] for row in rows] for kind, values in states.rings.items()},
    )
