"""Goal: nodes of today read what nodes of form 1 wrote, and write form 1 as those did, to the byte.

Method: `tests/fixtures/form_1/golden.json` holds every form as the code of form 1 wrote it. Today's
code makes each from the same values, and reads each. The fixture is also made anew by the old code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from quorumcache.node.consensus.raft.configurations import decode_configuration
from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.operations.forward_forms import check_forward
from quorumcache.node.peers.codec import (
    FrameDecoder,
    Refusal,
    decode_hello,
    decode_items,
    encode_hello,
)
from quorumcache.node.peers.consensus_items import check_message, decode_beats, decode_message
from quorumcache.node.peers.datagrams import items_of, token_of
from quorumcache.node.peers.founding_frames import Found, decode_answer, decode_question
from quorumcache.node.peers.items import MAP_KINDS, TIME, check_map_item
from quorumcache.node.peers.proofs import OWN_FORM, with_extras
from quorumcache.node.state_machine import decode_batch
from quorumcache.node.storage.checksum import checked
from quorumcache.node.storage.founding_record import FoundingRecord
from quorumcache.node.storage.identity import IDENTITY_FILE, read_identity
from quorumcache.node.storage.local_state import BIRTHS_FILE, MAP_FILE, LocalState
from quorumcache.node.storage.snapshots import decode_snapshot
from quorumcache.node.storage.start_record import STARTS_FILE, read_seen, read_starts
from quorumcache.node.store.commands import COMMANDS
from quorumcache.node.store.store import ShardStore
from quorumcache.node.wal.format import (
    SEGMENT_HEADER_BYTES,
    WalRecord,
    decode_frame,
    decode_segment_header,
    intact_frame_end,
)
from quorumcache.node.wal.newest import NEWEST_FILE, read_newest
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.node_info import LOST
from tests.fixtures.form_1 import make
from tests.support.fake_disk import FakeDisk
from tests.support.manual_loop import ManualLoop
from tests.support.old_nodes import FIXTURES, old_environment, unpack_sources

FORM_1 = FIXTURES / "form_1"

GOLDEN: dict[str, bytes] = {
    name: bytes.fromhex(data)
    for name, data in json.loads((FORM_1 / "golden.json").read_text()).items()
}
MADE = make.forms()


def payload(frame: bytes) -> bytes:
    (found,) = FrameDecoder().feed(frame)
    return found


def disk_with(name: str, content: bytes) -> FakeDisk:
    disk = FakeDisk(ManualLoop())
    disk.make_dirs("d")
    disk.put(f"d/{name}", content)
    return disk


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_form_1_is_written_as_it_was(name: str) -> None:
    assert MADE[name] == GOLDEN[name]


def test_no_form_is_left_out() -> None:
    assert set(MADE) == set(GOLDEN)


def test_the_old_code_makes_the_fixture(tmp_path: Path) -> None:
    """It is what nodes of form 1 wrote, and not what somebody thought they wrote."""
    told = subprocess.run(
        [sys.executable, "-P", str(FORM_1 / "make.py")],
        env=old_environment(unpack_sources(tmp_path)),
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert json.loads(told.stdout) == json.loads((FORM_1 / "golden.json").read_text())


# --- what is on disk


def test_the_map_and_the_founding_record_are_read() -> None:
    found = ClusterMap.from_bytes(GOLDEN["map"])
    assert found == make.MAP
    assert found.fingerprint() == GOLDEN["fingerprint/map"].decode()
    assert FoundingRecord.from_text(GOLDEN["founding_record"].decode()) == make.RECORD


@pytest.mark.parametrize("name", sorted(make.IDENTITIES))
def test_the_identity_is_read(name: str) -> None:
    disk = disk_with(IDENTITY_FILE, GOLDEN[f"file/identity_{name}"])
    assert read_identity(disk, "d") == make.IDENTITIES[name]


def test_births_and_the_map_beside_the_log_are_read() -> None:
    disk = disk_with(BIRTHS_FILE, GOLDEN["file/births"])
    disk.put(f"d/{MAP_FILE}", GOLDEN["file/map"])
    state = LocalState(disk, "d", ManualLoop())
    state.cluster_id, state.node_id = make.CLUSTER, 1
    assert state.load() == make.MAP
    assert state.births == make.BIRTHS
    assert state.leaving == set(make.LEAVING)


def test_starts_are_read() -> None:
    disk = disk_with(STARTS_FILE, GOLDEN["file/starts"])
    assert read_starts(disk, "d", make.DISKS[0]) == make.STARTS
    assert read_seen(GOLDEN["file/seen_starts"], "path", make.DISKS[0]) == make.SEEN


def test_the_log_is_read() -> None:
    data = GOLDEN["file/segment"]
    header = decode_segment_header(data, "path")
    assert header == make.SEGMENT_HEADER
    frames = []
    at = SEGMENT_HEADER_BYTES
    while at < len(data):
        end = intact_frame_end(data, at, header.salt)
        assert end > at
        frames.append(decode_frame(data, at, end, "path"))
        at = end
    assert frames == [
        [item._replace(entries=tuple(item.entries)) if isinstance(item, WalRecord) else item
         for item in frame]
        for frame in make.LOG_FRAMES
    ]  # fmt: skip
    disk = disk_with(NEWEST_FILE, GOLDEN["file/newest"])
    assert read_newest(disk, "d") == make.NEWEST


@pytest.mark.parametrize("group", sorted(make.SNAPSHOT_METAS))
def test_snapshot_files_are_read(group: int) -> None:
    data = GOLDEN[f"file/snapshot_{group}"]
    found_group, snapshot = decode_snapshot(data, "path", make.CLUSTER)
    assert found_group == group
    assert snapshot.meta == make.SNAPSHOT_METAS[group]
    state = ShardStore() if group else DirectoryState(lambda cluster_map: None)
    state.restore(snapshot.data)
    name = "store" if group else "directory"
    assert state.digest() == GOLDEN[f"digest/{name}"]
    assert b"".join(state.encode_view(state.view())) == GOLDEN[f"state/{name}"]


@pytest.mark.parametrize("name", sorted(make.CONFIGURATIONS))
def test_configurations_in_the_log_are_read(name: str) -> None:
    found = decode_configuration(GOLDEN[f"configuration/{name}"])
    assert found == make.CONFIGURATIONS[name]


def test_batches_have_the_effect_that_they_had() -> None:
    """A log that old and new nodes apply gives equal states and answers."""
    state = ShardStore()
    results = []
    for at, fields in enumerate(make.STORE_BATCHES):
        found = decode_batch(GOLDEN[f"batch/{at}"], state.op_count)
        assert (found.now_ms, found.wall_ms, found.item_bytes_max, found.commands) == fields
        results.append(
            state.apply(3 + at, found.now_ms, found.commands, found.wall_ms, found.item_bytes_max)
        )
    assert msgpack.packb(results) == GOLDEN["results"]
    assert state.digest() == GOLDEN["digest/store"]


def test_every_op_of_form_1_is_in_the_fixture() -> None:
    told = {command[3] for *_, commands in make.STORE_BATCHES for command in commands}
    assert told == set(range(1, 18))
    assert told <= set(COMMANDS)


def test_the_directory_s_batches_have_the_effect_that_they_had() -> None:
    seen: list[ClusterMap] = []
    state = DirectoryState(seen.append)
    batch = decode_batch(GOLDEN["batch/directory"], state.op_count)
    state.apply(2, batch.now_ms, batch.commands, batch.wall_ms)
    assert seen == [make.MAP]
    assert state.digest() == GOLDEN["digest/directory"]


# --- what nodes send


def test_hello_and_refusal_are_read() -> None:
    assert decode_hello(payload(GOLDEN["hello"])) == make.HELLO
    assert decode_hello(payload(GOLDEN["refusal"])) == Refusal("node b is of another cluster", 500)
    assert decode_items(payload(GOLDEN["keepalive"])) == ()


def test_the_founding_is_read() -> None:
    blank = payload(GOLDEN["founding_frame/blank"])
    assert decode_question(blank) == make.BLANK
    assert decode_answer(blank) == make.BLANK
    found = decode_answer(payload(GOLDEN["founding_frame/found"]))
    assert isinstance(found, Found)
    assert found.record == make.RECORD


@pytest.mark.parametrize("name", sorted(make.MESSAGES))
def test_consensus_messages_are_read(name: str) -> None:
    item = msgpack.unpackb(GOLDEN[f"message/{name}"], use_list=False)
    assert item[1] == 4
    found = decode_message(item)
    assert type(found) is type(make.MESSAGES[name])
    assert found == make.MESSAGES[name]
    check_message(found)


@pytest.mark.parametrize("name", sorted(make.ITEMS))
def test_items_are_read(name: str) -> None:
    item: tuple[Any, ...] = msgpack.unpackb(GOLDEN[f"item/{name}"], use_list=False)
    assert item == make.ITEMS[name]
    if name in ("heartbeats", "heartbeat_replies"):
        assert [(group, *beat) for group, beat in decode_beats(item)] == list(item[1])
    elif item[0] in MAP_KINDS:
        check_map_item(item)
    elif item[0] != TIME:
        check_forward(item)


def test_frames_and_datagrams_are_read() -> None:
    items = decode_items(payload(GOLDEN["frame/items"]))
    assert not isinstance(items, Refusal)
    assert len(items) == len(make.MESSAGES) + len(make.ITEMS)
    assert token_of(GOLDEN["datagram"]) == GOLDEN["datagram_token"]
    assert len(items_of(GOLDEN["datagram"])) == 2
    assert checked(GOLDEN["file/map"]) == GOLDEN["map"]


# --- what nodes of today write, and nodes and clients of form 1 read

READ_BY_OLD = """
import sys
from quorumcache.node.peers.codec import FrameDecoder, decode_hello
from quorumcache.ring import ClusterMap

for line in sys.stdin:
    kind, data = line.split()
    data = bytes.fromhex(data)
    if kind == "map":
        found = ClusterMap.from_bytes(data)
        print("map", found.epoch, [node.name for node in found.nodes], found.replica_sets)
    else:
        (payload,) = FrameDecoder().feed(data)
        hello = decode_hello(payload)
        print("hello", hello.name, dict(hello.settings)["form"])
"""


def test_the_old_code_reads_a_hello_of_today_and_a_map_for_old_clients(tmp_path: Path) -> None:
    gone = replace(make.NODES[2], name="c~3", state=LOST)
    heir = NodeInfo(4, "c", gone.peer_address, gone.client_address, "", "", 0.0, "d" * 32)
    elastic = replace(
        make.MAP, form=2, nodes=(*make.NODES[:2], gone, heir), directory=(1, 2), next_node_id=5
    )
    hello = encode_hello(with_extras(make.HELLO, "0" * 32, has_secret=True))
    lines = [f"map {elastic.bytes_for(1).hex()}", f"hello {hello.hex()}"]
    told = subprocess.run(
        [sys.executable, "-P", "-c", READ_BY_OLD],
        env=old_environment(unpack_sources(tmp_path)),
        input="\n".join(lines),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.stdout.splitlines() == [
        "map 7 ['a', 'b', 'c'] ((1, 2), (2, 1), (1, 2), (2, 1))",
        f"hello a {OWN_FORM}",
    ]
