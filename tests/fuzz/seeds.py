"""Small valid inputs of every target: where fuzzing starts from, and what it mutates.

`python -m tests.fuzz --write-seeds` puts them into the kept corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgpack

from quorumcache.node.consensus.raft.messages import Append, Heartbeat, SnapshotChunk
from quorumcache.node.consensus.runs import pack_run
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    SnapshotMeta,
)
from quorumcache.node.peers.codec import (
    PROTOCOL_VERSION,
    Hello,
    encode_hello,
    encode_items,
    encode_refusal,
    pack_item,
)
from quorumcache.node.peers.consensus_items import encode_message
from quorumcache.node.peers.founding_frames import Blank, encode_blank, encode_found
from quorumcache.node.peers.founding_secret import with_secret
from quorumcache.node.peers.items import (
    BEATS,
    BEATS_HEARD,
    BUNDLE,
    BUNDLE_HELD,
    FORWARD_FOUND,
    FORWARD_GETS,
    FORWARD_ITEMS,
    FORWARD_LOST,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RESULT,
    FORWARD_WRITE,
    FORWARD_WRITES,
    FOUNDED,
    HEARTBEATS,
    MAP_EPOCH,
    MAP_REPLY,
    MAP_REQUEST,
)
from quorumcache.node.peers.proofs import encode_proof, with_extras
from quorumcache.node.state_machine import encode_batch
from quorumcache.node.storage.identity import NodeIdentity, encode_identity
from quorumcache.node.storage.snapshots import encode_snapshot
from quorumcache.node.store.commands import OP_INCR, OP_SESSION_OPEN, OP_SET
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.store import ShardStore
from quorumcache.node.wal.format import (
    GroupHead,
    Head,
    Mark,
    MarkKind,
    WalRecord,
    encode_frame,
    encode_segment_header,
)
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.secret import Secret
from tests.fuzz.targets import HEADER_OF_LOG
from tests.support.founding import disk_id, founder, member_of, record_of

CUTS = b"\0\1\2\3"
"""Stands for where a stream is cut."""


def _meta_lines() -> list[bytes]:
    return [
        b"mg a v\r\nmg b v\r\nmg c v\r\n",
        b"mg a k v t T30 s c f h l u q O123 N5 R60 C7 E8\r\nmg Zm9v b k\r\n",
        b"ms a 3 T0 F1 I C5 E6 c k s q O1\r\nms Zm8= 1 b MA N30\r\nms a S3\r\nms a 1 MX\r\n",
        b"md a q I T30 C1 E2 x F3 k O9\r\nma a N0 J5 D2 MD v t c q\r\nma a M+\r\n",
        b"me a b\r\nme Zm9v b\r\nmn\r\nmg  a  v\r\nmg a\r\n",
        b"mg a v v\r\nmg a S1\r\nmg a Tx Jx Fx\r\nmg Z b\r\nmg a P1 L2 O" + b"x" * 32 + b"\r\n",
        b"mg " + b"k" * 250 + b" k\r\nmg " + b"k" * 251 + b"\r\nmd a" + b" q" * 20 + b"\r\n",
    ]


def _passwords() -> list[bytes]:
    return [
        b"get k\r\nset k 0 0 3\r\nu p\r\nversion\r\n",
        b"set k 0 0 3\r\nu x\r\nset k 0 0 1\r\nu\r\nset k 0 0 3 noreply\r\nu pxx\n",
        b"set k 0 0 16385\r\nset k 0 0 -1\r\nset k 0 0\r\n\n\r\nquit\r\nset k 0 0 3\r\nu p\r\n",
        b"set k 0 0 10\r\n  u   p  x\r\n\x80\x01",
    ]


def _requests() -> list[bytes]:
    return [
        b"set a 1 2 3\r\nabc\r\nget a b\r\ngets a\r\ncas a 0 0 2 77 noreply\r\nxy\r\n",
        b"append a 0 0 1\r\nx\r\nprepend a 0 0 1 noreply\r\ny\r\ndelete a\r\nincr a 5\r\n",
        b"gat 10 a b\r\ntouch a 10\r\nflush_all 5\r\nverbosity 1\r\nversion\r\nstats\r\nquit\r\n",
        b"lru_crawler metadump 1,2\r\nlru tune 1 2 .3 4\r\nslabs automove ratio 0.5\r\nwatch\r\n",
        b"set a 0 0 3000\r\nset a x 0 1\r\ny\r\nreplace k 0 0 -1\r\ncluster map\r\nGET HTTP/1\r\n",
        b"\x80\x01",
        b"add " + b"k" * 251 + b" 0 0 2\r\nab\r\n",
        b"set a 0 0 1\r\nlong\r\n\n",
        b"ms a 3 T0 F1 c\r\nabc\r\nmg a v k O7\r\nms a 1 MA q\r\nx\r\nmn\r\n",
        b"ms Zm9v 2 b k S\r\nxy\r\nmg Zm9v b k v\r\nms a 1 C9 E8 I\r\nx\r\nms a\r\nms a 3000\r\n",
        b"md a I T30\r\nma n N0 J5 v\r\nme a\r\nmn\r\n",
        b"cluster auth\r\ncluster auth 00ff\r\ncluster change pause\r\n",
    ]


def _replies() -> list[bytes]:
    return [
        b"STORED\r\nVALUE k 3 2 9\r\nab\r\nVALUE l 0 0\r\n\r\nEND\r\nEND\r\n17\r\n",
        b"MAP 7 3\r\nabc\r\nMAP 7 unchanged\r\nLEADER 1 2 3\r\nLEADER 2 2 1\r\nEND\r\n",
        b"SERVER_ERROR not done\r\nMOVED 1 2 3 h:1\r\nNODE 1 n h:1 h:2 - - 1 up\r\nEND\r\n",
        b"VALUE k 0 9999\r\n",
        b"VERSION 1\r\nCLIENT_ERROR bad\r\nERROR\r\nOK\r\nwhat\r\n",
    ]


def cluster_map() -> ClusterMap:
    """Two nodes, two shards."""
    nodes = tuple(NodeInfo(n, f"n{n}", f"h{n}:1", f"h{n}:2", f"h{n}:3", "z", 1.0) for n in (1, 2))
    return ClusterMap(
        epoch=3,
        cluster_id="c",
        shard_count=2,
        replication=2,
        nodes=nodes,
        replica_sets=((1, 2), (2, 1)),
    )


def hello() -> Hello:
    """One that is accepted."""
    return Hello(
        *(
            PROTOCOL_VERSION,
            "c",
            disk_id(2),
            "f",
            2,
            "n2",
            5,
            1,
            b"mark",
            True,
            "h:7",
            "h:1",
            "",
            "",
            1.0,
            0,
        ),
        *("0.1", (("rf", "3"),)),
    )


def frames() -> list[bytes]:
    """Frames of all kinds."""
    entry = Entry(4, 2, EntryKind.NORMAL, b"payload")
    configuration = Configuration((1, 2, 3), (4,))
    chunk = SnapshotChunk(
        *(
            {"configuration": configuration, "data": b"chunk"}.get(name, 1)
            for name in SnapshotChunk._fields
        )
    )
    command = (0, 0, 0, OP_SET, b"k", b" 0 1\r\nv\r\n", 0)
    new = tuple(Entry(index, 2, 0, b"x" * index) for index in (4, 5))
    runs = pack_run(1, Append(2, 3, 1, 3, new[:1])) + pack_run(7, Append(2, 3, 1, 3, new))
    items = [
        encode_message(1, Append(2, 3, 1, 3, (entry,))),
        encode_message(1, chunk),
        (HEARTBEATS, ((1, *(7 for _ in Heartbeat._fields)),)),
        (FORWARD_WRITE, 1, 2, 30, False, command),
        (FORWARD_WRITE, 1, 2, 30, True, (9, 1, 1, OP_INCR, b"k", 5)),
        (FORWARD_READ, 1, 2, (b"k", b"l")),
        (FORWARD_RESULT, 1, 3),
        (FORWARD_ITEMS, 1, (b"packed", None)),
        (FORWARD_REFUSED, 1, 2, "no leader"),
        (FORWARD_LOST, 1),
        (MAP_REQUEST, 1),
        (MAP_REPLY, cluster_map().to_bytes()),
        (MAP_EPOCH, 4),
        (FOUNDED, 1),
    ]
    return [
        encode_hello(hello()),
        encode_refusal("another cluster", 1000),
        encode_blank(Blank(founder("a", 1), (("shards", "4"),))),
        encode_found(record_of("a", "b")),
        *(encode_items([pack_item(item)]) for item in items),
        encode_items([pack_item(item) for item in items[3:8]]),
        encode_found(record_of("a", "b"), Secret("the secret of the cluster")),
        encode_blank(Blank(founder("a", 1), with_secret((("shards", "4"),), None))),
        encode_hello(with_extras(hello(), "0123456789abcdef" * 2, True)),
        encode_items([pack_item((BUNDLE, 9, 1, runs)), pack_item((BUNDLE_HELD, 9, 1, (0, 2)))]),
        encode_proof(bytes(32)),
        encode_items(
            [
                pack_item((BEATS, 9, 1, 5000, 8, 1, (1, 2, 3, 0, 0, 2, 2, 30, 1, 4))),
                pack_item((BEATS_HEARD, 9, 1, 77, (1,))),
            ]
        ),
        encode_items([pack_item((FORWARD_WRITES, ((1, 2, 30, False, command),) * 2))]),
        encode_items(
            [
                pack_item((FORWARD_GETS, 1, (2, b"k", 3, b"l"))),
                pack_item((FORWARD_FOUND, 1, (None, 1))),
            ]
        ),
    ]


def log_payloads() -> list[bytes]:
    """What the frames of one segment hold, in order."""
    entries = tuple(Entry(index, 1, EntryKind.NORMAL, b"e%d" % index) for index in (1, 2, 3))
    head = Head(0, (GroupHead(5, 2, 1, 4, 1, 4),))
    frames_of_items: list[list[object]] = [
        [head, WalRecord(1, HardState(1, 2), entries[:2])],
        [WalRecord(1, None, entries[2:]), WalRecord(2, HardState(3, 0))],
        [Mark(2, MarkKind.FORGOTTEN, 0, 0)],
    ]
    return [msgpack.packb(items) for items in frames_of_items]


def segment() -> bytes:
    """A whole segment, with zeros behind."""
    data = encode_segment_header(HEADER_OF_LOG)
    for payload in log_payloads():
        items = msgpack.unpackb(payload, use_list=False)
        data += encode_frame(items, len(data), HEADER_OF_LOG.salt)
    return data + bytes(64)


def store_snapshots() -> list[bytes]:
    """Of an empty store, and of one with items, an expiry and a session."""
    store = ShardStore()
    empty = b"".join(store.encode_view(store.view()))
    store.apply(
        1,
        1_000,
        [
            (7, 0, 0, OP_SESSION_OPEN, b""),
            (7, 1, 1, OP_SET, b"a", b" 0 1\r\n1\r\n", 0),
            (7, 2, 1, OP_INCR, b"a", 5),
            (0, 0, 0, OP_SET, b"b", b" 3 2\r\nxy\r\n", 60),
        ],
    )
    return [empty, b"".join(encode_view(store.view()))]


def snapshot() -> bytes:
    """A snapshot file."""
    meta = SnapshotMeta(9, 2, Configuration((1, 2, 3), (4,), (1,)))
    return b"".join(encode_snapshot(6, meta, [b"some", b"data"]))


def _batches() -> list[bytes]:
    command = (7, 1, 1, OP_SET, b"a", b" 0 1\r\n1\r\n", 0)
    return [encode_batch(1_000, []), encode_batch(1_000, [command, (0, 0, 0, OP_INCR, b"a", 1)])]


def _with_lengths(payloads: Iterable[bytes]) -> bytes:
    return b"".join(len(payload).to_bytes(2, "big") + payload for payload in payloads)


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "meta_lines": _meta_lines,
    "gate": lambda: [CUTS + stream for stream in _passwords()],
    "parser": lambda: [CUTS + stream for stream in _requests()],
    "replies": lambda: [CUTS + stream for stream in _replies()],
    "peer_frames": lambda: [CUTS + frame for frame in frames()] + [CUTS + b"".join(frames())],
    "peer_payload": lambda: [frame[8:] for frame in frames()],
    "wal_segment": lambda: [segment(), segment()[:150]],
    "wal_frames": lambda: [_with_lengths(log_payloads()), _with_lengths(log_payloads()[:1])],
    "snapshot_file": lambda: [snapshot()],
    "snapshot_meta": lambda: [
        msgpack.packb((6, 9, 2, ((1, 2, 3), (4,), (1,)))),
        msgpack.packb((6, 9, 2, ((), (), ()))),
        msgpack.packb((6, 9, 2, ((1, 2), (), (), 17))),
    ],
    "store_snapshot": store_snapshots,
    "cluster_map": lambda: [cluster_map().to_bytes()],
    "batch": _batches,
    "local_state": lambda: [
        msgpack.packb(("", 0, {1: ((1, 2, 3), (), ()), 7: ((2,), (3,), (1, 2))})),
        msgpack.packb(("", 0, {1: ((1, 2, 3), (4,), (), 17), 7: None})),
        cluster_map().to_bytes(),
        encode_identity(NodeIdentity(disk_id(1))),
        msgpack.packb((disk_id(1), 2, b"mar1mar2")),
        msgpack.packb((disk_id(1), {disk_id(2): (2, b"mar2")})),
        encode_identity(member_of(record_of("n1", "n2"), 1).identity),
        msgpack.packb((disk_id(1), 9, {2: (3, "b:1", "b", disk_id(2))})),
    ],
}
"""Target to its valid inputs."""
