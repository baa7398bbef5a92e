"""
Every setting, declared once, and the one way in which they are read. Nothing here reads ``os.environ``: ``cmd/`` and ``cli/``
hand it in.
"""

from fraudstream.settings.declared import CATALOGUE, GROUPS, Setting, Settings
from fraudstream.settings.example import example
from fraudstream.settings.reading import Resolved, load, resolve
from fraudstream.settings.shipped import locate

__all__ = ["CATALOGUE", "GROUPS", "Resolved", "Setting", "Settings", "example", "load", "locate", "resolve"]
