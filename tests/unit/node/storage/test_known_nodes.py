"""The file of the other nodes: there and back, and left aside when it is of no use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack
import pytest

from quorumcache.node.errors import DiskFull
from quorumcache.node.storage.checksum import with_checksum
from quorumcache.node.storage.known_nodes import (
    KNOWN_FILE,
    KnownNode,
    KnownNodes,
    KnownNodesFile,
    encode_known,
    read_known,
)
from tests.support.fake_disk import FakeDisk
from tests.support.founding import disk_id

OWN = disk_id(1)
KNOWN = KnownNodes(9, {2: KnownNode(3, "b:1", "b", disk_id(2)), 5: KnownNode(0, "e:1", "e", "")})
PATH = f"d/{KNOWN_FILE}"


def play(story: Callable[[FakeDisk], Awaitable[None]]) -> None:
    async def told() -> None:
        await story(FakeDisk(asyncio.get_running_loop()))

    asyncio.run(told())


def opened(disk: FakeDisk) -> KnownNodesFile:
    def failed(error: BaseException) -> None:
        raise error

    return KnownNodesFile(disk, "d", OWN, failed)


def test_there_and_back() -> None:
    assert read_known(encode_known(KNOWN, OWN), OWN) == KNOWN
    assert read_known(encode_known(KnownNodes(), OWN), OWN) == KnownNodes()


@pytest.mark.parametrize(
    "fields",
    [
        (disk_id(2), 1, {}),
        (OWN, "1", {}),
        (OWN, 1, ()),
        (OWN, 1),
        (OWN, 1, {0: (1, "b:1", "b", "")}),
        (OWN, 1, {"2": (1, "b:1", "b", "")}),
        (OWN, 1, {2: (1, "b:1", "b")}),
        (OWN, 1, {2: (-1, "b:1", "b", "")}),
        (OWN, 1, {2: (1, "b", "b", "")}),
        (OWN, 1, {2: (1, "b:1", "b", "x")}),
        (OWN, 1, dict.fromkeys(range(1, 1026), (1, "b:1", "b", ""))),
    ],
)
def test_what_is_no_such_file_is_not_read(fields: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of them
        read_known(with_checksum(msgpack.packb(fields)), OWN)


def test_every_flipped_bit_is_found() -> None:
    data = encode_known(KNOWN, OWN)
    for at in range(len(data)):
        with pytest.raises(ValueError):  # noqa: PT011 - any of them
            read_known(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], OWN)


def test_a_damaged_file_is_left_aside_and_written_anew() -> None:
    async def story(disk: FakeDisk) -> None:
        disk.write(PATH, b"damaged")
        file = opened(disk)
        assert file.found == KnownNodes()
        file.store(KNOWN)
        await asyncio.sleep(0.01)
        assert opened(disk).found == KNOWN

    play(story)


def test_a_full_disk_is_tried_again_and_what_is_stored_is_not_stored_again() -> None:
    async def story(disk: FakeDisk) -> None:
        file = opened(disk)
        writes: list[Any] = []

        def write_atomic(path: str, parts: list[bytes], done: Any) -> None:
            writes.append(done)

        disk.write_atomic = write_atomic  # type: ignore[assignment,method-assign]
        file.store(KNOWN)
        file.store(KNOWN)
        assert len(writes) == 1, "one write at a time"
        writes[0](DiskFull("d"))
        file.store(KNOWN)
        assert len(writes) == 2
        writes[1](None)
        file.store(KNOWN)
        assert len(writes) == 2
        file.store(KNOWN._replace(epoch=10))
        with pytest.raises(OSError, match="broken"):
            writes[2](OSError("broken"))

    play(story)
