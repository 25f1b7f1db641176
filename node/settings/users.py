"""Who may use the cache, where memcached clients have to give a password (`--auth-file`).

The file has one `user:password` per line, as memcached's `-Y`; the first `:` ends the name. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from quorumcache.node.errors import ConfigError

USERS_MAX: Final = 1024
"""Each is compared when a client gives a password."""

LINE_BYTES_MAX: Final = 512
FILE_BYTES_MAX: Final = USERS_MAX * LINE_BYTES_MAX


class Users:
    """User names with their passwords. They are kept as digests, which no memory dump tells."""

    def __init__(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        self._digests = tuple(_digest(user, password) for user, password in entries)

    def has(self, user: bytes, password: bytes) -> bool:
        """Whether this is one of them. How long it takes tells nothing about those there are."""
        given = _digest(user, password)
        found = 0
        for digest in self._digests:
            found |= hmac.compare_digest(given, digest)
        return bool(found)


def parse_users(data: bytes, where: str) -> Users:
    """The users of a file's content. `ConfigError` names the line, and shows nothing of it."""
    entries = []
    for number, line in enumerate(data.split(b"\n"), 1):
        text = line.removesuffix(b"\r")
        if not text:
            continue
        user, colon, password = text.partition(b":")
        if not (user and colon and password) or b" " in text or len(text) > LINE_BYTES_MAX:
            raise ConfigError(
                "auth_file",
                f"{where}, line {number} is not user:password, without spaces and with at most"
                f" {LINE_BYTES_MAX} bytes",
            )
        entries.append((user, password))
    if not 0 < len(entries) <= USERS_MAX:
        raise ConfigError("auth_file", f"{where} has {len(entries)} users, not 1 to {USERS_MAX}")
    return Users(entries)


def _digest(user: bytes, password: bytes) -> bytes:
    return hashlib.sha256(b"%d:%b:%b" % (len(user), user, password)).digest()
