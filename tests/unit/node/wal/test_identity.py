"""Whose data directory it is."""

from __future__ import annotations

import contextlib

import pytest

from node.errors import DataDirLocked, WrongDataDir
from node.wal.identity import Identity, claim_data_dir, lock_data_dir, read_identity
from tests.support.fake_disk import FakeDisk, Nothing, PowerLoss
from tests.support.manual_loop import ManualLoop

ME = Identity("cluster-a", 1, "alpha")


@pytest.fixture
def disk() -> FakeDisk:
    disk = FakeDisk(ManualLoop(), survival=Nothing())
    lock_data_dir(disk, "d")
    return disk


def test_first_start_claims_and_later_ones_recognise(disk: FakeDisk) -> None:
    assert read_identity(disk, "d") is None
    assert claim_data_dir(disk, "d", ME) is True
    assert read_identity(disk, "d") == ME
    assert claim_data_dir(disk, "d", ME) is False


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (Identity("cluster-a", 2, "beta"), r"node 2 \(beta\) of cluster cluster-a"),
        (Identity("cluster-b", 1, "alpha"), r"node 1 \(alpha\) of cluster cluster-b"),
    ],
)
def test_another_nodes_directory_is_refused_with_both_names(
    disk: FakeDisk, other: Identity, told: str
) -> None:
    claim_data_dir(disk, "d", ME)
    with pytest.raises(
        WrongDataDir, match=rf"belongs to node 1 \(alpha\) of cluster cluster-a, this is {told}"
    ):
        claim_data_dir(disk, "d", other)
    assert read_identity(disk, "d") == ME


def test_node_may_be_renamed(disk: FakeDisk) -> None:
    claim_data_dir(disk, "d", ME)
    assert claim_data_dir(disk, "d", ME._replace(name="omega one")) is False
    found = read_identity(disk, "d")
    assert found is not None
    assert found.name == "omega one"


def test_second_process_is_refused(disk: FakeDisk) -> None:
    with pytest.raises(DataDirLocked, match="in use by process"):
        lock_data_dir(disk, "d")
    disk.close()
    lock_data_dir(disk, "d")


def test_every_damaged_bit_is_refused(disk: FakeDisk) -> None:
    claim_data_dir(disk, "d", ME)
    for bit in range(8 * len(disk.read("d/node.id"))):
        disk.flip_bit("d/node.id", bit)
        with pytest.raises(WrongDataDir):
            claim_data_dir(disk, "d", ME)
        disk.flip_bit("d/node.id", bit)
    assert claim_data_dir(disk, "d", ME) is False


def test_another_format_version_is_refused_by_number(disk: FakeDisk) -> None:
    disk.put("d/node.id", b"quorumcache data directory\nformat 7\nwhatever\n")
    with pytest.raises(WrongDataDir, match="is in format 7, this version reads format 1"):
        claim_data_dir(disk, "d", ME)


def test_claim_survives_power_loss_or_was_never_made(disk: FakeDisk) -> None:
    """A crash before each step of the first start; then the next start, and another crash."""
    for step in range(1, 7):
        disk = FakeDisk(ManualLoop(), survival=Nothing())

        def crash(name: str, path: str, disk: FakeDisk = disk, at: int = step) -> None:
            if disk.steps == at:
                disk.crash(power=False)

        disk.before_step = crash
        with contextlib.suppress(PowerLoss):
            claim_data_dir(disk, "d", ME)
        disk.before_step = None
        claim_data_dir(disk, "d", ME)
        disk.crash()
        assert read_identity(disk, "d") == ME
        assert disk.paths() == ["d/node.id"]
