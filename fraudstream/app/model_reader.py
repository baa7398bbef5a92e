"""
The trees of a model read in a process of its own: a worker that is deciding must not share its interpreter with that.

A thread beside the event loop would get every second turn of the interpreter for as long as it reads: the loop would have half
its speed.
"""

import pickle
import subprocess
import sys

from fraudstream.scoring.shapley import Prepared, prepare
from fraudstream.scoring.trees import UnreadableTrees

#: Longest that the other process may take, in seconds; it needs a few tenths.
_PATIENCE_S = 60.0


def prepared_apart(model: bytes) -> Prepared:
    """
    Do what ``prepare`` does in another process; blocks. Where that does not work out, do it here.

    Raises:
        UnreadableTrees: As ``prepare``.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fraudstream.app.model_reader"],
            input=model,
            capture_output=True,
            check=True,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.SubprocessError):
        return prepare(model)
    answer = pickle.loads(done.stdout)  # noqa: S301 what we wrote ourselves, a moment ago
    assert isinstance(answer, Prepared), "the reader writes nothing else"
    return answer


def main() -> int:
    """
    Read a model from standard input and write what was read; 1 when its trees cannot be read.
    """
    try:
        sys.stdout.buffer.write(pickle.dumps(prepare(sys.stdin.buffer.read())))
    except UnreadableTrees:
        return 1  # whoever asked reads it again, and meets the reason
    return 0


if __name__ == "__main__":
    sys.exit(main())
