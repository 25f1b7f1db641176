"""The HTTP side of a node: `GET /metrics`, `/health` and `/status`, for machines.

A deliberately small HTTP/1.1 server: no bodies, no routing table to configure, one request at a
time per connection. Everything a client can hold on to is bounded: the request head, the number
of connections, and the time in which a request has to arrive and its reply has to be taken.

Reading order: `AdminServer` (listener and pages), `_AdminProtocol` (one connection),
`parse_head` (pure).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, cast

from quorumcache.node.admin.metrics import CONTENT_TYPE, NodeCollector, render
from quorumcache.node.admin.status import health_document, status_document
from quorumcache.node.admin.view import ObservedNode
from quorumcache.node.system.listeners import Listener
from quorumcache.node.system.tasks import Tasks
from quorumcache.node.telemetry.logs import event, get_logger

# A scraper's request is some 300 bytes; a browser's with cookies for localhost may be a few
# KiB.
HEAD_BYTES_MAX = 16 << 10
# Scrapers, probes and a few people. More than that is a mistake that must not take the node's
# file descriptors. An idle connection makes room for a new one, so that idle ones cannot keep a
# probe of /health out.
CONNECTIONS_MAX = 32
# For a whole request to arrive, for a reply to be taken, and between two requests.
IDLE_SECONDS = 15.0

_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

_log = get_logger("admin")


class Reply(NamedTuple):
    """One HTTP reply."""

    status: int
    content_type: str
    body: bytes


class Request(NamedTuple):
    """What of a request head matters here."""

    method: str
    # Without the query.
    path: str
    keep_alive: bool


class RequestError(Exception):
    """The request is answered with `status` and the connection closed."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class AdminServer:
    """The HTTP listener of one node."""

    def __init__(self, node: ObservedNode, loop: asyncio.AbstractEventLoop, tasks: Tasks) -> None:
        self._node = node
        self._loop = loop
        self.tasks = tasks
        self._collector = NodeCollector(node)
        self._listener = Listener(loop, "--http")
        self._connections: dict[_AdminProtocol, None] = {}  # the one idle longest first
        self._pages: dict[str, Callable[[], Awaitable[Reply]]] = {
            "/": self._index,
            "/metrics": self._metrics,
            "/health": self._health,
            "/status": self._status,
        }

    async def start(self, addresses: Sequence[str]) -> str:
        """Listen; the bound addresses, separated by commas. StartupError when one is taken."""
        return ",".join(await self._listener.start(lambda: _AdminProtocol(self), addresses))

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        self._listener.close()
        for connection in list(self._connections):
            connection.abort()
        await self._listener.wait_closed()

    async def answer(self, request: Request) -> Reply:
        """The reply to one request. Never raises."""
        page = self._pages.get(request.path)
        if page is None:
            known = ", ".join(path for path in self._pages if path != "/")
            return Reply(404, _TEXT, f"no such page; there are {known}\n".encode())
        if request.method not in ("GET", "HEAD"):
            return Reply(405, _TEXT, b"only GET and HEAD\n")
        try:
            return await page()
        except Exception as error:  # A page that fails must not take the connection's task down.
            event(_log, "error", "admin_page_failed", path=request.path, error=repr(error))
            return Reply(500, _TEXT, b"this page failed; the node's log says why\n")

    def admit(self, connection: _AdminProtocol) -> bool:
        """Whether there is room for one more connection.

        If all places are taken, the connection whose last request is longest ago is closed for it;
        one whose request is being answered keeps its place.
        """
        if len(self._connections) >= CONNECTIONS_MAX:
            idle = next((known for known in self._connections if not known.is_busy), None)
            if idle is None:
                return False
            del self._connections[idle]
            idle.abort()
        self._connections[connection] = None
        return True

    def asked(self, connection: _AdminProtocol) -> None:
        """A request has come on this connection."""
        del self._connections[connection]
        self._connections[connection] = None

    def forget(self, connection: _AdminProtocol) -> None:
        self._connections.pop(connection, None)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    async def _index(self) -> Reply:
        text = f"quorumcache node {self._node.config.name}: /metrics /health /status\n"
        return Reply(200, _TEXT, text.encode())

    async def _metrics(self) -> Reply:
        return Reply(200, CONTENT_TYPE, await render(self._collector))

    async def _health(self) -> Reply:
        document = health_document(self._node)
        return Reply(503 if document["problems"] else 200, _JSON, _json(document))

    async def _status(self) -> Reply:
        return Reply(200, _JSON, _json(status_document(self._node)))


class _AdminProtocol(asyncio.Protocol):
    """One HTTP connection: reads a head, answers it, reads the next one."""

    def __init__(self, server: AdminServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self._task is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        if self._server.admit(self):
            self._rearm()
        else:
            self._write(Reply(503, _TEXT, b"too many connections\n"), keep_alive=False)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.forget(self)
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._buffer += data
        self._advance()

    def abort(self) -> None:
        """Close at once, whatever is under way. Also what the timer does."""
        if self._transport is not None:
            self._transport.abort()

    def _advance(self) -> None:
        """Answer the next request if its head is complete and none is being answered."""
        if self._task is not None:
            # Pipelined requests wait here; a client that goes on sending meanwhile is cut off.
            if len(self._buffer) > HEAD_BYTES_MAX:
                self.abort()
            return
        end = self._buffer.find(b"\r\n\r\n")
        try:
            if end < 0:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    raise RequestError(431, f"request head exceeds {HEAD_BYTES_MAX} bytes")
                return
            if end > HEAD_BYTES_MAX:
                raise RequestError(431, f"request head exceeds {HEAD_BYTES_MAX} bytes")
            head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            request = parse_head(head)
        except RequestError as error:
            self._write(Reply(error.status, _TEXT, f"{error}\n".encode()), keep_alive=False)
            return
        self._server.asked(self)
        self._task = self._server.tasks.once("HTTP reply", lambda: self._serve(request), self.abort)

    async def _serve(self, request: Request) -> None:
        reply = await self._server.answer(request)
        self._task = None
        if self._transport is None or self._transport.is_closing():
            return
        self._write(reply, keep_alive=request.keep_alive, with_body=request.method != "HEAD")
        if request.keep_alive:
            self._rearm()
            self._advance()

    def _write(self, reply: Reply, *, keep_alive: bool, with_body: bool = True) -> None:
        assert self._transport is not None
        lines = [
            f"HTTP/1.1 {reply.status} {_REASONS[reply.status]}",
            f"Content-Type: {reply.content_type}",
            f"Content-Length: {len(reply.body)}",
            "Cache-Control: no-store",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
        ]
        if reply.status == 405:
            lines.append("Allow: GET, HEAD")
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        self._transport.write(head + reply.body if with_body else head)
        if not keep_alive:
            # What is written still goes out; a reader that does not take it is aborted in time.
            self._rearm()
            self._transport.close()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._server.loop.call_later(IDLE_SECONDS, self.abort)


def parse_head(head: bytes) -> Request:
    """Read a request head (without its last empty line). RequestError says what is wrong with it.

    Source: RFC 9112, as far as a server without bodies needs it.
    """
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[2].startswith("HTTP/"):
        raise RequestError(400, "not an HTTP request")
    method, target, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise RequestError(505, "HTTP/1.1, please")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise RequestError(400, "malformed header line")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise RequestError(413, "a request must not have a body")
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
    return Request(method, target.partition("?")[0], keep_alive)


def _json(document: dict[str, object]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"
