"""Goal: consensus goes on the connection whole, and as a datagram as far as that does no harm; of
heartbeats that come twice one copy counts.

Method: a scripted host over a sender that keeps what it is given.
"""

from __future__ import annotations

import msgpack
import pytest

from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    SnapshotReply,
    VoteReply,
)
from quorumcache.node.consensus.values import Entry, EntryKind
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.consensus_items import KIND_OF
from quorumcache.node.peers.consensus_transport import BEATS_PER_ITEM, BEATS_SEEN_MAX
from quorumcache.node.peers.datagrams import encode_datagrams, items_of
from quorumcache.node.peers.items import HEARTBEATS
from tests.support.scripted_log import HARD_STATE, HostWorld

TOKEN = bytes(range(16))
TICK_NS = 10_000_000


class Sender:
    """Stands in for the network."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.again: list[tuple[int, bytes]] = []

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        self.sent.append((node_id, packed))
        return True

    def send_again(self, node_id: int, packed: bytes) -> None:
        self.again.append((node_id, packed))

    def flush(self) -> None:
        """Nothing is kept back here."""

    def kinds_again(self) -> list[int]:
        return [msgpack.unpackb(packed, use_list=False)[0] for _, packed in self.again]


def make_world(*groups: int) -> tuple[HostWorld, Sender]:
    world = HostWorld(*groups)
    sender = Sender()
    world.transport.peers = sender
    return world, sender


def test_a_vote_goes_twice_and_only_after_it_is_durable() -> None:
    world, sender = make_world(1)
    log = world.logs[1]
    log.script().hard_state = HARD_STATE
    log.promise(2, VoteReply(2, True))
    world.turn(1)
    assert sender.sent == sender.again == []
    world.wal.sync()
    assert sender.sent == sender.again != []


def test_entries_go_once_and_one_acknowledgement_in_a_tick_goes_twice() -> None:
    world, sender = make_world(1)
    log = world.logs[1]
    normal = Append(1, 3, 1, 3, (Entry(4, 1, int(EntryKind.NORMAL), b"x"),))
    first = Append(1, 3, 1, 3, (Entry(4, 1, int(EntryKind.NOOP), b""),))
    for message in (normal, first, Append(1, 4, 1, 3, ()), SnapshotReply(1, 2, 3, True)):
        log.say(2, message)
    world.turn(1)
    assert len(sender.sent) == 4
    assert sender.kinds_again() == [KIND_OF[Append]], "the question overtakes the entries"
    sender.again.clear()
    for index in range(5):
        log.say(2, AppendReply(1, index, False, 0, 0))
        world.turn(1)
    assert len(sender.again) == 1
    world.clock.ns += TICK_NS
    world.host.ticker.look()
    log.say(2, AppendReply(1, 9, False, 0, 0))
    world.turn(1)
    assert len(sender.again) == 2


def test_the_second_copy_of_heartbeats_counts_for_nothing() -> None:
    """Two answers in a round would look like a round without progress to a leader."""
    world, _ = make_world(1, 2)
    beat = Heartbeat(1, 0, 5, 0, 0, 0)
    item = (HEARTBEATS, ((1, *beat), (2, *beat)))
    world.deliver(2, item)
    world.deliver(2, item)
    assert world.logs[1].stepped == world.logs[2].stepped == [(2, beat)]
    world.deliver(3, item)  # the same words from another
    world.deliver(2, (HEARTBEATS, ((1, *beat._replace(sent_ns=6)),)))
    assert len(world.logs[1].stepped) == 3
    for number in range(3 * BEATS_SEEN_MAX):
        world.deliver(2, (HEARTBEATS, ((1, *beat._replace(sent_ns=number)),)))
    assert len(world.transport._beats_seen) == BEATS_SEEN_MAX
    with pytest.raises(PeerFrameError):
        world.deliver(2, (HEARTBEATS, ((1, {}, 5, 0, 0, 0),)))


def test_heartbeats_of_many_groups_fit_into_datagrams() -> None:
    groups = range(1, 2 * BEATS_PER_ITEM + 2)
    world, sender = make_world(*groups)
    beat = HeartbeatReply(1 << 30, 1 << 62, 1 << 30, 1 << 63)
    for group_id in groups:
        world.logs[group_id].say(2, beat)
    world.turn(*groups)
    assert len(sender.sent) == 3
    datagrams = encode_datagrams(TOKEN, [packed for _, packed in sender.again])
    found = [member for each in datagrams for item in items_of(each) for member in item[1]]
    assert found == [(group_id, *beat) for group_id in groups]
