"""
Which user a server runs as: PostgreSQL refuses root, so root hands it to a user without rights.
"""

import os
import pwd
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec


class Owner(msgspec.Struct, frozen=True):
    """
    A user to run a process as; ``uid`` None means ourselves.
    """

    uid: int | None = None
    gid: int | None = None

    def popen_arguments(self) -> dict[str, Any]:
        """
        Return what ``subprocess.Popen`` needs to run a process as this user.
        """
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def make_folder(self, folder: Path) -> Path:
        """
        Make a folder that only this user (and root) can enter, and return its absolute path.
        """
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if self.uid is not None and self.gid is not None:
            os.chown(folder, self.uid, self.gid)
        return folder

    def give(self, path: Path) -> Path:
        """
        Make this user the owner of a file, and return it.
        """
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)
        return path

    def can_reach(self, path: Path) -> bool:
        """
        Say whether this user may walk to a path; judged by the rights of everybody, since this user has no others.
        """
        return self.uid is None or all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)

    def can_run(self, program: Path) -> bool:
        """
        Say whether this user may start a program; judged likewise.
        """
        return self.uid is None or (self.can_reach(program) and bool(program.stat().st_mode & stat.S_IXOTH))


def ourselves() -> Owner:
    """
    Return the user that this process already runs as.
    """
    return Owner()


def unprivileged() -> Owner:
    """
    Return ourselves, or, for root, a user without rights: ``nobody``, else the first who is not root.
    """
    if os.geteuid() != 0:
        return Owner()
    users = sorted(pwd.getpwall(), key=lambda user: (user.pw_name != "nobody", user.pw_uid))
    user = next(user for user in users if user.pw_uid != 0)
    return Owner(user.pw_uid, user.pw_gid)


def copy_for_everybody(sources: Mapping[str, Path], target: Path) -> Path:
    """
    Copy trees of programs to where any user may read and run them; a copy that is there already is kept.

    Args:
        sources: Path inside ``target`` to the tree that it is a copy of.
        target: The folder to make.
    """
    if target.exists():
        return target
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for place, source in sources.items():
        shutil.copytree(source, partial / place, ignore=shutil.ignore_patterns("include", "*.a", "doc", "man"))
    for path in (partial, *partial.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
    return partial.rename(target)
