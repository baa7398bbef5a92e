"""
How long to wait before the next try.
"""

import random


def full_jitter(attempt: int, *, first_s: float, longest_s: float, rng: random.Random) -> float:
    """
    Return seconds to wait before try ``attempt`` + 1, between a tenth of the bound and the bound, which doubles with every try.

    References:
        Brooker 2015, "Exponential backoff and jitter", AWS Architecture Blog.
    """
    bound: float = min(longest_s, first_s * 2 ** min(attempt, 32))
    return float(bound * rng.uniform(0.1, 1.0))
