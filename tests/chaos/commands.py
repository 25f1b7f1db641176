"""Running the system's tools (ip, nft, tc, mount); what is wrong with them is said in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

COMMAND_SECONDS = 30.0
PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "umount": "mount",
}
"""Program -> the Debian package that has it."""


class CannotRun(Exception):
    """This machine or this user cannot make what chaos needs. The text is one line."""


def run(*command: str, stdin: str = "") -> str:
    """The command's stdout; CannotRun with its complaint when it fails."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRun(f"{' '.join(command)}: {error}") from None
    if done.returncode != 0:
        complaint = " ".join((done.stderr.strip() or done.stdout.strip()).split())
        raise CannotRun(f"{' '.join(command)}: {complaint or f'exit status {done.returncode}'}")
    return done.stdout


def what_is_missing() -> str:
    """Why chaos cannot run here and what to do about it, in one line; "" when it can."""
    if os.geteuid() != 0:
        return "network namespaces and mounts need root: run it with sudo"
    missing = [program for program in PACKAGES if shutil.which(program) is None]
    if missing:
        packages = sorted({PACKAGES[program] for program in missing})
        return (
            f"{', '.join(missing)} not found: on Debian or Ubuntu, apt-get install"
            f" {' '.join(packages)}"
        )
    try:
        run(*unshare(("true",)))
    except CannotRun as error:
        return f"no namespaces can be made here ({error}): a container needs --privileged"
    return ""


def unshare(command: Sequence[str]) -> list[str]:
    """`command` as the first process of namespaces of its own (network, mounts, processes).

    When it ends, or `unshare` is killed, the kernel kills everything that it started, and its
    network namespaces, links, rules and mounts are gone with it.
    """
    flags = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    return ["unshare", *flags, "--propagation", "private", "--", *command]
