"""
Where the files that ship with the project are found.
"""

from pathlib import Path

import fraudstream


def locate(path: Path) -> Path:
    """
    Find a file that ships with the project: as given, else beside the package (a checkout), else inside it (a wheel).

    Returns:
        The first that exists; the path as given when none does, so that the error names what the user wrote.
    """
    package = Path(fraudstream.__file__).parent
    candidates = [path, *([] if path.is_absolute() else [package.parent / path, package / path])]
    return next((candidate for candidate in candidates if candidate.exists()), path)
