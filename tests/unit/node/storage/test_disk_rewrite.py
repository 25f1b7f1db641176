"""`Disk.rewrite`: what a start believes has to be on the disk, also after a sync that failed."""

import asyncio
from pathlib import Path
from random import Random

from quorumcache.node.errors import DiskFailed
from quorumcache.node.storage.real_disk import RealDisk
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk, Nothing


def test_bytes_of_a_failed_sync_survive_a_power_loss_once_rewritten() -> None:
    """The kernel drops the dirty marks of a failed sync: a later sync writes nothing."""
    loop = VirtualLoop()
    disk = FakeDisk(loop, Random(1), survival=Nothing())
    errors: list[BaseException | None] = []
    file = disk.create("d/f", b"head", errors.append)
    loop.run_until_complete(asyncio.sleep(1))
    disk.failing_syncs = 1
    file.append(b"frame", errors.append)
    loop.run_until_complete(asyncio.sleep(1))
    loop.close()
    assert errors[0] is None
    assert isinstance(errors[1], DiskFailed)
    disk.crash(power=False)
    assert disk.read("d/f") == b"headframe"
    disk.rewrite("d/f", 9)
    disk.crash(power=True)
    assert disk.read("d/f") == b"headframe"


def test_rewrite_keeps_the_bytes_and_cuts_the_rest(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    disk = RealDisk(loop)
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    disk.rewrite(str(path), 7)
    assert path.read_bytes() == b"0123456"
    disk.rewrite(str(path), 0)
    assert path.read_bytes() == b""
    disk.close()
    loop.close()
