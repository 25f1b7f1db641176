"""What a server says of its memory: a node of ours all parts of it, a memcached two of them."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from quorumcache.bench.addresses import Address
from quorumcache.bench.text_client import TextClient

_OURS = "memory:"


@dataclass(frozen=True, slots=True)
class Parts:
    """In bytes."""

    items: int
    """Keys and values, and the head of each item."""
    index: int
    """From keys to items."""
    sessions: int = 0
    """What tells a write that comes again."""
    tables: int = 0
    """Other tables: the order of eviction, the index of ends, locks, transactions."""
    free: int = 0
    """Items that have gone and are not freed, and room that is kept for items to come."""
    log: int = 0
    """Entries of the log."""

    def since(self, before: Parts) -> Parts:
        """By how much each has grown."""
        pairs = zip(astuple(self), astuple(before), strict=True)
        return Parts(*(now - then for now, then in pairs))


def parts_of(address: Address) -> Parts:
    """Ask a node of ours, or a memcached."""
    with TextClient(address) as client:
        if client.cluster_map() is None:
            told = _stats(client, b"stats")
            return Parts(items=told["bytes"], index=told["hash_bytes"])
        told = _stats(client, b"stats cluster")
    of = {name.removeprefix(_OURS): n for name, n in told.items() if name.startswith(_OURS)}
    return Parts(
        items=of["items"],
        index=of["index"],
        sessions=of["sessions"],
        tables=of["used"] - of["items"] - of["index"] - of["sessions"],
        free=of["retired"] + of["free"],
        log=of["log"],
    )


def _stats(client: TextClient, command: bytes) -> dict[str, int]:
    """Those whose value is a whole number."""
    words = [line.decode().split() for line in client.lines(command)]
    return {one[1]: int(one[2]) for one in words if len(one) == 3 and one[2].isdigit()}
