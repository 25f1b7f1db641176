"""A very small memcached on a thread: get, set and version, and anything else by a hook."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Any, Self


class TinyMemcached:
    """`with TinyMemcached() as server:` listens on `server.address`, with `path` on a Unix socket.

    `hook(line)` is asked first: bytes are the whole reply, None means the ordinary one. It may
    block, which stalls that connection alone.
    """

    def __init__(
        self, hook: Callable[[bytes], bytes | None] = lambda line: None, *, path: str = ""
    ) -> None:
        self.items: dict[bytes, bytes] = {}
        self.hook = hook
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    for line in self.rfile:
                        words = line.split()
                        value = b""
                        if words[0] == b"set":
                            value = self.rfile.read(int(words[4]) + 2)[:-2]
                        reply = outer.hook(line.rstrip())
                        if reply is None:
                            reply = outer._answer(words, value)
                        self.wfile.write(reply)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 128
            block_on_close = False

        class UnixServer(Server):
            address_family = socket.AF_UNIX

        place: Any = path
        self._server = UnixServer(place, Handler) if path else Server(("127.0.0.1", 0), Handler)
        self.address: tuple[str, int] = (f"unix:{path}", 0)
        if not path:
            self.address = self._server.server_address[:2]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def _answer(self, words: list[bytes], value: bytes) -> bytes:
        if words[0] == b"set":
            self.items[words[1]] = value
            return b"STORED\r\n"
        if words[0] == b"version":
            return b"VERSION tiny\r\n"
        if words[0] != b"get":
            return b"ERROR\r\n"
        found = [(key, self.items[key]) for key in words[1:] if key in self.items]
        values = [b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(value), value) for key, value in found]
        return b"".join(values) + b"END\r\n"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
