"""Goal: what a member keeps is what it was given or what the founding made, durably and for this
user only; another one is refused.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from quorumcache.node.errors import SecretDiffers, WrongDataDir
from quorumcache.node.storage.real_disk import RealDisk
from quorumcache.node.storage.secret import (
    SECRET_FILE,
    Secret,
    keep_secret,
    make_secret,
    read_secret,
    settle_secret,
)
from tests.support.fake_disk import FakeDisk, Nothing
from tests.support.manual_loop import ManualLoop

GIVEN = Secret("this one was given to the node")


def disk_of() -> FakeDisk:
    disk = FakeDisk(ManualLoop(), Random(1), survival=Nothing())
    disk.make_dirs("/d")
    return disk


def test_a_made_one_is_random_and_long() -> None:
    assert make_secret(Random(1)) == make_secret(Random(1))
    assert make_secret(Random(1)) != make_secret(Random(2))
    assert len(make_secret(Random(3)).text) == 64


def test_what_was_kept_survives_a_power_loss() -> None:
    disk = disk_of()
    assert read_secret(disk, "/d") is None
    keep_secret(disk, "/d", GIVEN)
    disk.crash()
    assert read_secret(disk, "/d") == GIVEN


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    async def test() -> None:
        disk = RealDisk(asyncio.get_running_loop())
        try:
            keep_secret(disk, str(tmp_path), GIVEN)
        finally:
            disk.close()

    asyncio.run(test())
    path = tmp_path / SECRET_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == GIVEN.text + "\n"


def test_a_member_without_one_takes_the_given_one_and_keeps_it() -> None:
    disk = disk_of()
    assert settle_secret(disk, "/d", None) is None
    assert settle_secret(disk, "/d", GIVEN) == GIVEN
    disk.crash()
    assert settle_secret(disk, "/d", None) == GIVEN
    assert settle_secret(disk, "/d", Secret(GIVEN.text)) == GIVEN


def test_another_one_is_refused_and_the_line_says_how_to_change_it() -> None:
    disk = disk_of()
    keep_secret(disk, "/d", GIVEN)
    other = "the secret of another cluster"
    with pytest.raises(SecretDiffers) as caught:
        settle_secret(disk, "/d", Secret(other))
    told = str(caught.value)
    assert "/d/cluster.secret" in told
    assert "stop all nodes" in told
    assert other not in told
    assert GIVEN.text not in told
    assert read_secret(disk, "/d") == GIVEN


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"\xff" * 40])
def test_a_file_that_holds_none_is_named(content: bytes) -> None:
    disk = disk_of()
    disk.write(f"/d/{SECRET_FILE}", content)
    for given in (None, GIVEN):
        with pytest.raises(WrongDataDir, match=r"damaged cluster\.secret"):
            settle_secret(disk, "/d", given)
