"""Every byte in a key, first, in the middle and last: stored, found, shown, removed.

Against the parser and the store, and against an installed memcached: the answers are the same but
for NUL. There memcached 1.6.18 ends the line, so that `get a<NUL>b` asks for `a`, and storage lines
are errors; later versions take it as we do.
"""

from __future__ import annotations

import re

import pytest

from tests.conformance.test_transcripts import needs_memcached, running_memcached
from tests.support.text_server import TextServer
from tests.support.transcripts import LocalPeer, Peer, SocketPeer

WORD_ENDS = b" \n"
"""What no key can hold: a space ends the word, and LF the line. CR does so only before LF."""
TAKEN = [bytes([number]) for number in range(256) if bytes([number]) not in WORD_ENDS]
DONE = re.compile(rb".*\r\n", re.DOTALL)
ENDED = re.compile(rb".*END\r\n", re.DOTALL)
MN = re.compile(rb".*MN\r\n", re.DOTALL)
PLACES = (b"%ba", b"a%ba", b"a%b")


def keys_with(byte: bytes) -> list[bytes]:
    return [place % byte for place in PLACES]


def talk(key: bytes) -> list[tuple[bytes, bytes]]:
    """(command, its answer), for a key that is taken. It begins and ends without the item."""
    value = b" 0 1\r\n1\r\nEND\r\n"
    return [
        (b"get %b \r\n" % key, b"END\r\n"),
        (b"set %b 0 0 1\r\n1\r\n" % key, b"STORED\r\n"),
        (b"add %b 0 0 1\r\n1\r\n" % key, b"NOT_STORED\r\n"),
        (b"get %b \r\n" % key, b"VALUE " + key + value),
        (b"get %b n \r\n" % key, b"VALUE " + key + value),
        (b"gat 0 %b \r\n" % key, b"VALUE " + key + value),
        (b"incr %b 1\r\n" % key, b"2\r\n"),
        (b"touch %b 0\r\n" % key, b"TOUCHED\r\n"),
        (b"mg %b k v\r\n" % key, b"VA 1 k" + key + b"\r\n2\r\n"),
        (b"ma %b \r\n" % key, b"HD\r\n"),
        (b"ms %b 1 k\r\n4\r\n" % key, b"HD k" + key + b"\r\n"),
        (b"md %b k\r\n" % key, b"HD k" + key + b"\r\n"),
        (b"delete %b noreply\r\nget n\r\n" % key, b"END\r\n"),
        (b"mg %b v\r\n" % key, b"EN\r\n"),
    ]


def has(peer: Peer, key: bytes) -> None:
    """Let the peer take the key in every command."""
    commands = talk(key)
    peer.send(b"".join(command for command, _ in commands) + b"mn\r\n")
    expected = b"".join(answer for _, answer in commands) + b"MN\r\n"
    got = peer.receive(MN)
    assert got == expected, key


@pytest.mark.parametrize("byte", TAKEN, ids=lambda byte: byte.hex())
def test_every_byte_but_space_and_line_end_is_one_of_a_key(byte: bytes) -> None:
    for key in keys_with(byte):
        has(LocalPeer(TextServer()), key)


def test_keys_that_differ_after_a_nul_are_different() -> None:
    peer = LocalPeer(TextServer())
    peer.send(b"set a\0b 0 0 1\r\n1\r\nset a\0c 0 0 1\r\n2\r\nget a a\0 a\0b a\0c\r\n")
    assert peer.receive(DONE) == (
        b"STORED\r\nSTORED\r\nVALUE a\0b 0 1\r\n1\r\nVALUE a\0c 0 1\r\n2\r\nEND\r\n"
    )


@needs_memcached
def test_memcached_takes_the_same_bytes_but_nul() -> None:
    with running_memcached() as port:
        peer = SocketPeer("127.0.0.1", port)
        try:
            peer.send(b"version\r\n")
            is_18 = b"1.6.18" in peer.receive(DONE)
            for byte in TAKEN:
                if byte == b"\0" and is_18:
                    continue
                for key in keys_with(byte):
                    has(peer, key)
            if is_18:
                peer.send(b"set a 0 0 1\r\n1\r\nget a\0b\r\n")
                assert peer.receive(ENDED) == b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n"
        finally:
            peer.close()
