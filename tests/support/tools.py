"""
Programs that are not Python packages: tests that need one skip without it, except in CI, where it must be there.
"""

import os
import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """
    Skip a test where a program is missing; in CI the test runs and fails by itself.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing) and not os.environ.get("CI"), reason=f"not installed: {', '.join(missing)}")
