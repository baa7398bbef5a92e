"""
The lists and the table of rates that stand in files beside the rules.
"""

from collections.abc import Mapping
from pathlib import Path

from fraudstream.domain.tokens import Tokens
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_lists, read_rules
from fraudstream.rules.rates import Rates, read_rates
from fraudstream.settings import Settings, locate

_Signature = tuple[tuple[str, int, int], ...]


class ListFiles:
    """
    The lists and rates of the files that the settings name; read again only where a file has changed.

    Args:
        settings: Name the files.
        tokens: What stands for people in payments, and so in these lists; without, entries stay as they are.
    """

    def __init__(self, settings: Settings, tokens: Tokens | None = None) -> None:
        self._written = str if tokens is None else tokens.text
        self._folder = locate(settings.lists_path)
        self._rates = None if settings.rates_path is None else locate(settings.rates_path)
        self._signature: _Signature | None = None
        self._lists: Mapping[str, ListContents] = {}
        self._table: Rates | None = None

    def read(self) -> tuple[Mapping[str, ListContents], Rates | None]:
        """
        Return lists by name, and the rates if there are any.

        Raises:
            InvalidRule: A file cannot be read, or is wrong.
        """
        signature = tuple(map(_signature, (*sorted(self._folder.glob("*.list")), *([self._rates] if self._rates else []))))
        if signature != self._signature:
            self._lists = load_lists(self._folder, self._written)
            self._table = None if self._rates is None else read_rates(read_rules(self._rates), str(self._rates))
            self._signature = signature
        return self._lists, self._table


def _signature(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), found.st_mtime_ns, found.st_size
