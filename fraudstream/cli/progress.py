"""
Progress for a person who waits: bars on a terminal, a line now and then elsewhere, always on standard error.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fraudstream.app.demo import Progress

#: Seconds between two lines where there is no terminal.
_LINE_EVERY_S = 2.0


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """
    Lend a progress display that fits standard error; with ``quiet`` nothing is shown.
    """
    if quiet:
        yield Progress(step=lambda _: None, count=lambda _name, _done, _total: None)
    elif sys.stderr.isatty():
        with _bars() as shown:
            yield shown
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, object] = {}

        def count(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)  # type: ignore[arg-type]

        yield Progress(step=lambda text: bars.console.print(f"[dim]{text}[/dim]"), count=count)


def _lines() -> Progress:
    last = {"at": 0.0}

    def count(name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - last["at"] >= _LINE_EVERY_S or done == total:
            last["at"] = now
            print(f"{name}: {done}" + (f" of {total}" if total else ""), file=sys.stderr, flush=True)  # noqa: T201

    return Progress(step=lambda text: print(text, file=sys.stderr, flush=True), count=count)  # noqa: T201
