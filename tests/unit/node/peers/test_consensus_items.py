"""Every consensus message survives a peer's frame; what is none is refused."""

from typing import Any

import pytest

from quorumcache.node.consensus.raft.messages import (
    MESSAGE_TYPES,
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    PreVoteReply,
    RaftMessage,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from quorumcache.node.consensus.values import Configuration, Entry
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.codec import FrameDecoder, decode_items, encode_items, pack_item
from quorumcache.node.peers.consensus_items import (
    KIND_OF,
    check_message,
    decode_message,
    encode_message,
)
from quorumcache.node.peers.items import CONSENSUS_KINDS

MESSAGES: list[RaftMessage] = [
    PreVote(3, 10, 2),
    PreVoteReply(3, True),
    Vote(3, 10, 2, False),
    VoteReply(3, True),
    Append(3, 9, 2, 8, (Entry(10, 3, 0, b"payload"), Entry(11, 3, 2, b""))),
    Append(3, 9, 2, 8, ()),
    AppendReply(3, 0, True, 4, 2),
    Heartbeat(3, 8, 1 << 62, 7),
    HeartbeatReply(3, 1 << 62, 7),
    SnapshotChunk(3, 9, 2, Configuration((1, 2), (3,), (1,)), 0, 4, b"data"),
    SnapshotChunk(3, 9, 2, Configuration((1, 2), (3,), (), 8), 0, 4, b"data"),
    SnapshotReply(3, 9, 4, True),
    TimeoutNow(3),
]


def test_every_type_of_message_is_tried_here_and_has_a_kind() -> None:
    assert {type(message) for message in MESSAGES} == set(MESSAGE_TYPES)
    assert sorted(KIND_OF.values()) == list(range(len(MESSAGE_TYPES)))
    assert len(MESSAGE_TYPES) <= CONSENSUS_KINDS


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back_as_it_was(message: RaftMessage) -> None:
    frame = encode_items([pack_item(encode_message(5, message))])
    (payload,) = FrameDecoder(1 << 20).feed(frame)
    (item,) = decode_items(payload)
    assert item[1] == 5
    decoded = decode_message(item)
    assert decoded == message
    assert type(decoded) is type(message)
    if isinstance(decoded, Append):
        assert all(type(entry) is Entry for entry in decoded.entries)
    if isinstance(decoded, SnapshotChunk):
        assert type(decoded.configuration) is Configuration
    check_message(decoded)


def test_a_chunk_without_a_decision_is_what_nodes_before_decisions_read() -> None:
    chunk = SnapshotChunk(3, 9, 2, Configuration((1, 2), (3,), (1,)), 0, 4, b"data")
    (item,) = decode_items(encode_items([pack_item(encode_message(5, chunk))])[8:])
    assert item == (KIND_OF[SnapshotChunk], 5, (3, 9, 2, ((1, 2), (3,), (1,)), 0, 4, b"data"))


@pytest.mark.parametrize(
    "item",
    [
        (0,),
        (0, 1),
        (0, 1, None),
        (0, 1, (1, 2)),
        (0, 1, (1, 2, 3, 4)),
        (KIND_OF[Append], 1, (3, 9, 2, 8)),
        (KIND_OF[Append], 1, (3, 9, 2, 8, 5)),
        (KIND_OF[Append], 1, (3, 9, 2, 8, ((10, 3, 0),))),
        (KIND_OF[SnapshotChunk], 1, (3, 9, 2, None, 0, 4, b"")),
        (KIND_OF[SnapshotChunk], 1, (3, 9, 2, ((1,), (), (), ()), 0, 4, b"")),
        (len(MESSAGE_TYPES), 1, (3,)),
    ],
)
def test_what_is_no_message_is_refused(item: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        decode_message(item)


@pytest.mark.parametrize(
    "message",
    [
        PreVote(3, None, 2),  # type: ignore[arg-type]
        Heartbeat(3, 8, "now", 7),  # type: ignore[arg-type]
        Append(3, 9, 2, 8, (Entry(10, 3, 0, "text"),)),  # type: ignore[arg-type]
        SnapshotChunk(3, 9, 2, Configuration((1, "2")), 0, 4, b""),  # type: ignore[arg-type]
        SnapshotChunk(3, 9, 2, Configuration((1,)), 0, 4, "text"),  # type: ignore[arg-type]
    ],
)
def test_a_member_of_another_type_is_found_when_asked(message: RaftMessage) -> None:
    with pytest.raises(PeerFrameError):
        check_message(message)
