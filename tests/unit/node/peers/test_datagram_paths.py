"""Goal: datagrams go to the process that the dialed link leads to, and are taken from the process
at the other end of the accepted one only. (With sockets: `test_datagrams.py`.)
"""

from __future__ import annotations

import logging
from random import Random
from typing import Any

import pytest

from quorumcache.node.clock import SystemClock
from quorumcache.node.peers.codec import Hello, pack_item
from quorumcache.node.peers.datagram_paths import DatagramPaths
from quorumcache.node.peers.datagrams import encode_datagrams, make_token
from quorumcache.node.peers.handshake import Handshake
from quorumcache.node.peers.line_log import LineLog
from quorumcache.node.peers.link import PeerLink
from quorumcache.node.peers.peer import Peer
from quorumcache.node.peers.proofs import keyed, with_extras
from quorumcache.node.telemetry.counters import Counters
from quorumcache.ring.secret import Secret
from tests.support.founding import disk_id
from tests.unit.node.peers.test_network import Recorder, hello_of

OWN, THEIRS = hello_of(1), hello_of(2)
SECRET = Secret("the secret of the cluster")


def paths_of(counters: Counters | None = None) -> DatagramPaths:
    log = logging.getLogger("quorumcache.peers")
    return DatagramPaths(counters or Counters(), LineLog(SystemClock(), log))


def handshake_of(secret: Secret | None = None) -> Handshake:
    return Handshake(OWN, None, lambda: None, Random(1), secret)


def dialed(hello: Hello | None, path: Any = None) -> PeerLink:
    return link_of(2, hello, path)


def accepted(hello: Hello, is_proven: bool = False) -> PeerLink:
    link = link_of(0, hello)
    link.node_id, link.is_proven = hello.node_id, is_proven
    return link


def link_of(dialed_id: int, hello: Hello | None, path: Any = None) -> PeerLink:
    """Without a connection and an owner."""
    nobody: Any = None
    link = PeerLink(nobody, dialed_id, nobody, 1)
    link.hello, link.path = hello, path
    return link


class Path:
    def __init__(self) -> None:
        self.token = b""
        self.sent: list[bytes] = []
        self.flushes = 0

    def send(self, packed: bytes) -> None:
        self.sent.append(packed)

    def flush(self) -> None:
        self.flushes += 1


def test_a_path_is_used_while_its_link_stands() -> None:
    paths, path = paths_of(), Path()
    paths.opened(dialed(None, path), handshake_of())
    paths.send(2, b"too early")
    paths.opened(dialed(THEIRS, path), handshake_of())
    assert path.token == make_token(OWN, THEIRS)
    paths.send(2, b"x")
    paths.send(3, b"to nobody")
    paths.flush()
    paths.closed(2)
    paths.send(2, b"too late")
    paths.flush()
    paths.closed(2)
    assert (path.sent, path.flushes) == ([b"x"], 1)


def test_only_the_process_that_introduced_itself_is_taken() -> None:
    counters, handler = Counters(), Recorder()
    paths = paths_of(counters)
    peer = Peer("b", [], disk_id(2))
    other = THEIRS._replace(incarnation=THEIRS.incarnation + 1)

    def is_taken(hello: Hello) -> bool:
        [datagram] = encode_datagrams(make_token(hello, OWN), [pack_item((1,))])
        before = len(handler.events)
        paths.receive(datagram, {2: peer}, handler)  # type: ignore[arg-type]
        return len(handler.events) > before

    assert not is_taken(THEIRS)
    paths.take_of(peer, accepted(THEIRS), handshake_of())
    assert (is_taken(THEIRS), is_taken(other)) == (True, False)
    paths.take_of(peer, accepted(other), handshake_of())
    assert (is_taken(THEIRS), is_taken(other)) == (False, True)
    paths.take_none_of(peer)
    assert (is_taken(THEIRS), is_taken(other)) == (False, False)
    assert (counters.peer_datagrams_received, counters.peer_datagrams_refused) == (2, 5)


@pytest.mark.parametrize("own", [SECRET, None])
@pytest.mark.parametrize("theirs", [SECRET, None])
def test_both_ends_make_the_same_token_and_with_the_secret_if_both_have_it(
    own: Secret | None, theirs: Secret | None
) -> None:
    sender, receiver = paths_of(), paths_of()
    path, peer = Path(), Peer("a", [], disk_id(1))
    told = with_extras(THEIRS, "0" * 32, theirs is not None)
    sender.opened(dialed(told, path), handshake_of(own))
    at_the_other_end = Handshake(THEIRS, None, lambda: None, Random(1), theirs)
    is_proven = own is not None and theirs is not None
    receiver.take_of(peer, accepted(OWN, is_proven), at_the_other_end)
    assert path.token == peer.datagram_token
    plain = make_token(OWN, THEIRS)
    assert path.token == (keyed(plain, SECRET) if is_proven else plain)
    assert keyed(plain, SECRET) != plain
