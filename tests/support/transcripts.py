"""Transcripts: what a client sends, and the exact bytes that have to come back.

A transcript file holds cases. Every case starts on a new connection to an empty cache.

    # a comment
    == name of the case [tag ...]
    > sent, followed by CRLF
    >> sent as it is
    < expected, followed by CRLF
    << expected as it is
    @ 1500           that many milliseconds pass
    !                the server closes the connection

In what is sent or expected, `\\r \\n \\t \\0 \\\\ \\xNN` are bytes, `{x*251}` repeats a text,
`{name}` in an expected line takes a number and later stands for it, `{name+1}` for that number plus
1, `{*}` in an expected line takes the rest of the line. Lines that are sent one after the other go
out together.

Tags: `45` for what memcached 1.6.45 does and 1.6.18 does not; `ours` for what only QuorumCache
does; `node` for what only a whole node answers; `fine` for a clock finer than memcached's; `whole`
for what must not be split into pieces.
"""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.support.text_server import TextConnection, TextServer
from tests.support.wire import DEADLINE_S

PLAYS_MAX = 5
"""How often a case that waits is played over a socket at most."""

LATE_S = 0.5
"""A play that lost more time than this between its commands proves nothing: an item of one second
may have ended that should be there still. A failure in any other play counts at once. Half of the
shortest life of an item in the cases."""


class Step(NamedTuple):
    kind: str
    """`send`, `expect`, `wait` or `closed`."""
    text: str
    line: int


class Case(NamedTuple):
    name: str
    tags: frozenset[str]
    steps: tuple[Step, ...]
    where: str

    @property
    def waits(self) -> bool:
        """Time has to pass in it."""
        return any(step.kind == "wait" for step in self.steps)


class Peer(Protocol):
    """One client connection to whatever is tested."""

    def send(self, data: bytes) -> None: ...
    def receive(self, done: "re.Pattern[bytes]") -> bytes:
        """What has come since the last call: until `done` matches it, or nothing more comes."""
        ...

    def wait(self, ms: int) -> None: ...
    def is_closed(self) -> bool: ...
    def close(self) -> None: ...


def load(directory: Path) -> list[Case]:
    cases = [case for path in sorted(directory.glob("*.txt")) for case in _read(path)]
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), "two cases of one name"
    return cases


def _read(path: Path) -> Iterator[Case]:
    name, tags, steps, start = "", frozenset[str](), [], 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        mark, _, text = line.partition(" ")
        if mark == "==":
            if name:
                yield Case(name, tags, tuple(steps), f"{path.name}:{start}")
            match = re.fullmatch(r"(.*?)(?: \[([a-z0-9 ]+)\])?", text)
            assert match, line
            name = f"{path.stem}: {match[1]}"
            tags = frozenset((match[2] or "").split())
            steps, start = [], number
        elif mark in (">", ">>", "<", "<<"):
            kind = "send" if mark[0] == ">" else "expect"
            steps.append(Step(kind, text + ("\\r\\n" if len(mark) == 1 else ""), number))
        elif mark == "@":
            steps.append(Step("wait", text, number))
        elif mark == "!":
            steps.append(Step("closed", "", number))
        else:
            assert not line.strip() or mark.startswith("#"), f"{path.name}:{number}: {line}"
    yield Case(name, tags, tuple(steps), f"{path.name}:{start}")


_ESCAPE = re.compile(
    r"\\(x[0-9a-f]{2}|.)|\{(.+?)\*(\d+)\}|\{(\w+)(?:\+(\d+))?\}|\{(\*)\}", re.DOTALL
)
_SIMPLE = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\", "{": b"{"}


def _expand(text: str, numbers: dict[str, int], *, pattern: bool) -> bytes:
    """The bytes of a step; with `pattern` the source of a pattern for them."""
    out = []
    at = 0

    def literal(data: bytes) -> None:
        out.append(re.escape(data) if pattern else data)

    for match in _ESCAPE.finditer(text):
        literal(text[at : match.start()].encode("latin-1"))
        at = match.end()
        escape, repeated, times, name, plus, rest = match.groups()
        if escape:
            literal(bytes.fromhex(escape[1:]) if len(escape) == 3 else _SIMPLE[escape])
        elif repeated:
            literal(repeated.encode() * int(times))
        elif rest:
            out.append(b"[^\r\n]*")
        elif name in numbers:
            literal(b"%d" % (numbers[name] + int(plus or 0)))
        else:
            assert pattern, f"{{{name}}} is sent before it was received"
            out.append(b"(?P<%b>[0-9]+)" % name.encode())
    literal(text[at:].encode("latin-1"))
    return b"".join(out)


def run(case: Case, peer: Peer) -> None:
    """Play a case; AssertionError names the first line that came out differently."""
    numbers: dict[str, int] = {}
    for kind, steps in _grouped(case.steps):
        where = f"{case.where} line {steps[0].line}, {case.name!r}"
        if kind == "send":
            peer.send(b"".join(_expand(step.text, numbers, pattern=False) for step in steps))
        elif kind == "expect":
            sources = []
            for step in steps:
                known = dict(numbers)
                sources.append(_expand(step.text, known, pattern=True))
            pattern = re.compile(b"".join(sources), re.DOTALL)
            reply = peer.receive(pattern)
            match = pattern.fullmatch(reply)
            assert match, f"{where}: expected {_short(pattern.pattern)}, got {_short(reply)}"
            numbers.update({name: int(value) for name, value in match.groupdict().items()})
        elif kind == "wait":
            peer.wait(sum(int(step.text) for step in steps))
        else:
            assert peer.is_closed(), f"{where}: the connection is still open"
            return
    # Nothing more has come, and the connection is still in step.
    peer.send(b"get \x01in\x01step\r\n")
    reply = peer.receive(re.compile(b"END\r\n"))
    assert reply == b"END\r\n", f"{case.where} {case.name!r}: left over: {_short(reply)}"


def _grouped(steps: tuple[Step, ...]) -> Iterator[tuple[str, list[Step]]]:
    group: list[Step] = []
    for step in steps:
        if group and group[0].kind != step.kind:
            yield group[0].kind, group
            group = []
        group.append(step)
    yield group[0].kind, group


def _short(data: bytes) -> str:
    return repr(data) if len(data) < 400 else f"{data[:200]!r}...{data[-100:]!r}"


class LocalPeer:
    """A connection to a `TextServer`; `piece` bytes at a time."""

    def __init__(self, server: TextServer, piece: int | None = None) -> None:
        self._server = server
        self._connection = TextConnection(server)
        self._piece = piece
        self._received = b""

    def send(self, data: bytes) -> None:
        piece = self._piece or max(len(data), 1)
        for start in range(0, len(data), piece):
            self._received += self._connection.feed(data[start : start + piece])

    def receive(self, done: "re.Pattern[bytes]") -> bytes:
        received, self._received = self._received, b""
        return received

    def wait(self, ms: int) -> None:
        self._server.now_ms += ms

    def is_closed(self) -> bool:
        return self._connection.closed and not self._received

    def close(self) -> None:
        pass


class SocketPeer:
    """A connection to a real server."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._began_s = self._last_s = time.monotonic()
        self._waits_s = 0.0

    @property
    def late_s(self) -> float:
        """Seconds from the beginning to the last byte that came or went, without the waits."""
        return self._last_s - self._began_s - self._waits_s

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)
        self._last_s = time.monotonic()

    def receive(self, done: "re.Pattern[bytes]") -> bytes:
        received = b""
        while not done.fullmatch(received):
            try:
                more = self._socket.recv(1 << 20)
            except OSError:
                break
            if not more:
                break
            received += more
            self._last_s = time.monotonic()
        return received

    def wait(self, ms: int) -> None:
        time.sleep(ms / 1000)
        self._waits_s += ms / 1000

    def is_closed(self) -> bool:
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._socket.close()


def empty(peer: Peer) -> None:
    """Empty the cache behind `peer`, before a case."""
    peer.send(b"flush_all\r\n")
    assert peer.receive(re.compile(b"OK\r\n")) == b"OK\r\n"


def play(case: Case, port: int, *, late_s: float = LATE_S) -> None:
    """Play a case on an emptied server on loopback.

    Again, if it fails after more than `late_s` seconds were lost between its commands.
    """
    for plays_left in reversed(range(PLAYS_MAX if case.waits else 1)):
        with closing(SocketPeer("127.0.0.1", port)) as peer:
            empty(peer)
        with closing(SocketPeer("127.0.0.1", port)) as peer:
            try:
                run(case, peer)
                return
            except AssertionError:
                if not plays_left or peer.late_s <= late_s:
                    raise
