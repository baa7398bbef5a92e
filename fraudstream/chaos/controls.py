"""
Negative controls: ways of doing it that look right and are not. The proof must fail on each, or it proves nothing.
"""

from collections.abc import Callable

import msgspec


class Control(msgspec.Struct, frozen=True):
    """
    One way of breaking the protocol in a process of the chaos, and what it costs, in words.
    """

    break_it: Callable[[], None]
    harm: str


CONTROLS: dict[str, Control] = {}
