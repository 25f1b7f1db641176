"""What a group's log drives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from quorumcache.node.store.commands import Command
from quorumcache.node.store.item import ITEM_BYTES_MAX
from quorumcache.node.store.results import Result


class StateMachine:
    """Deterministic: state depends on the applied entries alone.

    A class and no `Protocol`: each entry that is applied needs it, and mypyc calls the methods of a
    class directly.
    """

    __slots__ = ()

    bytes_used: int
    last_now_ms: int
    last_wall_ms: int

    def apply(
        self,
        index: int,
        now_ms: int,
        commands: Sequence[Command],
        wall_ms: int | None = None,
        item_bytes_max: int = ITEM_BYTES_MAX,
    ) -> list[Result]:
        """Apply one committed batch; results in order of the commands."""
        raise NotImplementedError

    def view(self) -> Any:
        """An immutable picture of the state."""
        raise NotImplementedError

    def encode_view(self, view: Any) -> Iterator[bytes]:
        """The bytes of a snapshot of `view`, in chunks."""
        raise NotImplementedError

    def restore(self, data: bytes) -> None:
        """Become the state that `encode_view` wrote."""
        raise NotImplementedError

    def digest(self) -> bytes:
        """Equal states have equal digests."""
        raise NotImplementedError
