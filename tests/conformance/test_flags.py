"""Servers with flags of memcached's own: the same flags, and the same transcripts, for both."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.conformance.test_transcripts import needs_memcached, running_memcached
from tests.support.processes import running_node
from tests.support.transcripts import Case, SocketPeer, load, run

CASES = load(Path(__file__).parent / "transcripts" / "flags")
FLAGS = {
    "auth": ["-Y", "users"],
    "flush_off": ["-F"],
    "idle": ["-o", "idle_timeout=1"],
    "large": ["-I", "4m"],
    "shutdown": ["-A"],
}
USERS = "user:password\nother:secret\n"


def play_all(name: str, port: int, cases: list[Case]) -> None:
    for case in cases:
        if case.name.startswith(f"{name}: "):
            with closing(SocketPeer("127.0.0.1", port)) as peer:
                run(case, peer, lambda: SocketPeer("127.0.0.1", port))


@pytest.fixture(params=FLAGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def flags(name: str, tmp_path: Path) -> list[str]:
    (tmp_path / "users").write_text(USERS)
    return [str(tmp_path / word) if word == "users" else word for word in FLAGS[name]]


def test_one_node(name: str, flags: list[str], tmp_path: Path) -> None:
    with running_node(tmp_path, *flags) as node:
        play_all(name, node.port, CASES)


@needs_memcached
def test_memcached(name: str, flags: list[str]) -> None:
    with running_memcached(*flags) as port:
        play_all(name, port, [case for case in CASES if not case.tags & {"45", "ours"}])


def test_every_file_has_its_flags() -> None:
    assert {case.name.partition(":")[0] for case in CASES} == set(FLAGS)
