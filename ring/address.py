"""`HOST:PORT`: how addresses are written, in settings, cluster maps and commands.

`HOST` is a name, an IPv4 address, or an IPv6 address in brackets: `[::1]:11211`. A link-local IPv6
address needs its interface: `[fe80::1%eth0]:11211`. Port 0 means a free one, where something
listens.

Nothing is looked up here (`names.py` does that). Pure.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final

from quorumcache.ring.errors import AddressError

PORT_MAX: Final = 65_535

UNIX_PREFIX: Final = "unix:"
"""`unix:/path` stands for a Unix socket, where clients connect to one."""

HOST_CHARS_MAX: Final = 253
"""Source: RFC 1035, section 2.3.4."""

_PORT_CHARS_MAX: Final = 20
"""Longer numbers are not even read."""

_NOT_IN_A_HOST: Final = frozenset(" ,;=/@[]")
_LINK_LOCAL: Final = re.compile(r"fe[89ab][0-9a-f]:[^%]*\Z", re.IGNORECASE)


def parse_address(
    text: str, *, default_port: int | None = None, port_min: int = 0
) -> tuple[str, int]:
    """(host, port), the host without brackets.

    `default_port` is for addresses without a port; then an IPv6 address needs no brackets either.
    `AddressError` says what is wrong and how to write it.
    """
    host, colon, port_text = text.rpartition(":")
    has_port = bool(colon) and not port_text.endswith("]")
    if default_port is not None and (not has_port or (":" in host and not host.endswith("]"))):
        host, has_port, port_text = text, True, str(default_port)
    elif ":" in host and not host.startswith("["):
        raise AddressError(
            f"{text!r:.100}: an IPv6 address needs brackets and a port, as in [::1]:11211"
        )
    if not host or not has_port:
        raise AddressError(
            f"{text!r:.100} is not HOST:PORT (for example 127.0.0.1:11211, or [::1]:11211)"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not _is_host(host):
        raise AddressError(f"{text!r:.100} has no usable host")
    if _LINK_LOCAL.match(host):
        raise AddressError(
            f"{text!r:.100}: a link-local address needs its interface, as in"
            f" [{host}%eth0]:{port_text}"
        )
    is_number = port_text.isascii() and port_text.isdigit() and len(port_text) <= _PORT_CHARS_MAX
    if not is_number or not port_min <= int(port_text) <= PORT_MAX:
        raise AddressError(
            f"{text!r:.100}: port {port_text!r:.100} is not in {port_min}..{PORT_MAX}"
        )
    return host, int(port_text)


def parse_addresses(text: str, *, port_min: int = 0) -> tuple[str, ...]:
    """`HOST:PORT,HOST:PORT` as its parts, each checked. Spaces around commas are allowed."""
    parts = tuple(part.strip() for part in text.split(","))
    for part in parts:
        parse_address(part, port_min=port_min)
    if len(set(parts)) < len(parts):
        raise AddressError(f"{text!r:.100} names an address twice")
    return parts


def format_address(host: str, port: int) -> str:
    """The inverse of `parse_address`: brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_host(host: str) -> bool:
    """Whether this may be a name or an address. What else it has to be, its look-up tells."""
    if ":" in host:
        try:
            IPv6Address(host)
        except ValueError:
            return False
        return True
    return (
        0 < len(host) <= HOST_CHARS_MAX
        and host.isprintable()
        and not _NOT_IN_A_HOST.intersection(host)
    )


def is_unix(address: str) -> bool:
    """Whether this is `unix:/path`. `unix:11211` is a host of that name."""
    return address.startswith(f"{UNIX_PREFIX}/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by the loopback interface, as far as the text alone tells."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
