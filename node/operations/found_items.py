"""Answers the gets that other nodes ask a leader for, many in one item (`get_bundles.py`).

One pass, under the leases that hold at a moment after the item came. What needs more than a look-up
(a lease to wait for, an expired item to remove, a key that a transaction holds, a value in pieces,
one too large) is not answered: the node that asked reads it the general way.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.items import FORWARD_FOUND, GETS_MAX, NOT_LED, UNANSWERED
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID, TIMED
from quorumcache.node.store.item import PIECES
from quorumcache.node.store.store import shard_store

FOUND_BYTES_MAX: Final = 256 << 10
"""Bytes of the items of one answer: about what stands in a frame of values."""


def answer_gets(serving: Serving, node_id: int, item: tuple[Any, ...]) -> None:
    """Answer a node's FORWARD_GETS. `PeerFrameError` if it has another form."""
    if len(item) != 3 or type(item[1]) is not int or type(item[2]) is not tuple:
        raise PeerFrameError("gets of an unknown form")
    asked: tuple[Any, ...] = item[2]
    count = len(asked)
    if count & 1 or not 0 < count <= 2 * GETS_MAX:
        raise PeerFrameError(f"gets of {count} groups and keys")
    groups = serving.host.groups
    now_ns = serving.clock.monotonic_ns()
    found: list[Any] = []
    size = answered = 0
    for index in range(0, count, 2):
        group_id = asked[index]
        key = asked[index + 1]
        if type(group_id) is not int or type(key) is not bytes or group_id == DIRECTORY_GROUP_ID:
            raise PeerFrameError("gets of an unknown form")
        group = groups.get(group_id)
        if group is None or now_ns >= group.lease_until_ns:
            found.append(NOT_LED)
            continue
        value: Any = group.machine.serve(key)
        if value is TIMED:
            value = _settled(group, key)
        if type(value) is bytes:
            if size + len(value) > FOUND_BYTES_MAX:
                found.append(UNANSWERED)
                continue
            size += len(value)
        elif value is not None:
            found.append(UNANSWERED)
            continue
        found.append(value)
        answered += 1
    serving.counters.forwarded_in += answered
    serving.counters.lease_reads += answered
    if not serving.peers.send_bulk(node_id, (FORWARD_FOUND, item[1], tuple(found))):
        serving.peers.send(node_id, (FORWARD_FOUND, item[1], ()))
    serving.host.flush_soon()


def _settled(group: ReplicaGroup, key: bytes) -> Any:
    """What `serve` called TIMED, by the time that it is: the item, or TIMED if it has to be removed
    or put together, or waited for.
    """
    store = shard_store(group.machine)
    item = store.lookup(key, group.now_ms())
    if type(item) is not bytes or item[0] & PIECES:
        return TIMED
    store.note_hit(key)
    return item
