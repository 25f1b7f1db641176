"""The `stats` command: memcached's own words, answered from what this node knows.

`stats_reply` picks the section by the first word; a section is a function from the node's view to
`STAT name value` pairs (`stat_general.py`, `stat_items.py`, `stat_cluster.py`, `stat_locks.py`,
`stat_transactions.py`).

Numbers are this node's: commands that clients sent to it, items of all replicas it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from quorumcache.node.admin.stat_cluster import cluster, shards
from quorumcache.node.admin.stat_general import ProcessFacts, general, read_process, settings
from quorumcache.node.admin.stat_items import (
    END,
    cachedump,
    connections,
    detail,
    items,
    sizes,
    sizes_refused,
    slabs,
)
from quorumcache.node.admin.stat_locks import locks
from quorumcache.node.admin.stat_transactions import transactions
from quorumcache.node.admin.view import ObservedNode

Pairs = Iterable[tuple[str, object]]

ERROR = b"ERROR\r\n"


def stats_reply(
    node: ObservedNode,
    args: tuple[bytes, ...],
    *,
    process: Callable[[], ProcessFacts] = read_process,
) -> bytes:
    """The whole reply to `stats [args]`, `END` included.

    The first word picks the section, further words are ignored, as in memcached. `stats reset`
    zeroes the counters and answers `RESET`; a word that is not known answers `ERROR`. Source:
    protocol.txt, "Statistics".
    """
    if not args:
        return render(general(node, process()))
    word = args[0]
    section = _SECTIONS.get(word)
    if section is not None:
        return render(section(node))
    if word == b"reset":
        node.counters.reset()
        node.client_events.forget_prefixes()
        return b"RESET\r\n"
    if word == b"detail":
        return detail(node, args[1:])
    if word == b"cachedump":
        return cachedump(node, args[1:])
    return ERROR


def render(pairs: Pairs) -> bytes:
    """`STAT name value` lines and `END`."""
    return "".join(f"STAT {name} {value}\r\n" for name, value in pairs).encode() + END


def _nothing(node: ObservedNode) -> Iterator[tuple[str, object]]:
    return iter(())


_SECTIONS: dict[bytes, Callable[[ObservedNode], Pairs]] = {
    b"settings": settings,
    b"items": items,
    b"slabs": slabs,
    b"sizes": sizes,
    b"sizes_disable": sizes,
    b"sizes_enable": sizes_refused,
    b"conns": connections,
    b"shards": shards,
    b"cluster": cluster,
    b"transactions": transactions,
    b"locks": locks,
    b"extstore": _nothing,
}
