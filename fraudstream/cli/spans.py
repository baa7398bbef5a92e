"""
Time spans on the command line: ``30``, ``30s``, ``5m``, ``2h``, ``250ms``.
"""

import re
from typing import Annotated

import typer

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds(text: str) -> float:
    """
    Read a time span and return its seconds.

    Raises:
        typer.BadParameter: It is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|s|min|m|h|d|)", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time span; write 30s, 5m or 2h")
    return float(found[1]) * _UNITS[found[2]]


#: Pause between two looks.
Every = Annotated[float, typer.Option("--every", parser=seconds, metavar="SPAN", help="Pause between two looks of --watch.")]
