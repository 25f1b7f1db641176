"""Where a target listens: host and port, or `unix:/path` and 0 for a Unix socket. Pure."""

from __future__ import annotations

from typing import Final

from quorumcache.bench.errors import TargetError
from quorumcache.ring.address import UNIX_PREFIX, format_address, is_unix, parse_address
from quorumcache.ring.errors import AddressError

Address = tuple[str, int]

_NO_PORT: Final = 0


def read_address(text: str) -> Address:
    """`HOST:PORT` or `unix:/path`. TargetError says what is wrong."""
    if is_unix(text):
        return text, _NO_PORT
    try:
        return parse_address(text, port_min=1)
    except AddressError as error:
        raise TargetError(f"{error}; or unix:/path") from None


def read_addresses(text: str) -> list[Address]:
    """Several of them, with commas between, each once."""
    found = [read_address(part.strip()) for part in text.split(",")]
    if len(set(found)) < len(found):
        raise TargetError(f"{text!r:.100} names an address twice")
    return found


def unix_path(address: Address) -> str:
    """The path of a Unix socket; "" if it is none."""
    place = address[0]
    return place.removeprefix(UNIX_PREFIX) if is_unix(place) else ""


def shown(address: Address) -> str:
    """The inverse of `read_address`."""
    return address[0] if unix_path(address) else format_address(*address)
