"""
What a person gets from make, with a stand-in for Python: nothing is installed, and no server runs.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REPORT = {"schema": "fraudstream.demo/1"}

#: Makes a virtual environment whose programs talk as much as pip can.
PYTHON = f"""#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
cat > "$3/bin/python" << 'END'
#!/bin/sh
echo "Collecting $*"
END
cat > "$3/bin/fraudstream" << 'END'
#!/bin/sh
echo '{json.dumps(REPORT)}'
END
chmod +x "$3/bin/python" "$3/bin/fraudstream"
echo "created $3"
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """
    Return a checkout in which nothing was ever made.
    """
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "hatch_build.py", "fraudstream/features/kernel.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "python").write_text(PYTHON, encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "PYTHON=./python", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
    )


@pytest.mark.parametrize("target", ["demo", "bench"])
def test_whoever_pipes_the_report_into_jq_gets_json_on_the_first_run_and_after(fresh: Path, target: str):
    first, second = make(fresh, target, "ARGS=--json"), make(fresh, target, "ARGS=--json")

    assert json.loads(first.stdout) == REPORT
    assert json.loads(second.stdout) == REPORT


def test_the_first_run_says_on_stderr_why_it_takes_long_and_later_ones_say_nothing(fresh: Path):
    first, second = make(fresh, "demo"), make(fresh, "demo")

    assert "Setting up .venv" in first.stderr
    assert "Collecting" in first.stderr
    assert second.stderr == ""
