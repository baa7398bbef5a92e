"""
What the commands share that look at a running system: once or again and again, by group, as text or as JSON.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import typer

from fraudstream.cli.entry import BAD_NEWS, print_json
from fraudstream.cli.screen import clear


class Looked:
    """
    Looks once, or again and again, and ends the command by what the last look said.
    """

    def __init__(self, settings: Any, *, groups: str | None = None) -> None:
        from fraudstream.app.findings import Limits

        self._settings = settings
        self._shown = 0
        named = names_in(groups)
        refuse_unknown(named)
        self._limits = Limits(memory_ratio=settings.memory_limit_ratio, groups=named or Limits().groups)

    def through(self, show: Callable[[Any], bool], *, watch: bool, every_s: float, times: int | None) -> None:
        """
        Show every look; leave with ``BAD_NEWS`` when the last one was not good. Who watches sees outages come and go.
        """
        from fraudstream.domain.errors import StreamUnavailable

        async def main() -> bool:
            left = times if watch else 1
            while True:
                try:
                    return await self._show(show, watch=watch, every_s=every_s, times=left)
                except StreamUnavailable as exc:
                    left = None if left is None else left - self._shown - 1
                    if not watch or left == 0:
                        raise
                    typer.echo(f"UNREACHABLE: {exc}", err=True)
                    await asyncio.sleep(every_s)

        if not asyncio.run(main()):
            raise typer.Exit(BAD_NEWS)

    async def _show(self, show: Callable[[Any], bool], *, watch: bool, every_s: float, times: int | None) -> bool:
        from fraudstream.app.looking import looks

        good, self._shown = True, 0
        async for look in looks(self._settings, self._limits, every_s=every_s, times=times):
            if watch:
                clear()
            good = show(look)
            self._shown += 1
        return good


def show_as(as_json: bool, schema: str, data: Callable[[], Any], text: Callable[[], str]) -> None:
    """
    Print one look, as an object or for people.
    """
    if as_json:
        print_json(schema, data())
    else:
        typer.echo(text())


def names_in(text: str | None) -> tuple[str, ...]:
    """
    Read names with commas between them; none is none.
    """
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def refuse_unknown(names: tuple[str, ...]) -> None:
    """
    Refuse what is no group of ours.

    Raises:
        typer.BadParameter: Names the known ones.
    """
    from fraudstream.settings import GROUPS

    for name in names:
        if name not in GROUPS:
            raise typer.BadParameter(f"group {name!r} is unknown; known are {', '.join(GROUPS)}")


def chosen(groups: Any, text: str | None) -> list[Any]:
    """
    Return the groups that an option names, all without one.

    Raises:
        typer.BadParameter: It names one that is not ours.
    """
    names = names_in(text)
    refuse_unknown(names)
    return [one for one in groups if not names or one.group in names]
