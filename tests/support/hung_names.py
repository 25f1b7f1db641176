"""A name server that says nothing about some names, for the look-ups of threads."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

END_SECONDS = 20.0
"""A look-up that nobody releases ends by itself, as a resolver's does."""


class HungNames:
    """In place of `socket.getaddrinfo`. `addresses` are the names that have an answer; a name in
    `silent` has none until `release`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: dict[str, str] = {}
        self.silent: set[str] = set()
        self.asked: list[str] = []
        """All look-ups that were begun."""
        self.under_way = 0
        self._released = threading.Event()
        self._lock = threading.Lock()
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def release(self) -> None:
        """All that is silent answers."""
        self.silent.clear()
        self._released.set()

    def _getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        with self._lock:
            self.asked.append(host)
            self.under_way += 1
        try:
            if host in self.silent:
                self._released.wait(END_SECONDS)
            if host not in self.addresses:
                raise socket.gaierror(-3, "Temporary failure in name resolution")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.addresses[host], port or 0))]
        finally:
            with self._lock:
                self.under_way -= 1
