"""Every transcript against the parser, the store and the responses, whole and in small pieces.

And against an installed memcached, which proves the transcripts themselves right.
"""

import re
import shutil
import socketserver
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Thread

import pytest

from quorumcache.bench.ports import free_ports
from tests.support.item_tables import items_of
from tests.support.processes import wait_until
from tests.support.text_server import TextServer
from tests.support.transcripts import PLAYS_MAX, Case, LocalPeer, SocketPeer, Step, load, play, run

CASES = load(Path(__file__).parent / "transcripts")
LOCAL = [case for case in CASES if "node" not in case.tags]
SMALL_PIECES = [case for case in LOCAL if "whole" not in case.tags]
OF_MEMCACHED = [case for case in CASES if not case.tags & {"45", "ours", "fine"}]
WAITING = [case for case in OF_MEMCACHED if case.waits]
AT_ONCE = [case for case in OF_MEMCACHED if case not in WAITING]

MEMCACHED = shutil.which("memcached") or "/usr/bin/memcached"
needs_memcached = pytest.mark.skipif(
    not Path(MEMCACHED).exists(), reason="memcached is not installed"
)


def name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", LOCAL, ids=name)
def test_local(case: Case) -> None:
    _play_locally(case)


@pytest.mark.parametrize("case", SMALL_PIECES, ids=name)
def test_local_in_pieces(case: Case) -> None:
    """The same when every byte arrives alone, or every 1000 of a case with large values."""
    large = any(re.search(r"\*\d{6,}\}", step.text) for step in case.steps)
    _play_locally(case, piece=1000 if large else 1)


def _play_locally(case: Case, piece: int | None = None) -> None:
    server = TextServer()
    run(case, LocalPeer(server, piece), lambda: LocalPeer(server, piece))


@contextmanager
def running_memcached(*flags: str) -> Iterator[int]:
    (port,) = free_ports(1)
    arguments = [MEMCACHED, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1", "-m", "64"]
    user = "root" if "-Y" in flags else "nobody"  # Who may read the file.
    with subprocess.Popen([*arguments, "-u", user, *flags]) as process:
        try:

            def listens() -> bool:
                assert process.poll() is None, "memcached did not start"
                SocketPeer("127.0.0.1", port).close()
                return True

            wait_until("memcached listens", listens)
            yield port
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def memcached() -> Iterator[int]:
    with running_memcached() as port:
        yield port


@needs_memcached
@pytest.mark.parametrize("case", AT_ONCE, ids=name)
def test_memcached(case: Case, memcached: int) -> None:
    play(case, memcached)


@needs_memcached
def test_memcached_waiting() -> None:
    """The cases that wait for a clock, side by side, each with a memcached of its own."""

    def alone(case: Case) -> None:
        with running_memcached() as port:
            play(case, port, late_s=0.0)  # Its clock may tick between any two commands.

    with ThreadPoolExecutor(len(WAITING)) as pool:
        for done in [pool.submit(alone, case) for case in WAITING]:
            done.result()


def test_disconnect_in_mid_value_has_no_effect() -> None:
    server = TextServer()
    first = LocalPeer(server)
    first.send(b"set a 0 0 3\r\nold\r\nset a 0 0 3\r\nne")
    first.close()
    assert [item[-5:] for item in items_of(server.store.items).values()] == [b"old\r\n"]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_differences_from_memcached_are_documented(case: Case) -> None:
    """A case that memcached would fail says why, by the title of a point in docs/protocol.md."""
    differs = bool(case.tags & {"ours", "fine"})
    assert bool(case.differences) == differs
    missing = set(case.differences) - DOCUMENTED
    assert not missing, f"{case.where}: docs/protocol.md, Differences from memcached, lacks it"


def _documented() -> set[str]:
    """What stands in bold at the beginning of the points."""
    text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    section = text.split("## Differences from memcached")[1].split("\n## ")[0]
    return {title.rstrip(".:") for title in re.findall(r"^- \*\*(.+?)\*\*", section, re.MULTILINE)}


DOCUMENTED = _documented()


def test_a_wrong_transcript_is_noticed() -> None:
    """Guards the guard: a case fails on a wrong byte, on surplus bytes, on missing ones."""
    (case,) = [case for case in CASES if case.name == "storage: set always wins"]
    for at, step in enumerate(case.steps):
        if step.kind == "expect":
            for text in (step.text + "x", step.text[1:], ""):
                steps = (*case.steps[:at], step._replace(text=text), *case.steps[at + 1 :])
                with pytest.raises(AssertionError):
                    run(case._replace(steps=steps), LocalPeer(TextServer()))


@pytest.mark.parametrize(
    ("expected", "is_right"),
    [
        ("VALUE a 0 {1..3}", True),
        ("VALUE a 0 {2..3}", False),
        ("VALUE a {n} 1", True),
        ("VALUE a 0 {n}\\r\\n{n}", True),
        ("VALUE a {n} {n}", False),
        ("VALUE {*}", True),
        ("VALUE{**}1", True),
        ("VALUE a 0{**}2", False),
    ],
)
def test_patterns_of_a_transcript_mean_what_they_say(expected: str, is_right: bool) -> None:
    lines = "1" if r"\r" not in expected else ""
    sent = Step("send", r"set a 0 0 1\r\n1\r\nget a\r\n", 1)
    text = rf"STORED\r\n{expected}\r\n{lines}" + (r"\r\n" if lines else "") + r"END\r\n"
    case = Case("case", frozenset(), (sent, Step("expect", text, 2)), "here")
    with nullcontext() if is_right else pytest.raises(AssertionError):
        run(case, LocalPeer(TextServer()))


class _Scripted(socketserver.BaseRequestHandler):
    """Answers `flush_all`, then the case with the next of the server's replies."""

    def handle(self) -> None:
        if self.request.recv(100).startswith(b"flush_all"):
            self.request.sendall(b"OK\r\n")
            return
        assert isinstance(self.server, _ScriptedServer)
        reply = self.server.replies.pop(0)
        self.request.sendall(reply)
        if reply == RIGHT:
            self.request.recv(100)
            self.request.sendall(b"END\r\n")


class _ScriptedServer(socketserver.TCPServer):
    replies: list[bytes]


RIGHT, WRONG = b"VALUE\r\n", b"END\r\n"


@pytest.mark.parametrize(
    ("late_s", "replies", "is_good", "unplayed"),
    [
        (60.0, [WRONG, RIGHT], False, 1),  # Wrong, and in time: it counts.
        (0.0, [WRONG, RIGHT], True, 0),
        (0.0, [WRONG] * PLAYS_MAX, False, 0),
    ],
)
def test_only_a_play_that_lost_time_is_played_again(
    late_s: float, replies: list[bytes], is_good: bool, unplayed: int
) -> None:
    steps = (Step("wait", "1", 1), Step("send", r"get a\r\n", 2), Step("expect", r"VALUE\r\n", 3))
    case = Case("case", frozenset(), steps, "here")
    with _ScriptedServer(("127.0.0.1", 0), _Scripted) as server:
        server.replies = list(replies)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            with nullcontext() if is_good else pytest.raises(AssertionError):
                play(case, int(server.server_address[1]), late_s=late_s)
        finally:
            server.shutdown()
            thread.join()
        assert len(server.replies) == unplayed
