"""A small blocking memcached-text connection: what `failover` loops with, and how the bench asks a
cluster about itself.

It waits for every reply, as pymemcache does, and does not retry.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

from quorumcache.bench.addresses import Address, shown, unix_path
from quorumcache.bench.errors import TargetError
from quorumcache.ring import ClusterMap, MapError
from quorumcache.ring.map_form import FORM_MAX

_REPLY_BYTES_MAX = 64 << 20


class ConnectionBroken(TargetError):
    """The connection ended or timed out: the outcome of the request is unknown."""


class Topology(NamedTuple):
    """The cluster as one of its nodes sees it. `leaders`: by shard, 0 = unknown. `terms`: by shard,
    of the node's own replica; 0 = it has none, or none that has started, and its leader is a guess.
    """

    map: ClusterMap
    leaders: tuple[int, ...]
    terms: tuple[int, ...]

    def led_by(self, node_id: int) -> list[int]:
        """Shards that `node_id` leads, ascending."""
        return [shard for shard, leader in enumerate(self.leaders) if leader == node_id]

    def is_led(self, name: str) -> bool:
        """Whether the node of this name, which said all this, knows the leader of every shard, and
        does not guess one of a shard that it holds.
        """
        node = self.map.node_named(name)
        if node is None or 0 in self.leaders:
            return False
        return all(
            term or node.node_id not in replicas
            for term, replicas in zip(self.terms, self.map.replica_sets, strict=True)
        )


class TextClient:
    """One connection. Every call is bounded by `timeout_seconds` per wait."""

    def __init__(self, address: Address, timeout_seconds: float = 10.0) -> None:
        self.address = address
        try:
            self._socket = _connected(address, timeout_seconds)
        except OSError as error:
            raise ConnectionBroken(f"cannot connect to {shown(address)}: {error}") from None
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def interrupt(self) -> None:
        """From another thread: a call that waits for a reply ends with ConnectionBroken."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already

    # --- cache

    def set(self, key: bytes, value: bytes) -> bytes:
        """The reply line of a set: `STORED`, or an error line."""
        return self.line(b"set %b 0 0 %d\r\n%b" % (key, len(value), value))

    def get(self, key: bytes) -> tuple[bytes | None, bytes]:
        """(value or None, b"") or (None, error line)."""
        self._send(b"get %b\r\n" % key)
        line = self._read_line()
        if line == b"END":
            return None, b""
        if not line.startswith(b"VALUE "):
            return None, line
        value = self._read_block(line)
        if self._read_line() != b"END":
            raise TargetError("get: END is missing")
        return value, b""

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those that are there, in one request. `TargetError` for an error line."""
        self._send(b"get " + b" ".join(keys) + b"\r\n")
        found = {}
        while (line := self._read_line()) != b"END":
            if not line.startswith(b"VALUE "):
                raise TargetError(f"get of {len(keys)} keys: {line.decode('utf-8', 'replace')}")
            found[line.split()[1]] = self._read_block(line)
        return found

    def set_many(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Sets in one piece. `TargetError` names the first one that was not stored."""
        for (key, _), line in zip(items, self.set_each(items), strict=True):
            if line != b"STORED":
                raise TargetError(f"set {key.decode()}: {line.decode('utf-8', 'replace')}")

    def get_each(self, keys: Iterable[bytes]) -> Iterator[bytes | None]:
        """The value of each key, or None, of gets in one piece. `TargetError` for an error line."""
        requests = [b"get %b\r\n" % key for key in keys]
        self._send(b"".join(requests))
        for _ in requests:
            value = None
            while (line := self._read_line()) != b"END":
                if not line.startswith(b"VALUE "):
                    raise TargetError(f"get: {line.decode('utf-8', 'replace')}")
                value = self._read_block(line)
            yield value

    def set_each(self, items: Sequence[tuple[bytes, bytes]]) -> Iterator[bytes]:
        """The reply line to each of the sets, which go out in one piece."""
        self._send(b"".join(b"set %b 0 0 %d\r\n%b\r\n" % (k, len(v), v) for k, v in items))
        for _ in items:
            yield self._read_line()

    # --- questions

    def block(self, command: bytes) -> bytes:
        """The data block that answers `command`, behind a line that ends with its size."""
        line = self.line(command)
        if line.startswith((b"ERROR", b"SERVER_ERROR", b"CLIENT_ERROR")):
            raise TargetError(f"{command.decode()}: {line.decode('utf-8', 'replace')}")
        return self._read_block(line)

    def line(self, command: bytes) -> bytes:
        """The one-line reply to `command`."""
        self._send(command + b"\r\n")
        return self._read_line()

    def lines(self, command: bytes) -> list[bytes]:
        """The reply lines up to END; a single line for an error."""
        self._send(command + b"\r\n")
        found = []
        while (line := self._read_line()) != b"END":
            if line.startswith((b"ERROR", b"SERVER_ERROR", b"CLIENT_ERROR")):
                raise TargetError(f"{command.decode()}: {line.decode('utf-8', 'replace')}")
            found.append(line)
        return found

    def version(self) -> str:
        """What the server calls its version."""
        return self.line(b"version").decode("utf-8", "replace").removeprefix("VERSION ")

    def cluster_map(self) -> ClusterMap | None:
        """The map; None when this is not a QuorumCache node, or it has no map yet."""
        self._send(b"cluster form %d\r\ncluster map\r\n" % FORM_MAX)
        self._read_line()  # A node of form 1 does not know the word.
        line = self._read_line()
        if not line.startswith(b"MAP "):
            return None
        try:
            return ClusterMap.from_bytes(self._read_block(line))
        except MapError as error:
            raise TargetError(f"cluster map: {error}") from None

    def topology(self) -> Topology | None:
        """Map and leaders; None as for `cluster_map`."""
        cluster_map = self.cluster_map()
        if cluster_map is None:
            return None
        leaders, terms = [0] * cluster_map.shard_count, [0] * cluster_map.shard_count
        for line in self.lines(b"cluster leaders"):
            words = line.split()
            if len(words) != 4 or words[0] != b"LEADER":
                raise TargetError(f"cluster leaders: {line[:100]!r}")
            shard, term, node_id = map(int, words[1:])
            if shard < len(leaders):
                leaders[shard], terms[shard] = node_id, term
        return Topology(cluster_map, tuple(leaders), tuple(terms))

    # --- bytes

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ConnectionBroken(f"connection lost: {error}") from None

    def _receive(self) -> None:
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise ConnectionBroken("no reply in time") from None
        except OSError as error:
            raise ConnectionBroken(f"connection lost: {error}") from None
        if not data:
            raise ConnectionBroken("connection closed by the server")
        if len(self._buffer) > _REPLY_BYTES_MAX:
            raise TargetError("endless reply")
        self._buffer += data

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._receive()
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _read_block(self, line: bytes) -> bytes:
        """The data block whose size is the last word of `line`."""
        try:
            size = int(line.rsplit(b" ", 1)[1])
        except ValueError:
            raise TargetError(f"no size in {line[:100]!r}") from None
        while len(self._buffer) < size + 2:
            self._receive()
        block, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
        return block


def _connected(address: Address, timeout_seconds: float) -> socket.socket:
    path = unix_path(address)
    if not path:
        found = socket.create_connection(address, timeout_seconds)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(timeout_seconds)
    try:
        found.connect(path)
    except OSError:
        found.close()
        raise
    return found
