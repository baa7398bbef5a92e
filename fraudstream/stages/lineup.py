"""
Which models look at a batch, and what each row gets from them: one score that decides, and those that only watch.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.scoring.model import Model

#: Largest of the hashes that spread holders over [0, 1).
_HASHES = 1 << 64


class Lineup(msgspec.Struct, frozen=True, kw_only=True):
    """
    The models of one moment: a batch sees one line-up from end to end.

    ``champion`` decides. ``canary`` decides in its place for ``share`` of the holders (0 to 1). ``shadows`` decide nothing.
    """

    champion: Model
    canary: Model | None = None
    share: float = 0.0
    shadows: tuple[Model, ...] = ()

    def of_canary(self, transactions: Sequence[Transaction]) -> NDArray[np.bool_]:
        """
        Return shape (batch,): which rows the canary decides. A holder whose share has come stays with it as the share grows.
        """
        if self.canary is None or self.share <= 0:
            return np.zeros(len(transactions), dtype=np.bool_)
        bound, salt = int(self.share * _HASHES), self.canary.id[:16]
        hashes = (xxhash.xxh3_64_intdigest(f"{salt}{holder(one)}".encode()) for one in transactions)
        return np.fromiter((found < bound for found in hashes), dtype=np.bool_, count=len(transactions))


def holder(transaction: Transaction) -> str:
    """
    Return who is to meet the same model again and again: the card, else the customer, else nobody but this payment.
    """
    return transaction.card_id or transaction.user_id or transaction.transaction_id
