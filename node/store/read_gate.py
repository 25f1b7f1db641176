"""The gate between readers and the items of one shard.

While it is open the items may be read as they are, without a question to anybody: this node leads
the shard under a lease, no transaction holds a key of it, and no delayed flush waits. The state
(`state.py`) owns its gate: it says which table is behind it, and what was applied. The lease is the
replica's, which lends it (`StateMachine.lend`). Nobody else changes a gate, so whoever keeps one
(`clients/get_routes.py`) sees at once when it is shut.

There are two forms, which behave alike; the native one goes with the native table.
"""

from typing import Protocol

from quorumcache.node.store.item_table import ItemTable


class ReadGate(Protocol):
    """See the module."""

    @property
    def table(self) -> ItemTable | None:
        """The items behind it; None: it is shut for good."""

    @table.setter
    def table(self, table: ItemTable | None) -> None: ...

    @property
    def lease_until_ns(self) -> int:
        """It is open while the node's clock is below; 0 = it is shut."""

    @lease_until_ns.setter
    def lease_until_ns(self, until_ns: int) -> None: ...

    def applied(self, applied_ms: int, now_s: int, is_plain: bool) -> None:
        """The state has seen this cluster time, it is this second for the stamps of accesses, and
        whether items are what they seem to be. A new gate is told False.
        """


class PlainReadGate:
    """See `ReadGate`."""

    __slots__ = ("applied_ms", "is_plain", "lease_until_ns", "now_s", "table")

    def __init__(self) -> None:
        self.table: ItemTable | None = None
        self.lease_until_ns: int = 0
        self.applied_ms: int = 0
        self.now_s: int = 1
        self.is_plain: bool = False

    def applied(self, applied_ms: int, now_s: int, is_plain: bool) -> None:
        """See `ReadGate.applied`."""
        self.applied_ms = applied_ms
        self.now_s = now_s
        self.is_plain = is_plain


def new_read_gate() -> ReadGate:
    """A gate that is shut, of the form that this process runs."""
    try:
        from quorumcache.node.core.gets import ReadGate as NativeReadGate
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return PlainReadGate()
    return NativeReadGate()
