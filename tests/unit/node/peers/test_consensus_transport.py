"""Goal: consensus goes on the connection whole, and as a datagram as far as that does no harm; of
heartbeats that come twice one copy counts.

Method: a scripted host over a sender that keeps what it is given.
"""

from __future__ import annotations

from typing import Any

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
from quorumcache.node.consensus.runs import RUN_BYTES_MAX, pack_run
from quorumcache.node.consensus.transport import BEATS_PER_ITEM
from quorumcache.node.consensus.values import Entry, EntryKind, Outbound
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.bundles import BUNDLE_BYTES_GOAL, pack_answer
from quorumcache.node.peers.consensus_items import KIND_OF, encode_message
from quorumcache.node.peers.consensus_transport import BEATS_SEEN_MAX
from quorumcache.node.peers.datagrams import encode_datagrams, items_of
from quorumcache.node.peers.items import (
    BEATS,
    BEATS_FORM,
    BEATS_HEARD,
    BUNDLE,
    BUNDLE_FORM,
    HEARTBEATS,
)
from quorumcache.node.peers.proofs import OWN_FORM
from tests.support.scripted_log import HARD_STATE, HostWorld

TOKEN = bytes(range(16))
TICK_NS = 10_000_000


class Sender:
    """Stands in for the network."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.again: list[tuple[int, bytes]] = []
        self.forms: dict[int, int] = {}
        self.is_up = True

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        self.sent.append((node_id, packed))
        return self.is_up

    def send_again(self, node_id: int, packed: bytes) -> None:
        self.again.append((node_id, packed))

    def form_of(self, node_id: int) -> int:
        return self.forms.get(node_id, OWN_FORM)

    def flush(self) -> None:
        """Nothing is kept back here."""

    def taken(self) -> list[tuple[int, tuple[Any, ...]]]:
        """Node and item of what was sent since the last call."""
        sent, self.sent = self.sent, []
        return [(node_id, msgpack.unpackb(packed, use_list=False)) for node_id, packed in sent]

    def kinds_again(self) -> list[int]:
        return [msgpack.unpackb(packed, use_list=False)[0] for _, packed in self.again]


def make_world(*groups: int) -> tuple[HostWorld, Sender]:
    world = HostWorld(*groups)
    sender = Sender()
    world.transport.peers = sender
    return world, sender


def test_what_others_have_gathered_goes_with_the_frame() -> None:
    world, sender = make_world(1)
    order: list[str] = []
    world.transport.before_flush = lambda: order.append("gathered")
    sender.flush = lambda: order.append("frame")  # type: ignore[method-assign]
    world.transport.flush()
    assert order == ["gathered", "frame"]


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


def append_at(index: int, payload: bytes = b"x") -> Append:
    return Append(1, index - 1, 1, 3, (Entry(index, 1, int(EntryKind.NORMAL), payload),))


def runs_of(*sent: tuple[int, Append]) -> bytes:
    return b"".join(pack_run(group_id, append) for group_id, append in sent)


def test_entries_of_all_groups_in_a_turn_are_one_item_for_each_peer() -> None:
    world, sender = make_world(1, 2, 3)
    appends = {group_id: append_at(4 + group_id) for group_id in world.logs}
    for group_id, log in world.logs.items():
        log.say(2, appends[group_id])
        log.say(3, appends[group_id])
    world.logs[2].say(3, append_at(7))
    world.turn(1, 2, 3)
    all_three = runs_of(*appends.items())
    also = runs_of((1, appends[1]), (2, appends[2]), (2, append_at(7)), (3, appends[3]))
    assert sender.taken() == [(2, (BUNDLE, 0, 1, all_three)), (3, (BUNDLE, 0, 2, also))]
    world.logs[1].say(2, append_at(6))
    world.turn(1)
    assert sender.taken() == [(2, (BUNDLE, 0, 3, runs_of((1, append_at(6)))))]


def test_a_node_of_an_older_form_gets_a_message_for_each_group() -> None:
    world, sender = make_world(1, 2)
    sender.forms[2] = BUNDLE_FORM - 1
    for group_id, log in world.logs.items():
        append = append_at(4 + group_id)
        log.say(2, append)
        log.say(3, append)
    world.turn(1, 2)
    assert sender.taken() == [
        (2, encode_message(1, append_at(5))),
        (2, encode_message(2, append_at(6))),
        (3, (BUNDLE, 0, 1, runs_of((1, append_at(5)), (2, append_at(6))))),
    ]


def test_an_append_that_is_no_run_stays_behind_the_bundle_before_it() -> None:
    """Before it, it would be refused: what it follows is in the bundle."""
    world, sender = make_world(1)
    long = append_at(6, b"x" * (RUN_BYTES_MAX + 1))
    for append in (append_at(5), long, append_at(7), Append(1, 7, 1, 3, ())):
        world.logs[1].say(2, append)
    world.turn(1)
    assert sender.taken() == [
        (2, (BUNDLE, 0, 1, runs_of((1, append_at(5))))),
        (2, encode_message(1, long)),
        (2, (BUNDLE, 0, 2, runs_of((1, append_at(7))))),
        (2, encode_message(1, Append(1, 7, 1, 3, ()))),
    ]


def test_a_long_bundle_leaves_before_the_turn_ends() -> None:
    world, sender = make_world(1)
    count = 2 * BUNDLE_BYTES_GOAL // RUN_BYTES_MAX + 1
    for index in range(count):
        world.logs[1].say(2, append_at(5 + index, b"x" * RUN_BYTES_MAX))
    world.turn(1)
    assert [len(item[3]) // RUN_BYTES_MAX for _, item in sender.taken()] == [4, 4, 1]


def run_at(index: int, payload: bytes = b"x") -> tuple[Any, ...]:
    """What a leader's log returns for a command."""
    return (*append_at(index, payload)[:4], list(append_at(index, payload).entries))


def test_nodes_that_get_the_same_runs_get_the_same_bundle_and_answer_each_for_itself() -> None:
    world, sender = make_world(1, 2)
    transport = world.transport
    transport.send_run(1, (2, 3), run_at(5))
    transport.send_run(2, (2, 3, 4), run_at(6))
    transport.flush()
    both = (BUNDLE, 0, 1, runs_of((1, append_at(5)), (2, append_at(6))))
    assert sender.taken() == [(2, both), (3, both), (4, (BUNDLE, 0, 2, runs_of((2, append_at(6)))))]
    answer = msgpack.unpackb(pack_answer(0, 1, []), use_list=False)
    assert transport.answered(2, answer, is_last=True) == [(1, 1, 5), (2, 1, 6)]
    assert transport.answered(2, answer, is_last=True) == []
    assert transport.answered(3, answer, is_last=True) == [(1, 1, 5), (2, 1, 6)]
    assert transport.answered(4, answer, is_last=True) == []


def test_a_bundle_that_leaves_later_has_a_number_of_its_own() -> None:
    """It may hold the same again, and each is answered."""
    world, sender = make_world(1)
    for _ in range(2):
        world.transport.send_run(1, (2,), run_at(5))
        world.transport.flush()
    assert [item[2] for _, item in sender.taken()] == [1, 2]


def test_a_command_goes_as_a_message_where_no_bundle_can_take_it() -> None:
    world, sender = make_world(1)
    sender.forms[2] = BUNDLE_FORM - 1
    world.transport.send_run(1, (2, 3), run_at(5))
    long = b"x" * (RUN_BYTES_MAX + 1)
    world.transport.send_run(1, (3,), run_at(6, long))
    world.transport.flush()
    assert sender.taken() == [
        (2, encode_message(1, append_at(5))),
        (3, (BUNDLE, 0, 1, runs_of((1, append_at(5))))),
        (3, encode_message(1, append_at(6, long))),
    ]
    world.transport.send_run(1, (3, 4), run_at(6, long))
    first, second = (packed for _, packed in sender.sent)
    assert first is second, "packed once"
    sender.taken()
    for index in range(7, 12):
        world.transport.send_run(1, (3,), run_at(index, b"x" * RUN_BYTES_MAX))
    assert len(sender.taken()) == 1, "a long bundle leaves before the turn ends"


def test_a_message_made_of_a_command_is_what_consensus_would_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compiled code ends the node where the entries are a list."""
    world, sender = make_world(1)
    sender.forms[2] = BUNDLE_FORM - 1
    sent: list[Outbound] = []
    take = world.transport.send

    def send(group_id: int, messages: list[Outbound], tick: int) -> None:
        sent.extend(messages)
        take(group_id, messages, tick)

    monkeypatch.setattr(world.transport, "send", send)
    long = b"x" * (RUN_BYTES_MAX + 1)
    world.transport.send_run(1, (2,), run_at(5))
    world.transport.send_run(1, (3,), run_at(6, long))
    assert sent == [Outbound(2, append_at(5)), Outbound(3, append_at(6, long))]


def test_a_bundle_that_could_not_be_sent_is_not_answered() -> None:
    world, sender = make_world(1)
    sender.is_up = False
    world.logs[1].say(2, append_at(5))
    world.turn(1)
    answer = msgpack.unpackb(pack_answer(0, 1, []), use_list=False)
    assert world.transport.answered(2, answer, is_last=True) == []
    sender.is_up = True
    world.logs[1].say(2, append_at(5))
    world.turn(1)
    answer = msgpack.unpackb(pack_answer(0, 2, []), use_list=False)
    world.transport.peer_down(3)
    assert world.transport.answered(2, answer, is_last=False) == [(1, 1, 5)]
    world.transport.peer_down(2)
    assert world.transport.answered(2, answer, is_last=True) == []


def test_bundles_to_a_node_that_has_left_the_cluster_are_forgotten() -> None:
    """Each new node is another one, so they would pile up."""
    world, sender = make_world(1)
    for node_id in (2, 3):
        world.logs[1].say(node_id, append_at(5))
        world.turn(1)
    sender.forms[2] = 1  # as of a stranger
    world.logs[1].say(4, append_at(5))
    world.turn(1)
    assert list(world.transport._bundles.unanswered) == [3, 4]


def test_a_run_stands_for_the_message_that_it_was_made_of() -> None:
    world, _ = make_world(1)
    life, number, runs = world.transport.bundle((BUNDLE, 5, 9, runs_of((1, append_at(5)))))
    assert (life, number) == (5, 9)
    assert [world.transport.message_of(run) for run in runs] == [append_at(5)]
    with pytest.raises(PeerFrameError, match="a bundle of an unknown form"):
        world.transport.bundle((BUNDLE, 5, 9, b"x"))


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


# -- heartbeats that are no messages ------------------------------------------------------------


def beat(world: HostWorld, group_id: int, *to: int, stamp: int = 0) -> list[bool]:
    """Whether heartbeats of a group are taken."""
    members = 2, 9, 5_000, 3, stamp, 12 if stamp else 0
    return [world.transport.beat(group_id, node_id, *members) for node_id in to]


def test_a_node_of_an_older_form_gets_heartbeats_as_messages() -> None:
    """Also one that knows bundles: it would end the connection, again and again."""
    world, sender = make_world(1)
    assert BUNDLE_FORM < BEATS_FORM
    sender.forms[2] = BUNDLE_FORM
    assert beat(world, 1, 2, 3) == [False, True]
    assert beat(world, 4, 3, 2) == [True, False]
    world.transport.flush()
    assert sender.taken() == [(3, (BEATS, 0, 1, 5_000, 0, 1, (1, 2, 9, 3, 0, 4, 2, 9, 3, 0)))]


def test_heartbeats_and_answers_also_go_as_datagrams_while_that_may_be_needed() -> None:
    world, sender = make_world(1)
    beat(world, 1, 2, stamp=8)
    world.transport.flush()
    world.transport.answer_beats(2, 9, 1, 77, [], True)
    assert sender.again == sender.sent
    assert sender.kinds_again() == [BEATS, BEATS_HEARD]
    (_, told), (_, answer) = sender.taken()
    assert told == (BEATS, 0, 1, 5_000, 8, 1, (1, 2, 9, 3, 3)), "by how much it is above"
    assert answer == (BEATS_HEARD, 9, 1, 77, ())
    assert world.transport.beats_told(3, told) == told[1:]
    assert world.transport.beats_told(3, told) is None
    alone = (*told[:5], 0, told[6])
    assert world.transport.beats_told(3, alone) == alone[1:]
    assert world.transport.message_of_beat(2, 9, 5_000, 3, 8, 12) == Heartbeat(
        2, 9, 5_000, 3, 8, 12
    )


def test_a_node_of_an_older_form_gets_no_answer_to_heartbeats_of_the_process_before_it() -> None:
    world, sender = make_world(1)
    sender.forms[2] = BUNDLE_FORM
    world.transport.answer_beats(2, 9, 1, 77, [], True)
    world.transport.answer_beats(3, 9, 1, 77, [], False)
    assert sender.taken() == [(3, (BEATS_HEARD, 9, 1, 77, ()))]
    assert sender.kinds_again() == []


def test_of_nodes_that_are_lost_or_have_left_no_answer_is_waited_for() -> None:
    world, sender = make_world(1)
    beat(world, 1, 2, 3)
    world.transport.flush()
    world.transport.peer_down(3)
    assert list(world.transport._gathered.unanswered) == [2]
    sender.forms[2] = 1  # as of a stranger
    beat(world, 1, 4)
    world.transport.flush()
    assert list(world.transport._gathered.unanswered) == [4]
