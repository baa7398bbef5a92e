"""
How far a counted figure can be trusted: intervals for shares and for sums of money.
"""

from math import sqrt

import msgspec
import numpy as np
from numpy.typing import NDArray

#: Both methods, for people who read a figure.
SHARE_METHOD = "Wilson score interval, 95 %"
MONEY_METHOD = (
    "Poisson bootstrap over payments, 2,000 rounds, 95 %; normal interval of a compound Poisson sum above 2,000 payments"
)

_Z = 1.959963984540054
_ROUNDS = 2_000
#: Payments above which the sum is normal enough, and drawing each of them too slow.
_DRAWN = 2_000


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """
    So many of so many, with the interval of the share; None where there is nothing to divide by.
    """

    count: int
    of: int
    share: float | None
    low: float | None
    high: float | None


def wilson(count: int, of: int) -> Share:
    """
    Return a share with its 95 % interval, which is honest for few cases and shares near 0 or 1.

    References:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if of == 0:
        return Share(count=count, of=of, share=None, low=None, high=None)
    share, z2 = count / of, _Z * _Z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    low = 0.0 if count == 0 else max(0.0, middle - half)
    high = 1.0 if count == of else min(1.0, middle + half)
    return Share(count=count, of=of, share=share, low=low, high=high)


def sum_interval(amounts: NDArray[np.float64], seed: int = 1) -> tuple[float, float]:
    """
    Return the 95 % interval of a sum of amounts, were the same span of time lived through again: how many come is as much left
    to chance as how large they are.

    References:
        Chamandy et al. 2012, "Estimating uncertainty for massive data streams", for the Poisson bootstrap.
    """
    if not len(amounts):
        return 0.0, 0.0
    total = float(amounts.sum())
    if len(amounts) > _DRAWN:
        half = _Z * float(np.sqrt(np.square(amounts).sum()))
        return max(0.0, total - half), total + half
    times = np.random.default_rng(seed).poisson(1.0, (_ROUNDS, len(amounts)))
    low, high = np.percentile(times @ amounts, (2.5, 97.5)).tolist()
    return float(low), float(high)
