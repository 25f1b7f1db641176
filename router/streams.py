"""How `quorumcache` and `quorumcache-bench` print help and notes (with `ring/streams.py`).

Their lines wait for the reader, as those of any command do; a node's never do
(`node/telemetry/streams.py`).
"""

from __future__ import annotations

import argparse
import sys
from typing import Protocol

from quorumcache.ring.streams import discard


class SupportsWrite(Protocol):
    """What argparse prints to."""

    def write(self, text: str, /) -> object: ...


class Parser(argparse.ArgumentParser):
    """argparse whose help is output like any other: what keeps it from being written is told."""

    def _print_message(self, message: str, file: SupportsWrite | None = None) -> None:
        if message:
            (file or sys.stderr).write(message)


def note(line: str) -> None:
    """Print a line to stderr, if that is possible."""
    try:
        if line:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)
