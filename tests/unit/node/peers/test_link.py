"""Goal: one connection keeps to its protocol and its bounds, whatever the other side sends.

Method: two links joined by transports in memory, which hold back or cut what is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.node.errors import PeerError
from quorumcache.node.peers import link as link_module
from quorumcache.node.peers.codec import (
    FRAME_BYTES_MAX,
    HEADER,
    HELLO_BYTES_MAX,
    KEEPALIVE_FRAME,
    Hello,
    Items,
    Refusal,
    decode_items,
    encode_frame,
    encode_hello,
    encode_items,
    encode_refusal,
    pack_item,
)
from quorumcache.node.peers.founding_frames import (
    Blank,
    decode_question,
    encode_blank,
    encode_found,
)
from quorumcache.node.peers.items import PROOF
from quorumcache.node.peers.link import (
    CLOSING_TICKS_MAX,
    FRAME_BYTES_GOAL,
    HELLO_TICKS_MAX,
    ITEM_BYTES_MAX,
    SILENT_TICKS_MAX,
    STALLED_TICKS,
    PeerLink,
    Refused,
)
from quorumcache.node.peers.proofs import encode_proof
from tests.support.founding import disk_id, founder, record_of
from tests.unit.node.peers.test_codec import HELLO

A = HELLO
B = HELLO._replace(node_id=2, name="b", disk_id=disk_id(2), incarnation=8)


class Owner:
    """Keeps what the link tells."""

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.told: list[tuple[Any, ...]] = []
        self.refuse: Refused | None = None
        self.refuse_proof: PeerError | None = None
        self.proof = b""
        self.fail = False

    def own_hello_frame(self, link: PeerLink) -> bytes:
        return encode_hello(self.hello)

    def own_proof_frame(self, link: PeerLink, hello: Hello) -> bytes:
        return self.proof

    def link_proven(self, link: PeerLink, hello: Hello, items: Items) -> None:
        if self.refuse_proof is not None:
            raise self.refuse_proof
        self.told.append(("proven", hello, items))

    def link_opened(self, link: PeerLink) -> None:
        self.told.append(("opened",))

    def link_introduced(self, link: PeerLink, hello: Hello) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.told.append(("introduced", hello))

    def link_ready(self, link: PeerLink) -> None:
        self.told.append(("ready", link.node_id))

    def link_question(self, link: PeerLink, payload: bytes) -> bool:
        blank = decode_question(payload)
        if blank is not None:
            self.told.append(("blank", blank))
            link.answer(encode_found(record_of("a", "b")))
        return blank is not None

    def link_refused(self, link: PeerLink, refusal: Refusal, by_peer: bool) -> None:
        self.told.append(("refused", refusal, by_peer))

    def link_items(self, link: PeerLink, items: Items, size: int) -> None:
        if self.fail:
            raise PeerError("not like this")
        self.told.append(("items", items, size))

    def link_item_too_long(self, link: PeerLink, size: int) -> None:
        self.told.append(("too long", size))

    def link_closed(self, link: PeerLink) -> None:
        self.told.append(("closed", link.why))


class Transport:
    """Keeps what is written."""

    def __init__(self, *, itself: bool = False) -> None:
        self.written: list[bytes] = []
        self.ended = ""
        self._names = {"sockname": ("::1", 1, 0, 0), "peername": ("fe80::2", 2, 0, 3)}
        if itself:
            self._names["peername"] = self._names["sockname"]

    def get_extra_info(self, name: str) -> Any:
        return self._names.get(name)

    def set_write_buffer_limits(self, high: int) -> None: ...

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.written.append(data)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def take(self) -> bytes:
        data = b"".join(self.written)
        self.written.clear()
        return data


class End:
    """A link with its owner and transport."""

    def __init__(self, hello: Hello, node_id: int, *, queue_bytes_max: int = 1 << 20) -> None:
        self.owner = Owner(hello)
        self.transport = Transport()
        self.lost = asyncio.get_running_loop().create_future()
        self.link = PeerLink(self.owner, node_id, self.lost, queue_bytes_max)

    def open(self) -> None:
        self.link.connection_made(self.transport)  # type: ignore[arg-type]

    def told(self, kind: str) -> list[tuple[Any, ...]]:
        return [event for event in self.owner.told if event[0] == kind]


def ready_pair(**options: Any) -> tuple[End, End]:
    """a has dialed b, and both have accepted each other."""
    a, b = End(A, 2, **options), End(B, 0)
    a.open()
    b.open()
    assert not b.transport.written, "the side that was dialed waits for the hello"
    b.link.data_received(a.transport.take())
    a.link.data_received(b.transport.take())
    assert a.link.is_ready
    assert b.link.is_ready
    return a, b


def run(test: Callable[[], None]) -> None:
    async def on_a_loop() -> None:
        test()

    asyncio.run(on_a_loop())


def test_the_handshake_makes_both_sides_ready_and_names_the_caller() -> None:
    def test() -> None:
        a, b = ready_pair()
        assert a.told("ready") == [("ready", 2)]
        assert b.told("ready") == [("ready", 1)]
        assert (a.link.hello, b.link.hello) == (B, A)
        a.link.send(pack_item((5, b"x")))
        assert not a.transport.written, "it leaves with the next flush"
        a.link.flush()
        frame = a.transport.take()
        b.link.data_received(frame)
        assert b.told("items") == [("items", ((5, b"x"),), len(frame))]
        assert a.link.remote_address == ("fe80::2%3", 2)

    run(test)


def test_a_link_that_ended_at_once_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side may be killed between the end of a dial and what the dialer does next."""

    def test() -> None:
        a = End(A, 2)
        a.open()

        def closed(name: str, default: object = None) -> object:
            raise ValueError("negative file descriptor")  # as uvloop says it

        monkeypatch.setattr(a.transport, "get_extra_info", closed)
        a.link.connection_lost(ConnectionResetError(104, "reset"))
        assert a.link.remote_address is None
        assert a.link.remote == "unknown:0"

    run(test)


def test_a_refusal_is_told_to_both_sides_and_ends_the_connection() -> None:
    def test() -> None:
        a, b = End(A, 2), End(B, 0)
        a.open()
        b.open()
        b.owner.refuse = Refused("not you", 700)
        b.link.data_received(a.transport.take())
        a.link.data_received(b.transport.take())
        assert b.told("refused") == [("refused", Refusal("not you", 700), False)]
        assert a.told("refused") == [("refused", Refusal("not you", 700), True)]
        assert (a.transport.ended, b.transport.ended) == ("closed", "closed")
        assert not a.link.send(pack_item((1,)))

    run(test)


A2 = A._replace(settings=(*A.settings, ("form", "2")))
PROVEN = ((PROOF, b"proof"),)


def proving_pair() -> tuple[End, End]:
    """a, which takes and gives proofs, has dialed b, and b has heard its hello."""
    a, b = End(A2, 2), End(B, 0)
    a.owner.proof = encode_proof(b"proof")
    a.open()
    b.open()
    b.link.data_received(a.transport.take())
    assert b.transport.written, "b introduces itself before the proof"
    assert not b.link.is_ready
    return a, b


def test_a_caller_that_proves_is_ready_once_its_proof_was_looked_at() -> None:
    def test() -> None:
        a, b = proving_pair()
        assert not b.told("ready")
        assert not b.link.send(pack_item((1,)))
        a.link.data_received(b.transport.take())
        assert a.link.is_ready
        a.link.send(pack_item((5, bytes(2 * HELLO_BYTES_MAX))))
        a.link.flush()
        b.link.data_received(a.transport.take())
        assert [event[0] for event in b.owner.told[-4:]] == [
            *("introduced", "proven", "ready", "items"),
        ]
        assert b.told("proven") == [("proven", A2, PROVEN)]
        assert b.told("ready") == [("ready", 1)]
        assert b.link.hello == A2

    run(test)


def test_nothing_but_the_proof_counts_before_it_and_it_is_short() -> None:
    def test() -> None:
        for error in (Refused("not your secret", 700), PeerError("no proof")):
            _, b = proving_pair()
            b.owner.refuse_proof = error
            item = pack_item((5, b"x"))
            b.link.data_received(encode_items([item]) + encode_items([item]))
            assert not b.told("items")
            assert not b.told("ready")
            assert b.transport.ended == "closed"
            assert b.link.hello is None
        _, b = proving_pair()
        b.link.data_received(HEADER.pack(HELLO_BYTES_MAX + 1, 0))
        assert b.transport.ended == "closed"

    run(test)


def test_a_refused_proof_is_told_to_both_sides() -> None:
    def test() -> None:
        a, b = proving_pair()
        b.owner.refuse_proof = Refused("not your secret", 700)
        a.link.data_received(b.transport.take())
        b.link.data_received(a.transport.take())
        refusal = Refusal("not your secret", 700)
        assert b.told("refused") == [("refused", refusal, False)]
        a.link.data_received(b.transport.take())
        assert a.told("refused") == [("refused", refusal, True)]

    run(test)


def test_a_caller_that_owes_its_proof_is_let_go_after_a_while() -> None:
    def test() -> None:
        _, b = proving_pair()
        for _ in range(HELLO_TICKS_MAX + 1):
            b.link.data_received(KEEPALIVE_FRAME[:1])
            b.link.tick()
        assert b.transport.ended == "aborted"
        _, b = proving_pair()
        b.link.data_received(encode_refusal("no", 5))
        assert b.told("refused") == [("refused", Refusal("no", 5), True)]

    run(test)


def test_the_caller_proves_only_where_it_has_a_proof_to_give() -> None:
    def test() -> None:
        a, b = End(A, 2), End(B, 0)
        a.open()
        b.open()
        b.link.data_received(a.transport.take())
        a.link.data_received(b.transport.take())
        assert a.link.is_ready
        assert b.link.is_ready, "the release before proves nothing"
        assert not a.transport.written

    run(test)


def test_every_cut_of_a_handshake_with_a_proof_leads_to_the_same() -> None:
    def test() -> None:
        frames = encode_hello(A2) + encode_proof(b"proof") + encode_items([pack_item((5, b"x"))])
        for cut in range(1, len(frames)):
            b = End(B, 0)
            b.open()
            b.link.data_received(frames[:cut])
            b.link.data_received(frames[cut:])
            assert [event[0] for event in b.owner.told] == [
                *("opened", "introduced", "proven", "ready", "items"),
            ]

    run(test)


def test_a_link_may_be_refused_later_too() -> None:
    def test() -> None:
        a, _ = ready_pair()
        a.link.data_received(encode_refusal("no more", 5))
        assert a.told("refused") == [("refused", Refusal("no more", 5), True)]
        assert a.transport.ended == "closed"

    run(test)


def test_a_new_node_is_answered_and_let_go() -> None:
    def test() -> None:
        b = End(B, 0)
        b.open()
        blank = Blank(founder("c", 3), ())
        b.link.data_received(encode_blank(blank))
        assert [event[1].info.name for event in b.told("blank")] == ["c"]
        assert b.transport.written == [encode_found(record_of("a", "b"))]
        assert b.transport.ended == "closed"

    run(test)


def test_a_stranger_may_send_a_short_frame_only() -> None:
    def test() -> None:
        b = End(B, 0)
        b.open()
        b.link.data_received(HEADER.pack(HELLO_BYTES_MAX + 1, 0))
        assert b.transport.ended == "closed"
        _, b = ready_pair()
        b.link.data_received(encode_items([pack_item((1, bytes(2 * HELLO_BYTES_MAX)))]))
        assert len(b.told("items")) == 1

    run(test)


def test_what_cannot_be_handled_ends_the_link_and_nothing_after_it_counts() -> None:
    def test() -> None:
        _, b = ready_pair()
        b.owner.fail = True
        b.link.data_received(encode_items([pack_item((1,))]))
        assert (b.transport.ended, b.link.why) == ("closed", "not like this")
        b.owner.fail = False
        b.link.data_received(encode_items([pack_item((2,))]))
        assert b.told("items") == []
        _, b = ready_pair()
        b.link.data_received(encode_frame(b"\xc1"))
        assert b.transport.ended == "closed"

    run(test)


def test_an_outbox_is_bounded_and_becomes_frames_of_bounded_size() -> None:
    def test() -> None:
        a, b = ready_pair(queue_bytes_max=3 * FRAME_BYTES_GOAL)
        a.link.pause_writing()
        item, sent = pack_item((1, bytes(FRAME_BYTES_GOAL // 3))), 0
        while a.link.send(item):
            sent += 1
        assert a.link.outbox_bytes <= 3 * FRAME_BYTES_GOAL + len(item)
        assert not a.transport.written
        a.link.resume_writing()
        assert a.link.outbox_bytes == 0
        assert len(a.transport.written) > 1
        for frame in list(a.transport.written):
            assert len(frame) <= FRAME_BYTES_GOAL + HEADER.size + 5
        assert a.link.send(item)
        b.link.data_received(a.transport.take())
        assert sum(len(event[1]) for event in b.told("items")) == sent

    run(test)


def test_values_leave_behind_everything_else_and_in_frames_of_their_own() -> None:
    def test() -> None:
        a, _ = ready_pair()
        for number in range(3):
            assert a.link.send_bulk(pack_item((number, bytes(link_module.BULK_FRAME_BYTES))))
        a.link.send(pack_item(("beat",)))
        a.link.flush()
        kinds = []
        for frame in a.transport.written:
            items = decode_items(frame[HEADER.size :])
            assert not isinstance(items, Refusal)
            kinds.append([item[0] for item in items])
        assert kinds == [["beat"], [0], [1], [2]]
        assert a.link.bulk_bytes == 0

    run(test)


def test_an_item_that_no_frame_can_carry_is_told() -> None:
    def test() -> None:
        a, _ = ready_pair(queue_bytes_max=2 * FRAME_BYTES_MAX)
        long = bytes(ITEM_BYTES_MAX + 1)
        assert not a.link.send(long)
        assert not a.link.send_bulk(long)
        assert a.told("too long") == [("too long", len(long))] * 2

    run(test)


def test_a_link_that_brings_nothing_is_stalled_and_then_given_up() -> None:
    def test() -> None:
        a, _ = ready_pair()
        a.link.tick()
        for _ in range(STALLED_TICKS):
            assert not a.link.is_stalled
            a.link.tick()
        assert a.link.is_stalled
        for _ in range(SILENT_TICKS_MAX - STALLED_TICKS):
            assert not a.transport.ended
            a.link.tick()
        assert (a.transport.ended, a.link.why) == ("aborted", "heard nothing for 2 s")

    run(test)


def test_idle_ends_keep_each_other_alive() -> None:
    def test() -> None:
        a, b = ready_pair()
        for _ in range(5 * SILENT_TICKS_MAX):
            for link in (a.link, b.link):
                link.tick()
            if data := a.transport.take():
                b.link.data_received(data)
            if data := b.transport.take():
                a.link.data_received(data)
        assert not a.transport.ended
        assert not b.transport.ended
        assert a.told("items") == b.told("items") == []

    run(test)


def test_a_caller_that_does_not_introduce_itself_is_cut() -> None:
    def test() -> None:
        b = End(B, 0)
        b.open()
        for tick in range(HELLO_TICKS_MAX):
            if tick < HEADER.size - 1:
                b.link.data_received(b"\0")  # Bytes that never become a hello do not count.
            b.link.tick()
            assert not b.transport.ended
        b.link.tick()
        assert b.transport.ended == "aborted"

    run(test)


def test_a_closing_link_has_a_while_to_send_what_is_left() -> None:
    def test() -> None:
        a, _ = ready_pair()
        a.link.close("the end")
        a.link.close("again")
        for _ in range(CLOSING_TICKS_MAX):
            a.link.tick()
            assert a.transport.ended == "closed"
        a.link.tick()
        assert a.transport.ended == "aborted"
        a.link.connection_lost(None)
        assert a.told("closed") == [("closed", "the end")]
        assert a.lost.done()

    run(test)


def test_a_lost_connection_holds_nothing_any_more() -> None:
    def test() -> None:
        a, _ = ready_pair()
        a.link.send(pack_item((1,)))
        a.link.send_bulk(pack_item((2,)))
        a.link.connection_lost(OSError("reset"))
        assert (a.link.outbox_bytes, a.link.bulk_bytes, a.link.is_ready) == (0, 0, False)
        assert a.told("closed") == [("closed", "connection lost: reset")]
        a.link.flush()

    run(test)


def test_a_dial_that_led_to_itself_says_nothing() -> None:
    def test() -> None:
        a = End(A, 2)
        a.transport = Transport(itself=True)
        a.open()
        assert a.transport.ended == "aborted"
        assert not a.transport.written

    run(test)


def test_what_gathered_leaves_as_far_as_the_transport_takes_it() -> None:
    """All of it at once would be a stall, and stand in the buffer of a transport that is full."""

    def test() -> None:
        a, b = ready_pair(queue_bytes_max=9 * FRAME_BYTES_GOAL)
        a.link.pause_writing()
        items = [pack_item((number, bytes(FRAME_BYTES_GOAL // 2))) for number in range(6)]
        for item in items:
            assert a.link.send(item)
        write = a.transport.write

        def write_and_be_full(data: bytes) -> None:
            write(data)
            a.link.pause_writing()

        a.transport.write = write_and_be_full  # type: ignore[method-assign]
        for left in range(5, -1, -1):
            a.link.resume_writing()
            assert len(a.transport.written) == 1
            assert a.link.outbox_bytes == left * len(items[0])
            b.link.data_received(a.transport.take())
        numbers = [item[0] for event in b.told("items") for item in event[1]]
        assert numbers == list(range(6)), "in their order"

    run(test)
