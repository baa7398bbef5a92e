"""
Compile the kernel of the features while the package is built, where there is a C compiler. Without one the package is the same
and slower: everything is then worked out by arrays.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("fraudstream/features/kernel.c")
#: No suffix that Python takes for one of a module.
LIBRARY = SOURCE.with_name("kernel.clib")
#: Every operation rounds by itself, as numpy's do: no fused multiplication, nothing taken as associative.
FLAGS = ["-std=c99", "-O2", "-fPIC", "-shared", "-ffp-contract=off"]


class CompileKernel(BuildHookInterface[Any]):
    """
    Hatch's hook for builds, of wheels and of editable installs alike.
    """

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """
        Compile, or say why not and go on.
        """
        root = Path(self.root)
        library = root / LIBRARY
        library.unlink(missing_ok=True)
        if problem := compiled(root / SOURCE, library):
            self.app.display_warning(f"fraudstream is built without its compiled kernel: {problem}")
            return
        build_data["artifacts"].append(LIBRARY.as_posix())
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")


def compiled(source: Path, library: Path) -> str:
    """
    Compile the kernel; return why it could not be done, nothing where it was.

    The library holds a digest of its source, so that it is never used with another one.
    """
    names = os.environ.get("CC", "cc gcc clang").split()
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        return f"no C compiler ({', '.join(names)})"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    unfinished = library.with_suffix(f".{os.getpid()}")
    command = [compiler, *FLAGS, f'-DSOURCE="{digest}"', "-o", str(unfinished), str(source), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        return f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
    unfinished.replace(library)
    return ""


if __name__ == "__main__":
    sys.exit(compiled(SOURCE, LIBRARY))
