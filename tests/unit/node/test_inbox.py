"""Where each thing goes that a peer brings, and in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    SnapshotChunk,
    Vote,
    VoteReply,
)
from quorumcache.node.directory.members import Members
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.inbox import Inbox
from quorumcache.node.peers.codec import HEADER, pack_item
from quorumcache.node.peers.consensus_items import KIND_OF, encode_message
from quorumcache.node.peers.founding_frames import Blank, encode_blank
from quorumcache.node.peers.items import (
    BUNDLE,
    BUNDLE_HELD,
    FITNESS,
    FORWARD_WRITE,
    HEARTBEATS,
    HOT_KEYS,
    MAP_EPOCH,
    MAP_REQUEST,
    MEMORY,
    REPORT,
    TIME,
)
from tests.support.founding import founder
from tests.unit.node.peers.test_codec import HELLO

JOINS = pack_item(("join?",))


class Parts:
    """All that an inbox hands things to; `heard` is what they were told, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.time = SimpleNamespace(is_settled=True, lost=self.note("lost"))
        self.members = Members()
        self.learners: set[tuple[int, int]] = set()
        """(group, node)."""
        parts: dict[str, Any] = {
            "host": self.part(
                "step",
                "take_bundle",
                "acknowledged",
                "peer_unreachable",
                "flush_soon",
                is_learner=lambda group_id, node_id: (group_id, node_id) in self.learners,
            ),
            "transport": self.part(
                beats=self.beats,
                bundle=lambda item: item[1:],
                answered=self.answered,
                peer_down=self.note("no_answers"),
            ),
            "coordinator": self.part("on_forward", "peer_up", "peer_down"),
            "follower": self.part("on_item", "heard_of", peer_up=self.note("tell_map"), epoch=7),
            "office": self.part(
                desk=self.part(peer_down=self.note("desk")),
                departure=self.part("removed"),
                addresses=self.part(told=self.note("place")),
                on_item=self.told,
            ),
            "founding": SimpleNamespace(accepted=self.accepted, answer=self.note("answer")),
            "timekeeper": self.part("heard", peer_up=self.note("tell_time")),
            "time": self.time,
            "fitness": self.part(heard=self.note("fitness"), met=self.note("met")),
            "memory": self.part(heard=self.note("memory")),
            "hot_keys": self.part(heard=self.note("hot_keys")),
        }
        self.inbox = Inbox(
            **parts,
            members=self.members,
            on_told=lambda: self.tell("told"),
            on_join=lambda asker, payload: self.joins(payload),
        )
        self.peers = self.part("send_to_all", is_heard=lambda node_id: False)
        self.inbox.peers = self.peers

    def joins(self, payload: bytes) -> bool:
        self.tell("joins", payload)
        return payload == JOINS

    def beats(self, node_id: int, item: tuple[Any, ...]) -> list[tuple[int, Any]]:
        self.tell("beats", node_id, item)
        return [(1, "beat"), (2, "beat")]

    def answered(
        self, node_id: int, item: tuple[Any, ...], *, is_last: bool
    ) -> list[tuple[int, int, int]]:
        self.tell("answered", node_id, is_last)
        return [(1, 3, 7), (2, 3, 8)]

    def told(self, node_id: int, item: tuple[Any, ...]) -> None:
        self.tell("directory_item", node_id, item)

    def tell(self, *words: Any) -> None:
        self.heard.append(words)

    def note(self, name: str) -> Any:
        return lambda *args: self.tell(name, *args)

    def part(self, *names: str, **others: Any) -> Any:
        return SimpleNamespace(**{name: self.note(name) for name in names}, **others)

    def accepted(self, node_id: int, *, is_complete: bool) -> None:
        self.tell("accepted", node_id, is_complete)

    def taken(self) -> list[tuple[Any, ...]]:
        heard, self.heard = self.heard, []
        return heard


# -- items -----------------------------------------------------------------------------------------


def test_each_item_of_a_frame_goes_to_the_part_that_it_concerns() -> None:
    parts = Parts()
    vote, append = Vote(3, 0, 0, False), Append(3, 0, 0, 0, ())
    write, beats = (FORWARD_WRITE, 1), (HEARTBEATS, ())
    time, epoch = (TIME, True, 5, 6, 7), (MAP_EPOCH, 9)
    consensus = (encode_message(1, vote), encode_message(2, append), beats)
    report = (REPORT, (), b"", (), (), False, 5)
    parts.inbox.on_peer_items(2, (*consensus, write, time, report, epoch))
    assert parts.taken() == [
        ("step", 2, 1, vote, False),
        ("step", 2, 2, append, True),
        ("beats", 2, beats),
        ("step", 2, 1, "beat", False),
        ("step", 2, 2, "beat", False),
        ("on_forward", 2, write),
        ("heard", 2, time),
        ("directory_item", 2, report),
        ("on_item", 2, epoch),
    ]


@pytest.mark.parametrize("kind", ["x", None, True, 1.0, b"\x01"])
def test_an_item_without_a_kind_is_the_peers_fault_and_what_came_before_it_counts(
    kind: object,
) -> None:
    parts = Parts()
    with pytest.raises(PeerFrameError, match="expected a number"):
        parts.inbox.on_peer_items(2, ((MAP_EPOCH, 9), (kind, 1), (MAP_EPOCH, 10)))
    assert parts.taken() == [("on_item", 2, (MAP_EPOCH, 9))]


def test_nothing_but_consensus_is_taken_from_a_datagram() -> None:
    """A write that is executed once for each copy would be executed twice."""
    parts = Parts()
    vote = Vote(3, 0, 0, False)
    parts.inbox.on_peer_datagram(2, (encode_message(1, vote),))
    assert parts.taken() == [("step", 2, 1, vote, False)]
    for kind in (FORWARD_WRITE, TIME, MAP_EPOCH, KIND_OF[SnapshotChunk], "x", None):
        with pytest.raises(PeerFrameError, match="came as a datagram"):
            parts.inbox.on_peer_datagram(2, ((kind, 1),))
    assert not parts.taken()


def test_a_node_that_does_not_know_the_time_takes_votes_from_connections_only() -> None:
    """There the time that the voter knows comes before its vote."""
    parts = Parts()
    parts.time.is_settled = False
    vote, answer = VoteReply(3, True), AppendReply(3, 0, False, 0, 0)
    parts.inbox.on_peer_datagram(2, (encode_message(1, vote), encode_message(1, answer)))
    assert parts.taken() == [("step", 2, 1, answer, False)]
    parts.time.is_settled = True
    parts.inbox.on_peer_datagram(2, (encode_message(1, vote),))
    assert parts.taken() == [("step", 2, 1, vote, False)]


def test_acknowledgements_of_learners_count_on_their_connection_only() -> None:
    """A late one may be that of a replica which was removed from that node."""
    parts = Parts()
    answer = AppendReply(3, 7, False, 0, 0)
    parts.learners.add((1, 2))
    parts.inbox.on_peer_datagram(2, (encode_message(1, answer), encode_message(2, answer)))
    parts.inbox.on_peer_datagram(3, (encode_message(1, answer),))
    parts.inbox.on_peer_items(2, (encode_message(1, answer),))
    assert parts.taken() == [
        ("step", 2, 2, answer, False),
        ("step", 3, 1, answer, False),
        ("step", 2, 1, answer, False),
    ]


def test_a_bundle_is_taken_whole_and_its_answer_stands_for_an_acknowledgement_of_each_run() -> None:
    parts = Parts()
    parts.inbox.on_peer_items(2, ((BUNDLE, 5, 9, b"runs"), (BUNDLE_HELD, 5, 9, ())))
    assert parts.taken() == [
        ("take_bundle", 2, 5, 9, b"runs"),
        ("answered", 2, True),
        ("acknowledged", 2, [(1, 3, 7), (2, 3, 8)]),
    ]


def test_an_answer_in_a_datagram_counts_for_no_learner_and_may_come_again() -> None:
    """The one on the connection is still to come, and has to be understood then."""
    parts = Parts()
    parts.learners.add((1, 2))
    parts.inbox.on_peer_datagram(2, ((BUNDLE_HELD, 5, 9, ()),))
    assert parts.taken() == [("answered", 2, False), ("acknowledged", 2, [(2, 3, 8)])]
    with pytest.raises(PeerFrameError, match="came as a datagram"):
        parts.inbox.on_peer_datagram(2, ((BUNDLE, 5, 9, b"runs"),))


# -- connections -----------------------------------------------------------------------------------


def test_the_first_item_on_a_connection_tells_the_time() -> None:
    """So that whoever is elected by the other side's votes has heard of its time before."""
    parts = Parts()
    parts.inbox.on_peer_up(2)
    assert parts.taken() == [("tell_time", 2), ("tell_map", 2), ("peer_up", 2)]


@pytest.mark.parametrize("is_heard", [False, True])
def test_the_clock_of_a_node_counts_as_long_as_it_is_heard(is_heard: bool) -> None:
    """Its votes still come, so this node may come to lead and decide on the time."""
    parts = Parts()
    parts.peers.is_heard = lambda node_id: is_heard
    parts.inbox.on_peer_down(2, "the connection was reset")
    lost = [] if is_heard else [("lost", 2)]
    assert parts.taken() == [
        *lost,
        ("no_answers", 2),
        ("peer_down", 2),
        ("desk", 2),
        ("peer_unreachable", 2),
    ]


def test_a_node_that_stops_takes_no_notice_of_the_connections_that_it_closes() -> None:
    parts = Parts()
    parts.inbox.is_stopping = True
    parts.inbox.on_peer_down(2, "this node is stopping")
    assert not parts.taken()


def test_what_a_peer_tells_of_itself_is_kept_and_a_change_is_told() -> None:
    parts = Parts()
    hello = HELLO._replace(node_id=2, map_epoch=4, is_founded=True)
    place = ("place", 2, hello.start_number, hello.peer_address)
    rest = [place, ("met", 2), ("accepted", 2, True), ("heard_of", 2, 4)]
    parts.inbox.on_peer_hello(2, hello)
    assert parts.taken() == [("told",), *rest]
    assert parts.members.told[2].client_address == hello.client_address
    parts.inbox.on_peer_hello(2, hello)
    assert parts.taken() == rest, "nothing is new"
    parts.inbox.on_peer_hello(2, hello._replace(client_address="moved:1"))
    assert parts.taken() == [("told",), *rest]
    assert parts.members.client_address_of(2) == "moved:1"


def test_what_a_peer_says_of_its_fitness_is_heard() -> None:
    parts = Parts()
    parts.inbox.on_peer_items(2, ((FITNESS, 5, 0),))
    assert parts.taken() == [("fitness", 2, (FITNESS, 5, 0))]


def test_what_a_peer_says_of_its_memory_is_heard() -> None:
    parts = Parts()
    item = (MEMORY, 1, 2, 3, (), ())
    parts.inbox.on_peer_items(2, (item,))
    assert parts.taken() == [("memory", 2, item)]


def test_what_a_leader_says_of_hits_is_heard() -> None:
    parts = Parts()
    item = (HOT_KEYS, 1, bytes(8))
    parts.inbox.on_peer_items(2, (item,))
    assert parts.taken() == [("hot_keys", 2, item)]


# -- strangers -------------------------------------------------------------------------------------


def test_a_node_that_the_cluster_has_gone_on_without_is_told_so() -> None:
    parts = Parts()
    parts.inbox.on_farewell(9)
    assert parts.taken() == [("removed", 9)]


def test_a_stranger_with_a_newer_map_makes_this_node_ask_all_peers() -> None:
    parts = Parts()
    parts.inbox.on_newer_map()
    assert parts.taken() == [("send_to_all", (MAP_REQUEST, 7)), ("flush_soon",)]


def test_a_founder_is_answered_by_the_founding_and_another_new_node_by_the_admission() -> None:
    parts = Parts()
    asker: Any = SimpleNamespace(answer=parts.note("answered"))
    blank = Blank(founder("b", 1), ())
    assert parts.inbox.on_question(asker, encode_blank(blank)[HEADER.size :])
    assert parts.taken() == [("answer", blank), ("answered", None)]
    assert parts.inbox.on_question(asker, JOINS)
    assert not parts.inbox.on_question(asker, pack_item(("hello",)))
    assert parts.taken() == [("joins", JOINS), ("joins", pack_item(("hello",)))]
