"""The identity file: what it holds, and that nothing else is believed."""

from __future__ import annotations

import pytest

from quorumcache.node.errors import DataDirLocked, WrongDataDir
from quorumcache.node.storage.identity import (
    NodeIdentity,
    encode_identity,
    lock_data_dir,
    read_identity,
)
from tests.support.fake_disk import FakeDisk, Nothing
from tests.support.founding import disk_id, member_of, record_of
from tests.support.manual_loop import ManualLoop

NEW = NodeIdentity(disk_id(7))
MEMBER = member_of(record_of("alpha", "beta"), 2).identity
WAITING = member_of(record_of("alpha", "beta"), 1, is_complete=False).identity
LATE = MEMBER._replace(node_id=3, name="late", is_joined=True)
"""It joined later: the record does not name it."""


@pytest.fixture
def disk() -> FakeDisk:
    disk = FakeDisk(ManualLoop(), survival=Nothing())
    lock_data_dir(disk, "d")
    return disk


@pytest.mark.parametrize("identity", [NEW, MEMBER, WAITING, LATE])
def test_what_was_written_is_read(disk: FakeDisk, identity: NodeIdentity) -> None:
    assert read_identity(disk, "d") is None
    disk.write("d/node.id", encode_identity(identity))
    assert read_identity(disk, "d") == identity
    assert identity.is_member == (identity is not NEW)


def test_second_process_is_refused(disk: FakeDisk) -> None:
    with pytest.raises(DataDirLocked, match="in use by process"):
        lock_data_dir(disk, "d")
    disk.close()
    lock_data_dir(disk, "d")


@pytest.mark.parametrize("identity", [NEW, MEMBER, LATE])
def test_every_damaged_bit_is_refused(disk: FakeDisk, identity: NodeIdentity) -> None:
    disk.write("d/node.id", encode_identity(identity))
    for bit in range(8 * len(disk.read("d/node.id"))):
        disk.flip_bit("d/node.id", bit)
        with pytest.raises(WrongDataDir):
            read_identity(disk, "d")
        disk.flip_bit("d/node.id", bit)
    assert read_identity(disk, "d") == identity


def test_another_format_version_is_refused_by_number(disk: FakeDisk) -> None:
    disk.put("d/node.id", b"quorumcache data directory\nformat 7\nwhatever\n")
    with pytest.raises(WrongDataDir, match="is in format 7, this version reads format 3"):
        read_identity(disk, "d")
    disk.put("d/node.id", b"quorumcache data directory\nformat 1\ncluster x\nnode 1 a\ncrc 0\n")
    with pytest.raises(WrongDataDir, match=r"format 1, this .* quorumcache 0\.1\.0 before"):
        read_identity(disk, "d")
    disk.put("d/node.id", b"quorumcache data directory\nformat 2\ndisk x\ncrc 0\n")
    with pytest.raises(WrongDataDir, match=r"format 2, .* before snapshots and births named"):
        read_identity(disk, "d")


def test_a_version_that_knows_no_nodes_that_joined_refuses_their_file() -> None:
    """By the number of its format, so that it says what to do."""
    assert encode_identity(MEMBER).startswith(b"quorumcache data directory\nformat 3\n")
    assert encode_identity(LATE).startswith(b"quorumcache data directory\nformat 4\n")
    assert b"\nfounding joined\n" in encode_identity(LATE)
