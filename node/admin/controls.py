"""What clients may change of the process: its log level, its memory, and whether it runs.

`verbosity` is memcached's: at 0 the node logs what it was started with, at 1 from `info` on, at 2
and more all; never less than it was started with. `cache_memlimit` holds until the node is
restarted. `shutdown` is a SIGTERM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.telemetry.logs import event, get_logger, use_level

VERBOSITY_MAX: Final = 2
"""More is as much, as in memcached."""

_log = get_logger("admin")


class NodeControls:
    """One per node; see the module docstring."""

    def __init__(self, config: NodeConfig, use_memory: Callable[[int], None]) -> None:
        """`use_memory`: hears what items may take from now on, in bytes."""
        self._log_level = config.log_level
        self._use_memory = use_memory
        self.verbosity = 0
        self.memory_bytes = config.memory_bytes
        """What items may take."""
        self.ask_stop: Callable[[str], None] | None = None
        """Has the process stop this node, as at SIGTERM. What runs the node sets it."""

    def set_verbosity(self, level: int) -> None:
        """`verbosity`."""
        self.verbosity = min(level, VERBOSITY_MAX)
        if self.verbosity == 0 or self._log_level == "debug":
            use_level(self._log_level)
        else:
            use_level("info" if self.verbosity == 1 else "debug")
        event(_log, "info", "verbosity_changed", verbosity=self.verbosity)

    def limit_memory(self, memory_bytes: int) -> bool:
        """`cache_memlimit`."""
        self.memory_bytes = memory_bytes
        self._use_memory(memory_bytes)
        event(_log, "info", "memory_limit_changed", bytes=memory_bytes)
        return True

    def shut_down(self) -> None:
        """`shutdown`."""
        event(_log, "warning", "shutdown_asked")
        if self.ask_stop is not None:
            self.ask_stop("shutdown_command")
