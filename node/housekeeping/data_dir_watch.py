"""Looks once in a while whether the data directory is still the one that the node works in.

A directory that was removed, or that another one has replaced, keeps nothing that the node promises
from then on. So the node ends, whatever it does just now: it may serve, or still wait for its
founding. A node that is new has nothing to look at but its lock and its identity; `DiskKeeper` has
the log looked at as well, and gets the rest of each report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from quorumcache.node.errors import DataDirLost

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.storage.disk import Disk, DiskReport

LOOK_NS: Final = 1_000_000_000
"""Time between two looks at the data directory."""


class DataDirWatch:
    """See the module docstring. `tick` is called every tick of the host."""

    def __init__(
        self,
        *,
        clock: Clock,
        disk: Disk,
        host: ReplicaHost,
        files: Callable[[], Sequence[str]],
        on_lost: Callable[[BaseException], None],
        on_report: Callable[[DiskReport], None] | None = None,
    ) -> None:
        """`files`: paths of what has to be there beside the lock, now. `on_report` hears of each
        look that found all of it.
        """
        self._clock = clock
        self._disk = disk
        self._host = host
        self._files = files
        self._on_lost = on_lost
        self._on_report = on_report
        self._is_looking = False
        self._next_look_ns = 0

    def tick(self) -> None:
        """Look, if it is time."""
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._next_look_ns and not self._is_looking:
            self._is_looking = True
            self._next_look_ns = now_ns + LOOK_NS
            self._look([*self._files()])

    def _look(self, paths: list[str]) -> None:
        def looked(report: DiskReport) -> None:
            self._is_looking = False
            if self._host.stopped:
                return
            missing = report.missing
            # What the node has removed itself meanwhile, because it was not needed, is not missing.
            if missing and (missing not in paths or missing in self._files()):
                self._on_lost(DataDirLost(missing))
            elif self._on_report is not None:
                self._on_report(report)

        self._disk.look(paths, looked)
