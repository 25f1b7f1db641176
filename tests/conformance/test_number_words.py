"""Every number of every classic command, against every odd way to write one.

A table: for each place where a number stands, the words that memcached 1.6.45 takes there; it
refuses all others. The words are tried in every place. An installed memcached is tried, too, with
what 1.6.18 takes: it reads deltas, CAS uniques, levels and touch's exptime as strtol does.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import Immediate, MetaNoop
from tests.conformance.test_transcripts import needs_memcached, running_memcached
from tests.support.text_server import TextServer
from tests.support.transcripts import LocalPeer, Peer, SocketPeer

BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
BAD_EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"

_WORDS = """
    0 5 007 2147483645 2147483646 2147483647 2147483648 4294967295 4294967296
    9223372036854775807 18446744073709551615 18446744073709551616
    -0 -5 -2147483648 -2147483649 +0 +5 -+5 --5 - +
    00000000005 000000000005 0000000000000000000005 00000000000000000000005
    x 5x x5 0x5 5e1 5.0 5,0 5_0 \u00b2 \u0665
"""
"""In order; with signs; of 11, 12, 22 and 23 characters; no decimal numbers."""
WORDS = (
    *(word.encode() for word in _WORDS.split()),
    *(b"\t5", b"5\t", b"5\tx", b"\x0b5", b"5\x00", b"\x00"),
)

DIGITS_32 = {b"0", b"5", b"007", b"2147483645", b"2147483646", b"2147483647", b"00000000005"}
UNSIGNED_32 = DIGITS_32 | {b"2147483648", b"4294967295"}
UNSIGNED_64 = UNSIGNED_32 | {
    b"4294967296",
    b"9223372036854775807",
    b"18446744073709551615",
    b"000000000005",
    b"0000000000000000000005",
}
SIGNED_32 = DIGITS_32 | {b"-0", b"-5", b"-2147483648"}
LOOSE = {b"-0", b"+0", b"+5", b"\t5", b"5\t", b"5\tx", b"\x0b5"}
LONG = {b"000000000005", b"0000000000000000000005", b"00000000000000000000005"}
LOOSE_UNSIGNED_64 = UNSIGNED_64 | LOOSE | LONG
LOOSE_SIGNED_64 = (LOOSE_UNSIGNED_64 - {b"18446744073709551615"}) | SIGNED_32 | {b"-2147483649"}
# Of C, and not of the protocol: a NUL ends the text, so what stands before it is the number.
NUL = {b"5\x00"}


class Place(NamedTuple):
    """A number's place in a command: `%b` in `line`."""

    line: bytes
    accepted: set[bytes]
    """By memcached 1.6.45, and here."""
    accepted_18: set[bytes] | None
    """By memcached 1.6.18; None: not tried there."""
    refusal: bytes


STORED_BLOCK = b" 1\r\nv\r\n"
PLACES = {
    "set flags": Place(b"set k %b 0" + STORED_BLOCK, LOOSE_UNSIGNED_64, None, BAD_FORMAT),
    "add flags": Place(b"add n %b 0" + STORED_BLOCK, LOOSE_UNSIGNED_64, None, BAD_FORMAT),
    "append flags": Place(b"append k %b 0" + STORED_BLOCK, LOOSE_UNSIGNED_64, None, BAD_FORMAT),
    "set exptime": Place(b"set k 0 %b" + STORED_BLOCK, LOOSE_SIGNED_64, None, BAD_FORMAT),
    "cas exptime": Place(b"cas k 0 %b 1 9\r\nv\r\n", LOOSE_SIGNED_64, None, BAD_FORMAT),
    "cas unique": Place(b"cas k 0 0 1 %b\r\nv\r\n", UNSIGNED_64, None, BAD_FORMAT),
    "incr delta": Place(b"incr k %b\r\n", UNSIGNED_64, LOOSE_UNSIGNED_64, BAD_DELTA),
    "decr delta": Place(b"decr k %b\r\n", UNSIGNED_64, LOOSE_UNSIGNED_64, BAD_DELTA),
    "touch exptime": Place(b"touch k %b\r\n", SIGNED_32, LOOSE_SIGNED_64, BAD_EXPTIME),
    "gat exptime": Place(b"gat %b k\r\n", SIGNED_32, None, BAD_EXPTIME),
    "gats exptime": Place(b"gats %b k\r\n", SIGNED_32, None, BAD_EXPTIME),
    "verbosity": Place(b"verbosity %b\r\n", UNSIGNED_32, LOOSE_UNSIGNED_64, BAD_FORMAT),
    "flush_all delay": Place(b"flush_all %b\r\n", SIGNED_32, None, BAD_EXPTIME),
}
LENGTHS = DIGITS_32 - {b"2147483646", b"2147483647"} | {b"-0"}

_END = re.compile(rb".*VERSION [^\r\n]*\r\n", re.DOTALL)


def answers(peer: Peer, line: bytes) -> bytes:
    """What comes back for `line`, a value 5 being stored under `k` before it."""
    peer.send(b"set k 0 0 1\r\n5\r\n" + line + b"version\r\n")
    reply = peer.receive(_END)
    assert reply.startswith(b"STORED\r\n"), reply
    return reply.removeprefix(b"STORED\r\n")[: -len(reply.rpartition(b"VERSION")[2]) - 7]


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_every_word_in_every_place(name: str, word: bytes) -> None:
    place = PLACES[name]
    reply = answers(LocalPeer(TextServer()), place.line % word)
    if word in place.accepted:
        assert b"ERROR" not in reply, reply
    else:
        # One answer: the block of a refused storage line was swallowed.
        assert reply == place.refusal


@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_every_word_as_a_length(word: bytes) -> None:
    """Where the block ends is unknown when the length is refused: what follows is a command."""
    requests = Parser().feed(b"set k 0 0 %b\r\nmn\r\n" % word)
    refused = [Immediate(BAD_FORMAT), MetaNoop()]
    assert (requests == refused) == (word not in LENGTHS)


@needs_memcached
def test_what_memcached_1_6_18_takes() -> None:
    """Those places where the two versions differ, so that the table says what is known of both."""
    with running_memcached() as port:
        peer = SocketPeer("127.0.0.1", port)
        try:
            peer.send(b"version\r\n")
            if b"1.6.18" not in peer.receive(_END):
                pytest.skip("another version is installed")
            for name, place in PLACES.items():
                if place.accepted_18 is None:
                    continue
                for word in WORDS:
                    if word in NUL | {b"\x00"}:
                        continue
                    reply = answers(peer, place.line % word)
                    taken = b"ERROR" not in reply
                    assert taken == (word in place.accepted_18), (name, word, reply)
        finally:
            peer.close()
