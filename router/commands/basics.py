"""What all commands have in common: exit codes, their errors as one line, and their output."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

from quorumcache.router.codec import key_bytes
from quorumcache.router.errors import (
    ClusterUnreachable,
    ConnectFailed,
    DeadlineExceeded,
    InvalidRequest,
    NodeBusy,
    NotACluster,
    NotDone,
    OutcomeUnknown,
    PasswordNeeded,
    RouterError,
    ValueTooLarge,
    WrongCluster,
)
from quorumcache.router.report import Look
from quorumcache.router.streams import note

OK, MISS, USAGE, UNREACHABLE, UNKNOWN = range(5)
OUTPUT_FAILED = 5
INTERRUPTED = 130
SEEDS_VARIABLE = "QUORUMCACHE_SEEDS"
CREDENTIALS_VARIABLE = "QUORUMCACHE_CREDENTIALS"
DEFAULT_SEEDS = "127.0.0.1:11211"
DEFAULT_TIMEOUT_S = 6.0


class Failure(Exception):
    """One line for standard error, and the exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def left_ms(options: argparse.Namespace) -> int:
    """What is left of the time for the whole operation; connecting has taken some of it."""
    left_s: float = options.deadline - asyncio.get_running_loop().time()
    return max(1, round(1000 * left_s))


def parse_key(key: bytes, where: str = "") -> bytes:
    """A key as it can be sent; `Failure` says what is wrong with it."""
    try:
        return key_bytes(key)
    except InvalidRequest as error:
        raise Failure(USAGE, f"{where}{error}") from error


def read_keys() -> list[bytes]:
    """Keys of the standard input, one per line; blank lines are skipped."""
    if sys.stdin.isatty():
        say("reading keys from the terminal, one per line; end with Ctrl-D")
    lines = _standard_input().split(b"\n")
    return [
        parse_key(line.rstrip(b"\r"), f"line {number}: ")
        for number, line in enumerate(lines, 1)
        if line.strip(b"\r")
    ]


def read_value(text: str) -> bytes:
    """The VALUE of a `set`; `-` stands for the standard input."""
    return _standard_input() if text == "-" else os.fsencode(text)


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise Failure(USAGE, f"cannot read the standard input: {error.strerror}") from None


def explain(error: RouterError) -> tuple[int, str]:
    """Exit code and one line that says what to do."""
    text = str(error)
    if isinstance(error, InvalidRequest):
        return USAGE, text
    if isinstance(error, OutcomeUnknown) or not error.outcome_known:
        return (
            UNKNOWN,
            f"outcome unknown: {text}; read the key later to see what happened",
        )
    if isinstance(error, PasswordNeeded):
        return UNREACHABLE, f"{text}; set ${CREDENTIALS_VARIABLE} to user:password"
    if isinstance(error, NotACluster):
        return UNREACHABLE, f"{text}; give the address of a quorumcached node with --seeds"
    if isinstance(error, NodeBusy):
        return UNREACHABLE, f"{text}; try again, or give another node with --seeds"
    if isinstance(error, ClusterUnreachable | ConnectFailed | WrongCluster):
        hint = f"is quorumcached running there? Other addresses: --seeds or ${SEEDS_VARIABLE}"
        return UNREACHABLE, f"cannot reach the cluster: {text}; {hint}"
    if isinstance(error, ValueTooLarge):
        return MISS, f"not stored: {text}; an older value of this key is gone"
    if isinstance(error, DeadlineExceeded):
        return MISS, f"{text}; try again, or give more time with --timeout"
    if type(error) is NotDone:
        return MISS, f"not done: {text}; try again, `quorumcache status` shows what is wrong"
    return MISS, f"not done: {text}"


def say(text: str) -> None:
    """A line for people, on standard error."""
    note(f"quorumcache: {' '.join(text.split())}")


def show_key(key: bytes) -> str:
    """A key as text, whatever its bytes are."""
    return key.decode("utf-8", "backslashreplace")


def print_json(value: object) -> None:
    """A result as JSON, on standard output."""
    print(json.dumps(value, indent=2))


def look_of_output() -> Look:
    """Colour on a terminal only, and not if NO_COLOR is set; blocks only where they can print."""
    has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return Look(has_colour, "█" if encoding == "utf8" else "#")
