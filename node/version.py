"""The product's version, what it tells memcached clients, and the format of its files."""

from __future__ import annotations

from typing import Final

VERSION = "0.1.0"

# Clients switch features on by the number that `version` gives: meta commands from 1.6, touch
# from 1.4.8. So the wire names the memcached whose protocol is spoken, first and in digits, and
# then this product.
MEMCACHED_VERSION = "1.6.45"
WIRE_VERSION = f"{MEMCACHED_VERSION}-quorumcache-{VERSION}"

FORMAT_VERSION: Final = 3
"""Of every file in a data directory: the log, the snapshots and the records."""

_WRITTEN_BEFORE: Final = {
    1: "clusters had random ids",
    2: "snapshots and births named their cluster",
}


def other_format(version: int) -> str:
    """Why a file of another format version is not read, for an error message."""
    why = f"is in format {version}, this version reads format {FORMAT_VERSION}"
    written_before = _WRITTEN_BEFORE.get(version)
    if written_before is not None:
        why += (
            f". Format {version} was written by development versions of quorumcache 0.1.0 before"
            f" {written_before}: read it with one of those, and copy the data into a new cluster"
        )
    return why
