"""The trace of a run: a digest of everything that happened, and the last events in words."""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.loop import VirtualLoop


class Trace:
    """Two runs of one seed on one commit have the same digest, or a seam leaks."""

    def __init__(self, loop: VirtualLoop, *, kept: int = 400, verbose: bool = False) -> None:
        self._loop = loop
        self._hash = hashlib.blake2b(digest_size=16)
        self._recent: deque[str] = deque(maxlen=kept)
        self.timeline: list[tuple[int, str]] = []
        """(virtual time in ns, what happened) of everything that was told."""
        self._output = sys.stdout
        self._verbose = verbose
        self.count = 0

    def record(self, kind: str, *facts: Any) -> None:
        """For the digest only."""
        self.count += 1
        self._hash.update(f"{self._loop.now_ns} {kind} {facts}\n".encode())

    def say(self, text: str) -> None:
        """For the digest and the reader: faults, elections, whatever explains a failure."""
        self.record("say", text)
        line = f"{self._loop.now_ns / 1e9 - 1000:10.4f}  {text}"
        self._recent.append(line)
        if self._verbose:
            print(line, flush=True, file=self._output)

    def tell(self, text: str) -> None:
        """`say` it, and keep it for the timeline of a failure: faults and changes of leaders."""
        self.timeline.append((self._loop.now_ns, text))
        self.say(text)

    def digest(self) -> str:
        return self._hash.copy().hexdigest()

    def recent(self) -> list[str]:
        return list(self._recent)
