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
    -- b             from here on another connection, b; the first one is a
    %                the client closes the connection
    ~ title          memcached answers otherwise: see this point of docs/protocol.md

In what is sent or expected, `\\r \\n \\t \\0 \\\\ \\xNN` are bytes, `{x*251}` repeats a text,
`{name}` in an expected line takes a number and later stands for it, `{name+1}` for that number plus
1, `{5..30}` in an expected line takes a number from 5 to 30, `{*}` the rest of the line, `{**}`
anything. Lines that are sent one after the other go out together.

Tags: `45` for what memcached 1.6.45 does and 1.6.18 does not; `ours` for what only QuorumCache
does; `node` for what only a whole node answers; `fine` for a clock finer than memcached's; `whole`
for what must not be split into pieces; `here` if all its connections must go to one node; `alone`
for a node that leads all shards. A case that is `ours` or `fine` has a line with `~`.
"""

import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.support.text_server import TextConnection, TextServer
from tests.support.wire import DEADLINE_S

PLAYS_MAX = 5
"""How often a case that waits, or looks at times, is played over a socket at most."""

LATE_S = 0.5
"""A play that lost more time than this between its commands proves nothing: an item of one second
may have ended that should be there still. A failure in any other play counts at once. Half of the
shortest life of an item in the cases."""


class Step(NamedTuple):
    kind: str
    """`send`, `expect`, `wait`, `closed`, `close`, or `switch` to another connection."""
    text: str
    line: int


class Case(NamedTuple):
    name: str
    tags: frozenset[str]
    steps: tuple[Step, ...]
    where: str
    differences: tuple[str, ...] = ()
    """Titles of points in docs/protocol.md: why memcached answers otherwise."""

    @property
    def waits(self) -> bool:
        """Time has to pass in it."""
        return any(step.kind == "wait" for step in self.steps)

    @property
    def is_timed(self) -> bool:
        """How fast it is played shows in its replies."""
        return self.waits or any(re.search(r"\{\d+\.\.\d+\}", step.text) for step in self.steps)


class Pattern(Protocol):
    """What is expected."""

    @property
    def pattern(self) -> bytes: ...
    def fullmatch(self, data: bytes, /) -> "re.Match[bytes] | None": ...


class Peer(Protocol):
    """One client connection to whatever is tested."""

    def send(self, data: bytes) -> None: ...
    def receive(self, done: Pattern) -> bytes:
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
    blocks: list[list[tuple[int, str]]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("== "):
            blocks.append([])
        if line.strip() and not line.startswith("#"):
            assert blocks, f"{path.name}:{number}: {line}"
            blocks[-1].append((number, line))
    return (_case(path, block) for block in blocks)


def _case(path: Path, block: list[tuple[int, str]]) -> Case:
    steps, differences = [], []
    (start, title), *rest = block
    head = re.fullmatch(r"== (.*?)(?: \[([a-z0-9 ]+)\])?", title)
    assert head, title
    for number, line in rest:
        mark, _, text = line.partition(" ")
        if mark == "~":
            differences.append(text)
            continue
        assert mark in _KINDS, f"{path.name}:{number}: {line}"
        steps.append(Step(_KINDS[mark], text + ("\\r\\n" if mark in "<>" else ""), number))
    return Case(
        f"{path.stem}: {head[1]}",
        frozenset((head[2] or "").split()),
        tuple(steps),
        f"{path.name}:{start}",
        tuple(differences),
    )


_KINDS = {
    ">": "send",
    ">>": "send",
    "<": "expect",
    "<<": "expect",
    "@": "wait",
    "!": "closed",
    "--": "switch",
    "%": "close",
}

_ESCAPE = re.compile(
    r"\\(x[0-9a-f]{2}|.)|\{(\d+)\.\.(\d+)\}|\{(.+?)\*(\d+)\}|\{(\w+)(?:\+(\d+))?\}|\{(\*\*?)\}",
    re.DOTALL,
)
_SIMPLE = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\", "{": b"{"}


def _expand(text: str, numbers: dict[str, int], opened: set[str] | None = None) -> bytes:
    """The bytes of a step.

    With `opened` the source of a pattern for them; the names of its groups are added there.
    """
    out = []
    at = 0

    def literal(data: bytes) -> None:
        out.append(data if opened is None else re.escape(data))

    for match in _ESCAPE.finditer(text):
        literal(text[at : match.start()].encode("latin-1"))
        at = match.end()
        escape, low, high, repeated, times, name, plus, rest = match.groups()
        if low:
            # A group's name holds its bounds, and its place among the groups keeps it apart.
            name = f"from_{low}_to_{high}_{len(opened or ())}"
        if escape:
            literal(bytes.fromhex(escape[1:]) if len(escape) == 3 else _SIMPLE[escape])
        elif repeated:
            literal(_expand(repeated, numbers) * int(times))
        elif rest:
            out.append(b"[^\r\n]*" if rest == "*" else b".*?")
        elif name in numbers:
            literal(b"%d" % (numbers[name] + int(plus or 0)))
        else:
            assert opened is not None, f"{{{name}}} is sent before it was received"
            out.append((b"(?P=%b)" if name in opened else b"(?P<%b>[0-9]+)") % name.encode())
            opened.add(name)
    literal(text[at:].encode("latin-1"))
    return b"".join(out)


def run(case: Case, peer: Peer, connect: Callable[[], Peer] | None = None) -> None:
    """Play a case; AssertionError names the first line that came out differently.

    `connect` opens the further connections of a case that has several.
    """
    numbers: dict[str, int] = {}
    peers = {"a": peer}
    with ExitStack() as others:
        for kind, steps in _grouped(case.steps):
            where = f"{case.where} line {steps[0].line}, {case.name!r}"
            if kind == "send":
                peer.send(b"".join(_expand(step.text, numbers) for step in steps))
            elif kind == "expect":
                numbers |= _expect(peer, steps, numbers, where)
            elif kind == "wait":
                peer.wait(sum(int(step.text) for step in steps))
            elif kind == "switch":
                name = steps[-1].text
                if name not in peers:
                    assert connect is not None, f"{where}: needs a second connection"
                    peers[name] = others.enter_context(closing(connect()))
                peer = peers[name]
            else:
                if kind == "closed":
                    assert peer.is_closed(), f"{where}: the connection is still open"
                else:
                    peer.close()
                peers = {name: other for name, other in peers.items() if other is not peer}
        # Nothing more has come, and the connections are still in step.
        for peer in peers.values():
            peer.send(b"get \x01in\x01step\r\n")
            reply = peer.receive(re.compile(b"END\r\n"))
            assert reply == b"END\r\n", f"{case.where} {case.name!r}: left over: {_short(reply)}"


class _Literal:
    """A pattern of nothing but fixed bytes, which may be millions: no expression is made of it."""

    def __init__(self, data: bytes) -> None:
        self.pattern = data

    def fullmatch(self, data: bytes) -> "re.Match[bytes] | None":
        return _ANYTHING.fullmatch(data) if data == self.pattern else None


_ANYTHING = re.compile(b".*", re.DOTALL)


def _expect(peer: Peer, steps: list[Step], numbers: dict[str, int], where: str) -> dict[str, int]:
    """Receive these steps; the numbers that they take."""
    opened: set[str] = set()
    source = b"".join(_expand(step.text, numbers, opened) for step in steps)
    pattern: Pattern
    if opened or any("{*" in step.text for step in steps):
        pattern = re.compile(source, re.DOTALL)
    else:
        pattern = _Literal(b"".join(_expand(step.text, numbers) for step in steps))
    reply = peer.receive(pattern)
    match = pattern.fullmatch(reply)
    assert match, f"{where}: expected {_short(pattern.pattern)}, got {_short(reply)}"
    taken = {name: int(value) for name, value in match.groupdict().items()}
    for name in [name for name in taken if name.startswith("from_")]:
        low, high = (int(word) for word in name.split("_")[1:4:2])
        number = taken.pop(name)
        assert low <= number <= high, f"{where}: {number} is not from {low} to {high}"
    return taken


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

    def receive(self, done: Pattern) -> bytes:
        received, self._received = self._received, b""
        return received

    def wait(self, ms: int) -> None:
        self._server.now_ms += ms

    def is_closed(self) -> bool:
        return self._connection.closed and not self._received

    def close(self) -> None:
        pass


class Timer:
    """When the bytes of a play came and went, over all its connections."""

    def __init__(self) -> None:
        self.began_s = self.last_s = time.monotonic()
        self.waits_s = 0.0

    @property
    def late_s(self) -> float:
        """Seconds from the beginning to the last byte that came or went, without the waits."""
        return self.last_s - self.began_s - self.waits_s


class SocketPeer:
    """A connection to a real server."""

    def __init__(self, host: str, port: int, timer: Timer | None = None) -> None:
        self._socket = socket.create_connection((host, port), timeout=DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timer = timer or Timer()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)
        self._timer.last_s = time.monotonic()

    def receive(self, done: Pattern) -> bytes:
        received = b""
        while not done.fullmatch(received):
            try:
                more = self._socket.recv(1 << 20)
            except OSError:
                break
            if not more:
                break
            received += more
            self._timer.last_s = time.monotonic()
        return received

    def wait(self, ms: int) -> None:
        time.sleep(ms / 1000)
        self._timer.waits_s += ms / 1000

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


def play(case: Case, port: int, *, others: Sequence[int] = (), late_s: float = LATE_S) -> None:
    """Play a case on an emptied server on loopback.

    Its further connections go to `others` in turn, the same cache at other ports. Again, if it
    fails after more than `late_s` seconds were lost between its commands.
    """
    for plays_left in reversed(range(PLAYS_MAX if case.is_timed else 1)):
        with closing(SocketPeer("127.0.0.1", port)) as peer:
            empty(peer)
        timer = Timer()
        turn = cycle([port] if "here" in case.tags or not others else others)
        connect = partial(_connect, turn, timer)
        with closing(SocketPeer("127.0.0.1", port, timer)) as peer:
            try:
                run(case, peer, connect)
                return
            except AssertionError:
                if not plays_left or timer.late_s <= late_s:
                    raise


def _connect(ports: Iterator[int], timer: Timer) -> SocketPeer:
    return SocketPeer("127.0.0.1", next(ports), timer)
