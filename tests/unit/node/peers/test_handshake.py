"""Goal: only the directory that speaks for a known node is let in, and only one that was not set
back; what this node tells of itself is its newest state.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.peers.codec import HEADER, Hello, decode_hello
from quorumcache.node.peers.handshake import DUPLICATE_RETRY_MS, NEWER_MAP_RETRY_MS, Handshake
from quorumcache.node.peers.link import REFUSED_RETRY_MS, Refused
from quorumcache.node.storage.start_record import PeerStarts
from quorumcache.node.storage.starts import Starts
from tests.support.founding import disk_id
from tests.unit.node.peers.test_codec import HELLO

THEIRS = HELLO._replace(node_id=2, name="b", disk_id=disk_id(2), incarnation=8)


def started(count: int, first: int = 1) -> Hello:
    starts = Starts()
    for number in range(first, first + count):
        starts = starts.next(number)
    return THEIRS._replace(start_number=starts.number, start_nonces=starts.nonces)


def fail(error: BaseException) -> None:
    raise error


class World:
    def __init__(self) -> None:
        self.newer_maps = 0
        starts = PeerStarts(None, "", HELLO.disk_id, fail)
        self.handshake = Handshake(HELLO, starts, self._newer_map)
        self.handshake.know(2, "b", disk_id(2))

    def _newer_map(self) -> None:
        self.newer_maps += 1

    def refusal(self, hello: Hello, dialed_id: int = 0) -> Refused:
        with pytest.raises(Refused) as caught:
            self.handshake.check(hello, dialed_id)
        return caught.value


def test_a_peer_is_let_in_from_either_side() -> None:
    world = World()
    world.handshake.check(THEIRS, 0)
    world.handshake.check(THEIRS, 2)
    assert "dialed node" in str(world.refusal(THEIRS, 3))


def test_a_node_that_was_forgotten_is_a_stranger_until_it_is_known_again() -> None:
    world = World()
    world.handshake.forget(2)
    refused = world.refusal(THEIRS)
    assert "does not know" in str(refused)
    assert refused.retry_ms == REFUSED_RETRY_MS
    world.handshake.know(2, "b", disk_id(9))
    assert "belongs to data directory" in str(world.refusal(THEIRS))
    world.handshake.know(2, "b", disk_id(2))
    world.handshake.check(THEIRS, 0)


def test_a_stranger_with_a_newer_map_is_told_to_come_again_soon() -> None:
    world = World()
    stranger = THEIRS._replace(node_id=5, map_epoch=HELLO.map_epoch + 1)
    assert world.refusal(stranger).retry_ms == NEWER_MAP_RETRY_MS
    assert world.newer_maps == 1
    world.handshake.set_map_epoch(HELLO.map_epoch + 1)
    assert world.refusal(stranger).retry_ms == REFUSED_RETRY_MS
    other = stranger._replace(cluster_id="c2", map_epoch=99)
    assert world.refusal(other).retry_ms == REFUSED_RETRY_MS
    assert world.newer_maps == 1


def test_a_directory_that_was_set_back_is_refused_once_a_later_start_was_accepted() -> None:
    world = World()
    world.handshake.check(started(3), 0)
    world.handshake.check(started(2), 0)  # The later start was not accepted: nothing is known.
    world.handshake.accepted(started(3))
    assert "was set back to an older copy" in str(world.refusal(started(2)))
    world.handshake.check(started(4), 0)


def test_one_process_at_a_time_speaks_for_a_node() -> None:
    handshake = World().handshake
    ended: list[str] = []
    inbound: Any = SimpleNamespace(hello=THEIRS, closing=False, abort=ended.append)
    handshake.check_caller(THEIRS, None)
    with pytest.raises(Refused, match="another process is connected to node a as node b") as caught:
        handshake.check_caller(THEIRS._replace(incarnation=9), inbound)
    assert caught.value.retry_ms == DUPLICATE_RETRY_MS
    assert not ended
    handshake.check_caller(THEIRS, inbound)
    assert ended == ["replaced by a new connection from the same process"]
    inbound.closing = True
    handshake.check_caller(THEIRS._replace(incarnation=9), inbound)
    assert len(ended) == 1


def test_the_own_hello_tells_the_newest_state() -> None:
    handshake = Handshake(HELLO._replace(is_founded=False), None, lambda: None)
    handshake.set_map_epoch(9)
    handshake.set_founded()
    expected = HELLO._replace(is_founded=True, map_epoch=9)
    assert handshake.hello == expected
    assert decode_hello(handshake.hello_frame[HEADER.size :]) == expected
