"""What is fuzzed: one function per target, which takes bytes and raises when a promise is broken.

The same functions run under hypothesis (`test_fuzz.py`), over the kept corpus
(`test_corpus.py`) and under a coverage-guided fuzzer (`python -m tests.fuzz`). The bytes are
everything: where a stream is cut is in its first bytes, so a file replays a failure.

Documented errors are what a reader may raise. Anything else that comes out is a finding, and so is
an `AssertionError` from here: wrong data that was accepted, a stream that means something else when
it is cut, memory beyond its bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from types import SimpleNamespace
from typing import Any

from quorumcache.node.alarms import Alarms
from quorumcache.node.cluster_time import is_told_well
from quorumcache.node.consensus.runs import Run
from quorumcache.node.consensus.transport import Held
from quorumcache.node.consensus.values import SnapshotMeta
from quorumcache.node.directory.follower import MapFollower
from quorumcache.node.directory.members import Members
from quorumcache.node.errors import (
    CommandError,
    HandshakeRefused,
    PeerError,
    PeerFrameError,
    SnapshotCorrupt,
    SnapshotInvalid,
    StartupError,
    WalCorrupt,
    WrongDataDir,
)
from quorumcache.node.housekeeping.fitness import Fitness
from quorumcache.node.housekeeping.hot_keys import HotKeysTeller
from quorumcache.node.housekeeping.memory_round import MemoryRound
from quorumcache.node.inbox import Inbox
from quorumcache.node.operations.forward_forms import check_forward
from quorumcache.node.operations.get_bundles import GetBundles
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.codec import (
    HEADER,
    HELLO_BYTES_MAX,
    TEXT_CHARS_MAX,
    FrameDecoder,
    Hello,
    decode_hello,
    decode_items,
    encode_hello,
)
from quorumcache.node.peers.consensus_items import check_message, decode_beats, decode_message
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.peers.founding_frames import decode_answer, decode_question
from quorumcache.node.peers.items import (
    CONSENSUS_KINDS,
    FORWARD_RESULT,
    HEARTBEAT_REPLIES,
    HEARTBEATS,
    check_directory_item,
)
from quorumcache.node.peers.joining_frames import decode_join_answer, decode_newcomer
from quorumcache.node.peers.proofs import (
    FORM_MAX,
    OWN_FORM,
    form_of,
    nonce_of,
    proof_in,
    with_extras,
)
from quorumcache.node.protocol.lines import RETRIEVAL_LINE_BYTES_MAX
from quorumcache.node.protocol.parser import UNFINISHED_LINE_BYTES_MAX, Parser
from quorumcache.node.protocol.requests import Quit, Request, Version
from quorumcache.node.protocol.responses import BINARY_HEADER_BYTES
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.state_machine import decode_batch, encode_batch
from quorumcache.node.storage.identity import IDENTITY_FILE, read_identity
from quorumcache.node.storage.known_nodes import read_known
from quorumcache.node.storage.local_state import BIRTHS_FILE, MAP_FILE, LocalState
from quorumcache.node.storage.snapshots import decode_snapshot, encode_snapshot
from quorumcache.node.storage.start_record import SEEN_FILE, STARTS_FILE, read_seen, read_starts
from quorumcache.node.store.plain_item_table import PlainItemTable
from quorumcache.node.store.set_batches import PlainSetBatches
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.timings import Timings
from quorumcache.node.wal.format import (
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    encode_segment_header,
)
from quorumcache.node.wal.recovery import recover
from quorumcache.node.wal.segment import segment_name
from quorumcache.ring import ClusterMap, MapError
from quorumcache.ring.address import parse_address
from quorumcache.router.codec import LINE_BYTES_MAX as REPLY_LINE_BYTES_MAX
from quorumcache.router.codec import Reply, ReplyParser
from tests.fuzz.gate import password_gate
from tests.fuzz.meta import META_KINDS, check_meta_request, meta_lines
from tests.support.fake_disk import FakeDisk
from tests.support.founding import disk_id, record_of
from tests.support.item_tables import items_of
from tests.support.manual_loop import ManualLoop
from tests.support.scripted_log import ManualClock

CUT_BYTES = 4
"""So many bytes at the start of a stream say where it is cut."""

ITEM_BYTES_MAX = 2000
"""Limit of an item for the parser: small, so that short streams reach it."""

VALUE_BYTES_MAX = 4096
"""Limit of a value for the reply parser, likewise."""

FRAME_BYTES_MAX = 4096
"""Limit of a peer frame, likewise."""


def pieces(data: bytes) -> tuple[bytes, list[bytes]]:
    """The stream in `data`, whole and cut."""
    cuts, stream = data[:CUT_BYTES], data[CUT_BYTES:]
    random = Random(cuts)
    parts = []
    at = 0
    while at < len(stream):
        size = random.choice((1, 2, 7, 40, 600, len(stream)))
        parts.append(stream[at : at + size])
        at += size
    return stream, parts


# --- memcached


def parser(data: bytes) -> None:
    """Requests of a client: never an exception, bounded, the same however cut, and back in step
    after anything."""
    stream, parts = pieces(data)
    whole = Parser(ITEM_BYTES_MAX)
    requests = whole.feed(stream)
    cut = Parser(ITEM_BYTES_MAX)
    cut_requests = list(_feed_parser(cut, parts))
    if max(map(len, stream.split(b"\n"))) <= UNFINISHED_LINE_BYTES_MAX:
        # Of longer lines some are answered only when they arrive whole, as memcached has it.
        assert cut_requests == requests, (cut_requests, requests)
        assert cut.closed == whole.closed
    for instance, found in ((whole, requests), (cut, cut_requests)):
        for request in found:
            if isinstance(request, META_KINDS):
                check_meta_request(request)
        quits = [number for number, request in enumerate(found, 1) if type(request) is Quit]
        assert quits == ([len(found)] if instance.closed else []), found
        _get_back_in_step(instance)


def gate(data: bytes) -> None:
    """What a client sends that has to give a password first (`password_gate`)."""
    password_gate(*pieces(data))


def _feed_parser(instance: Parser, parts: list[bytes]) -> Iterator[Request]:
    for part in parts:
        yield from instance.feed(part)
        bound = max(RETRIEVAL_LINE_BYTES_MAX, ITEM_BYTES_MAX) + len(part) + 64
        assert instance.buffered_bytes <= bound, instance.buffered_bytes


def _get_back_in_step(instance: Parser) -> None:
    """Finish the block and the line that are under way; then a line is a line again."""
    if instance._line[:1] == b"\x80":  # The header of a binary client, or just a line.
        instance.feed(bytes(BINARY_HEADER_BYTES))
    for _ in range(3):
        if instance._need:
            missing = instance._need
            while missing and not instance.closed:
                instance.feed(b"x" * min(missing, 1 << 16))
                missing -= min(missing, 1 << 16)
            assert instance._need == 0
        if instance.buffered_bytes and not instance.closed:
            instance.feed(b"\r\n")
    if instance._need or instance.buffered_bytes:
        raise AssertionError("a stream of line ends and blocks does not end what was begun")
    expected = [] if instance.closed else [Version()]
    assert instance.feed(b"version\r\n") == expected


def replies(data: bytes) -> None:
    """Replies of a node, as a client reads them: never an exception, bounded, the same however
    cut."""
    stream, parts = pieces(data)
    whole = ReplyParser(VALUE_BYTES_MAX)
    found = whole.feed(stream)
    cut = ReplyParser(VALUE_BYTES_MAX)
    cut_found: list[Reply] = []
    for part in parts:
        cut_found += cut.feed(part)
        bound = VALUE_BYTES_MAX + REPLY_LINE_BYTES_MAX + len(part) + 4
        assert cut.broken is not None or cut._size <= bound, cut._size
    assert cut_found == found, (cut_found, found)
    assert cut.broken == whole.broken, (cut.broken, whole.broken)


# --- peers


def peer_frames(data: bytes) -> None:
    """The bytes of a peer's connection: a `PeerFrameError`, or payloads whose checksums hold; the
    same however cut."""
    stream, parts = pieces(data)

    def read(parts: list[bytes]) -> tuple[list[bytes], str]:
        decoder = FrameDecoder(FRAME_BYTES_MAX)
        payloads: list[bytes] = []
        try:
            for part in parts:
                payloads += decoder.feed(part)
                assert decoder.buffered_bytes <= FRAME_BYTES_MAX + HEADER.size
        except PeerFrameError as error:
            return payloads, str(error)
        return payloads, ""

    def read_in_steps() -> list[bytes]:
        """One payload at a time, as during a handshake."""
        decoder = FrameDecoder(FRAME_BYTES_MAX, is_stepwise=True)
        payloads: list[bytes] = []
        with suppress(PeerFrameError):
            for part in parts:
                step = decoder.feed(part)
                while step:
                    assert len(step) == 1
                    payloads += step
                    step = decoder.feed(b"")
        return payloads

    whole, error = read([stream])
    cut, cut_error = read(parts)
    assert error == cut_error
    stepwise = read_in_steps()
    assert stepwise == cut or (error and stepwise[: len(cut)] == cut)
    # A decoder that fails hands out nothing of what the same call brought.
    assert cut == whole or (error and cut[: len(whole)] == whole)
    for payload in cut:
        peer_payload(payload)


def peer_payload(data: bytes) -> None:
    """The payload of a frame, as a hello, and as items that go where the node sends them: a
    `PeerError` or nothing."""
    with suppress(PeerFrameError, HandshakeRefused):
        hello = decode_hello(data)
        if isinstance(hello, Hello) and len(data) <= HELLO_BYTES_MAX:
            again = decode_hello(encode_hello(hello)[HEADER.size :])
            assert again == hello, (again, hello)
            assert 1 <= form_of(hello) <= FORM_MAX
            assert len(nonce_of(hello)) <= TEXT_CHARS_MAX
            assert form_of(with_extras(hello._replace(settings=()), "0", True)) == OWN_FORM
    for decode in (decode_question, decode_answer, decode_newcomer, decode_join_answer):
        with suppress(PeerFrameError, HandshakeRefused):
            decode(data)
    with suppress(PeerFrameError):
        items = decode_items(data)
        if isinstance(items, tuple) and not hasattr(items, "retry_ms"):
            with suppress(PeerFrameError):
                assert type(proof_in(items)) is bytes
            for item in items:
                with suppress(PeerError):
                    _INBOX.on_peer_items(1, (item,))
                if type(item[0]) is int and item[0] < CONSENSUS_KINDS:
                    with suppress(PeerFrameError):
                        _check_messages(item)


def _check_messages(item: tuple[Any, ...]) -> None:
    if item[0] in (HEARTBEATS, HEARTBEAT_REPLIES):
        for _, message in decode_beats(item):
            check_message(message)
    else:
        check_message(decode_message(item))


class _Host(SimpleNamespace):
    """A host without groups: messages are decoded and go nowhere."""

    def step(self, node_id: int, group_id: int, message: Any, grows_log: bool) -> None:
        ReplicaHost.step(self, node_id, group_id, message, grows_log)  # type: ignore[arg-type]

    def take_bundle(self, node_id: int, life: int, number: int, runs: list[Run]) -> None:
        """Each run stands for a message."""
        for run in runs:
            self.step(node_id, run[0], _TRANSPORT.message_of(run), True)

    def take_beats(
        self,
        *told: Any,
    ) -> None:
        """Of no group."""
        ReplicaHost.take_beats(self, *told)  # type: ignore[arg-type]

    def beats_heard(self, *_: Any) -> None:
        """No heartbeat was ever sent."""
        raise AssertionError("an answer to no heartbeat")

    def acknowledged(self, node_id: int, held: list[Held]) -> None:
        """No bundle was ever sent."""
        assert not held, "an answer to no bundle"


class _Coordinator:
    """Checks the form of what is forwarded, as the real one does first. What travels together is
    looked at by the real ones: this node leads nothing, and has asked for nothing."""

    def __init__(self) -> None:
        peers: Any = SimpleNamespace(send=lambda *_: True, send_bulk=lambda *_: True)
        nobody: Any = None
        self.serving = Serving(
            node_id=2,
            host=_HOST,
            peers=peers,
            clock=ManualClock(),
            counters=Counters(),
            memory=MemoryRoom(1 << 20),
        )
        self.bundles = GetBundles(self.serving, nobody, Timings(), 1, 1)

    def on_forward(self, node_id: int, item: tuple[Any, ...]) -> None:
        check_forward(item)
        if item[0] == FORWARD_RESULT and type(item[2]) is tuple:
            code, carried = item[2]
            assert type(code) is int, item
            assert type(carried) in (int, bytes), item


def _heard(node_id: int, item: tuple[Any, ...]) -> None:
    is_told_well(item)


_RECORD = record_of("a")
_FOUNDING: Any = SimpleNamespace(record=_RECORD, accepted=lambda node_id, is_complete: None)
_NO_PEERS: Any = None
_TRANSPORT = ConsensusTransport(_NO_PEERS)
_HOST: Any = _Host(groups={}, disk_trouble="", stopped=False, flush_soon=lambda: None)
_FOLLOWER = MapFollower(
    founding=_FOUNDING,
    local_state=LocalState(None, "", ManualLoop()),  # type: ignore[arg-type]
    host=_HOST,
    on_map=lambda cluster_map: None,
    start_replica=lambda group_id, birth, stands: None,
    on_started=lambda bits: None,
    on_fatal=lambda error: None,
    send=lambda node_id, item: True,
    alarms=Alarms(),
)
_COORDINATOR: Any = _Coordinator()
_OFFICE: Any = SimpleNamespace(on_item=lambda node_id, item: check_directory_item(item))
_TIMEKEEPER: Any = SimpleNamespace(heard=_heard)
_PEERS: Any = SimpleNamespace(node_ids=(), form_of=lambda node_id: 2)
_INBOX = Inbox(
    host=_HOST,
    transport=_TRANSPORT,
    coordinator=_COORDINATOR,
    follower=_FOLLOWER,
    office=_OFFICE,
    founding=_FOUNDING,
    timekeeper=_TIMEKEEPER,
    time=SimpleNamespace(is_settled=True),  # type: ignore[arg-type]
    members=Members(),
    fitness=Fitness(
        clock=ManualClock(),
        election_ms=300,
        tick_ms=10,
        alarms=Alarms(),
        peers=_PEERS,
        flush_soon=_HOST.flush_soon,
    ),
    memory=MemoryRound(_HOST, MemoryRoom(1 << 20), _PEERS, ManualClock()),
    hot_keys=HotKeysTeller(_HOST, _PEERS, ManualClock()),
    on_told=lambda: None,
    on_join=lambda asker, payload: False,
)


# --- the log


HEADER_OF_LOG = SegmentHeader(1, 7, 1, "c")


def wal_segment(data: bytes) -> None:
    """Any bytes as the only segment of a log: recovered, or refused as damaged."""
    disk = FakeDisk(ManualLoop())
    disk.put(f"wal/{segment_name(1)}", data)
    _recover_twice(disk)


def wal_frames(data: bytes) -> None:
    """Any payloads in frames whose checksums hold: read, or refused as damaged.

    The payloads stand one behind the other, each behind its length (2 bytes).
    """
    segment = bytearray(encode_segment_header(HEADER_OF_LOG))
    at = 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        segment += framed(data[at + 2 : at + 2 + size], len(segment))
        at += 2 + size
    wal_segment(bytes(segment))


def framed(payload: bytes, offset: int) -> bytes:
    """A frame around any payload."""
    start = FRAME_MAGIC + offset.to_bytes(4, "big") + len(payload).to_bytes(4, "big")
    crc = zlib.crc32(payload, zlib.crc32(start, HEADER_OF_LOG.salt))
    frame = start + crc.to_bytes(4, "big") + payload
    assert len(frame) == FRAME_HEADER_BYTES + len(payload)
    return frame


def _recover_twice(disk: FakeDisk) -> None:
    """What one start recovers the next one recovers, and entries are contiguous."""
    disk.make_dirs("wal")
    groups = []
    for _ in range(2):
        try:
            found = recover(disk, "wal", cluster_id="c", node_id=1, snapshots={})
        except (WalCorrupt, WrongDataDir):
            assert not groups, "a second start refuses what the first one took"
            return
        groups.append(found.groups)
        for _, entries in found.groups.values():
            indexes = [entry.index for entry in entries]
            if indexes:
                assert indexes == list(range(indexes[0], indexes[0] + len(indexes))), indexes
    assert groups[0] == groups[1]
    for segment in disk.list_dir("wal"):
        assert len(disk.read(f"wal/{segment}")) >= SEGMENT_HEADER_BYTES


# --- snapshots


def snapshot_file(data: bytes) -> None:
    """Any bytes as a snapshot file: refused as damaged, or of another version."""
    with suppress(SnapshotCorrupt, WrongDataDir):
        _check_snapshot(data)


def snapshot_meta(data: bytes) -> None:
    """Any bytes for the meta of a snapshot file whose checksums hold."""
    start = b"QCSNAPSH" + (1).to_bytes(4, "big") + len(data).to_bytes(4, "big")
    crc = zlib.crc32(data, zlib.crc32(start))
    length = (0).to_bytes(8, "big")
    end = zlib.crc32(length, crc).to_bytes(4, "big")
    snapshot_file(start + crc.to_bytes(4, "big") + data + length + end)


def _check_snapshot(data: bytes) -> None:
    group, snapshot = decode_snapshot(data, "s")
    meta: SnapshotMeta = snapshot.meta
    assert type(group) is int, group
    assert type(meta.last_index) is int, meta
    assert type(meta.last_term) is int, meta
    assert type(meta.configuration.decision) is int, meta
    for part in meta.configuration[:3]:
        assert type(part) is tuple, meta
        assert all(type(replica) is int for replica in part), meta
    again = b"".join(encode_snapshot(group, meta, [snapshot.data]))
    assert decode_snapshot(again, "s") == (group, snapshot)


def store_snapshot(data: bytes) -> None:
    """Any bytes as the snapshot of a store: `SnapshotInvalid` and the store is as before, or a
    state that can be written again."""
    store = ShardStore()
    before = store.digest()
    try:
        store.restore(data)
    except SnapshotInvalid:
        assert store.digest() == before, "a refused snapshot has changed the store"
        return
    again = ShardStore()
    again.restore(b"".join(encode_view(store.view())))
    assert again.view() == store.view()
    assert (again.bytes_used, again.items.expiring) == (store.bytes_used, store.items.expiring)
    assert len(store.digest()) == 32
    store.due_expirations(1 << 60, 100)
    store.expired_sessions(1 << 60, 1)
    for key in list(items_of(store.items))[:20]:
        store.lookup(key, 1 << 60)


# --- everything else that is decoded


def cluster_map(data: bytes) -> None:
    """Any bytes as a map: `MapError`, or a valid map that is written as the same bytes again."""
    try:
        found = ClusterMap.from_bytes(data)
    except MapError:
        return
    assert ClusterMap.from_bytes(found.to_bytes()) == found
    shard = found.shard_of(b"key")
    assert 0 <= shard < found.shard_count
    assert set(found.replicas_of(shard)) <= {node.node_id for node in found.nodes}


def batch(data: bytes) -> None:
    """Any bytes as the payload of a log entry: `CommandError`, or commands with a known op. What is
    taken for a batch of plain sets is one that can be read."""
    plain = PlainSetBatches().read(data, PlainItemTable())
    try:
        batch = decode_batch(data)
    except CommandError:
        assert plain is None
        return
    if plain is not None:
        assert plain[:4] == (batch.now_ms, batch.wall_ms, batch.item_bytes_max, len(batch.commands))
    # As text, since a NaN equals nothing.
    assert repr(decode_batch(encode_batch(*batch))) == repr(batch)


def local_state(data: bytes) -> None:
    """Any bytes as the files beside the log, also behind a checksum that holds: `StartupError` or
    values of the right types."""
    sealed = data + zlib.crc32(data).to_bytes(4, "big")
    for name, content in (
        *((BIRTHS_FILE, content) for content in (data, sealed)),
        *((MAP_FILE, content) for content in (data, sealed)),
    ):
        disk: Any = FakeDisk(ManualLoop())
        disk.put(f"d/{name}", content)
        state = LocalState(disk, "d", ManualLoop())  # type: ignore[arg-type]
        try:
            state.load()
        except StartupError:
            continue
        for born in state.births.values():
            assert type(born.voters) is tuple, born
            assert all(type(voter) is int for voter in born.voters), born
    disk = FakeDisk(ManualLoop())
    disk.put(f"d/{IDENTITY_FILE}", data)
    with suppress(WrongDataDir):
        assert read_identity(disk, "d") is not None
    for content in (data, sealed):
        disk.put(f"d/{STARTS_FILE}", content)
        with suppress(StartupError):
            starts = read_starts(disk, "d", disk_id(1))
            assert starts.next(1).number == starts.number + 1
        with suppress(StartupError):
            for number, nonce in read_seen(content, f"d/{SEEN_FILE}", disk_id(1)).values():
                assert (type(number), type(nonce)) == (int, bytes)
        with suppress(ValueError):
            for node in read_known(content, disk_id(1)).nodes.values():
                parse_address(node.peer_address)


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        parser,
        meta_lines,
        gate,
        replies,
        peer_frames,
        peer_payload,
        wal_segment,
        wal_frames,
        snapshot_file,
        snapshot_meta,
        store_snapshot,
        cluster_map,
        batch,
        local_state,
    )
}
"""Name to harness."""
