"""
Work in small steps: whoever has something else to do meanwhile takes them one by one.
"""

from collections.abc import Generator
from typing import TypeVar

_T = TypeVar("_T")

#: Work whose every step takes some tens of microseconds, up to a millisecond for the largest of rules; its value comes last.
Steps = Generator[None, None, _T]


def at_once(steps: Steps[_T]) -> _T:
    """
    Take all steps one after the other and return the value.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: _T = end.value
            return value
