"""A run's directory: logs, history, and whose it is, so that a later run can tell what was left.

Everything else a run makes is gone with its processes, which the kernel sees to; the directory of a
run that was killed is all that can stay behind. The next run removes it. It knows it by its name
and by the owner written in it, and takes no other. The directory of a run that failed is kept for
its reader.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

PREFIX = "quorumcache-chaos-"
_OWNER = "owner"
_KEPT = "kept"


def create() -> Path:
    """An empty directory named by the process, which is therefore nobody else's."""
    directory = Path(tempfile.gettempdir()) / f"{PREFIX}{os.getpid()}"
    number = 0
    while True:
        try:
            directory.mkdir(mode=0o700)
            break
        except FileExistsError:  # kept by an earlier process with our number
            number += 1
            directory = directory.with_name(f"{PREFIX}{os.getpid()}-{number}")
    (directory / _OWNER).write_text(f"{os.getpid()} {_started(os.getpid())}\n")
    return directory


def keep(directory: Path) -> None:
    """Nobody removes it but its reader."""
    (directory / _KEPT).touch()


def remove(directory: Path) -> None:
    """Its own run is over."""
    shutil.rmtree(directory)


def remove_leftovers() -> list[Path]:
    """Remove the directories of runs that were killed; which those were."""
    removed = []
    for directory in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        if _is_leftover(directory):
            shutil.rmtree(directory)
            removed.append(directory)
    return removed


def _is_leftover(directory: Path) -> bool:
    """Made by a run of this user that is gone, and not kept."""
    if not re.fullmatch(PREFIX + r"\d+(-\d+)?", directory.name) or directory.is_symlink():
        return False
    try:
        if directory.stat().st_uid != os.geteuid() or (directory / _KEPT).exists():
            return False
        words = (directory / _OWNER).read_text().split()
    except OSError:
        return False  # without an owner it is none of ours
    return len(words) == 2 and words[0].isdigit() and words[1] != _started(int(words[0]))


def _started(pid: int) -> str:
    """When the process was started, in ticks since the boot; "" when there is none.

    A number of a process is used again, the pair is not. Source: proc(5), /proc/pid/stat.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
