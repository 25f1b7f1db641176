"""Goal: datagrams go to the process that the dialed link leads to, and are taken from the process
at the other end of the accepted one only. (With sockets: `test_datagrams.py`.)
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.datagram_paths import DatagramPaths
from quorumcache.node.peers.datagrams import encode_datagrams, make_token
from quorumcache.node.peers.peer import Peer
from tests.support.founding import disk_id
from tests.unit.node.peers.test_network import hello_of

OWN, THEIRS = hello_of(1), hello_of(2)


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
    paths = DatagramPaths()
    path = Path()
    link: Any = SimpleNamespace(node_id=2, hello=None, path=path)
    paths.opened(OWN, link)
    paths.send(2, b"too early")
    link.hello = THEIRS
    paths.opened(OWN, link)
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
    paths = DatagramPaths()
    peer = Peer("b", [], disk_id(2))
    other = THEIRS._replace(incarnation=THEIRS.incarnation + 1)

    def sender(hello: Any) -> int | None:
        [datagram] = encode_datagrams(make_token(hello, OWN), [pack_item((1,))])
        return paths.sender_of(datagram)

    assert sender(THEIRS) is None
    paths.take_of(peer, THEIRS, OWN)
    assert (sender(THEIRS), sender(other)) == (2, None)
    paths.take_of(peer, other, OWN)
    assert (sender(THEIRS), sender(other)) == (None, 2)
    paths.take_of(peer, None, OWN)
    assert (sender(THEIRS), sender(other)) == (None, None)
    assert paths.sender_of(b"") is None
