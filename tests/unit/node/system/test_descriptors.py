"""How many descriptors the process may open, who gets them, and a few in reserve."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorumcache.node.admin import server as admin
from quorumcache.node.errors import StartupError
from quorumcache.node.peers import open_links
from quorumcache.node.system import descriptors
from quorumcache.node.system.descriptors import (
    CONNECTIONS_MIN,
    HTTP_DESCRIPTORS,
    STRANGERS_DESCRIPTORS,
    SpareDescriptors,
    raise_limit,
    share_out,
)


def test_clients_get_what_descriptors_the_others_leave() -> None:
    assert share_out(4096, 2, 1 << 20).connections_max == 4096
    share = share_out(4096, 2, 1024)
    assert 512 < share.connections_max < 1024
    assert share.limit == 1024
    assert share_out(10, 2, 1024).connections_max == 10
    with pytest.raises(StartupError, match="needs at least") as told:
        share_out(4096, 2, 64)
    least = int(str(told.value).split("at least ")[1].split(":")[0])
    assert share_out(4096, 2, least).connections_max >= CONNECTIONS_MIN
    with pytest.raises(StartupError):
        share_out(4096, 2, least - 2)


def test_the_shares_are_those_that_the_listeners_keep_to() -> None:
    assert admin.CONNECTIONS_MAX == HTTP_DESCRIPTORS
    assert open_links.UNKNOWN_LINKS_MAX == STRANGERS_DESCRIPTORS


class Limit:
    """In place of the limit of the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.soft, self.hard = soft, hard
        self.allowed = hard
        monkeypatch.setattr(resource, "getrlimit", lambda which: (self.soft, self.hard))
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, which: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.allowed:
            raise ValueError("not allowed")
        self.soft = limits[0]


def test_the_soft_limit_is_raised_as_far_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit(monkeypatch, 256, 1 << 20)
    share = raise_limit(1000, 2)
    assert share.connections_max == 1000
    assert limit.soft == share.limit < 1 << 20
    raise_limit(10, 2)
    assert limit.soft == share.limit, "it is never lowered"


def test_clients_are_fewer_where_the_limit_cannot_be_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = Limit(monkeypatch, 512, 1 << 20)
    limit.allowed = 512
    assert CONNECTIONS_MIN < raise_limit(4096, 2).connections_max < 512
    assert limit.soft == 512


@pytest.fixture
def spare() -> Iterator[SpareDescriptors]:
    held = SpareDescriptors()
    yield held
    held.empty()


def open_count() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_descriptors_in_reserve_are_held_and_given(spare: SpareDescriptors) -> None:
    before = open_count()
    left = spare.fill(3)
    assert left > 0
    assert open_count() == before + 3
    assert spare.give_one()
    assert open_count() == before + 2
    spare.fill(3)
    assert open_count() == before + 3
    spare.empty()
    assert open_count() == before
    assert not spare.give_one()


def test_a_process_without_descriptors_has_none_left(
    spare: SpareDescriptors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, flags: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(descriptors.os, "open", refused)
    assert spare.fill(3) == 0


def forbid(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_limits_are_read_from_a_file_where_the_system_forbids_the_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(resource, "getrlimit", forbid)
    monkeypatch.setattr(resource, "setrlimit", forbid)
    assert descriptors.open_files_limits() == told
    limits = tmp_path / "limits"
    limits.write_text(
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max cpu time              unlimited            unlimited            seconds   \n"
        "Max open files            700                  unlimited            files     \n"
    )
    monkeypatch.setattr(descriptors, "LIMITS_FILE", str(limits))
    assert descriptors.open_files_limits() == (700, resource.RLIM_INFINITY)
    share = raise_limit(10_000, 0)
    assert share.limit == 700, "it cannot be raised"
    assert share.connections_max < 700
    for text in ("", "Max open files\n", "Max open files  many  more  files\n"):
        limits.write_text(text)
        assert descriptors.open_files_limits() == (1024, 1024)
    limits.unlink()
    assert descriptors.open_files_limits() == (1024, 1024)
