"""
One delivery on its way through a deciding group.
"""

import msgspec

from fraudstream.domain.transaction import Transaction
from fraudstream.fleet.ports import Delivery


class Case(msgspec.Struct, frozen=True, gc=False):
    """
    A delivery, the transaction that it holds, and the two numbers of its entry id, by which cases are sorted: when the entry
    was added, in milliseconds by the clock of Redis, and which of that millisecond it is.
    """

    delivery: Delivery
    transaction: Transaction
    order: tuple[int, int]
