"""Meta commands of a simulated client on the wire: bytes of requests, results out of replies."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.simulation.meta_model import META_GETS, META_STORES
from tests.simulation.workload import Request

CODES = {
    "mdI": (b"HD", b"NF"),
    "mdx": (b"HD", b"NF"),
    "msI": (b"HD", b"EX", b"NF"),
    "msE": (b"HD",),
}
NON_NUMERIC = b"CLIENT_ERROR cannot increment or decrement non-numeric value"
OUT_OF_MEMORY = b"SERVER_ERROR out of memory storing object"
MARKS = (b"Z", b"X", b"W")


def encode_meta(request: Request) -> bytes:
    """The bytes of a request of one of `META_KINDS`."""
    kind, key = request.kind, request.key
    if kind in META_GETS:
        flag = kind[2:].encode() + b"%d" % request.exptime if kind != "mg" else b""
        return b"mg %b c f v %b\r\n" % (key, flag)
    if kind in ("mdI", "mdx"):
        return b"md %b %b\r\n" % (key, kind[2:].encode())
    argument = request.argument
    if kind == "maN":
        assert isinstance(argument, int)
        return b"ma %b v N0 J%d\r\n" % (key, argument)
    assert kind in META_STORES
    assert isinstance(argument, bytes)
    unique = b"C%d I" % request.unique if kind == "msI" else b"E%d" % request.unique
    numbers = (key, len(argument), request.exptime, request.flags, unique, argument)
    return b"ms %b %d T%d F%d %b\r\n%b\r\n" % numbers


async def read_meta(reader: asyncio.StreamReader, kind: str, line: bytes) -> Any:
    """The result that a reply tells, of which `line` was read; None if it is no reply to it."""
    if kind in META_GETS:
        return ("miss",) if line == b"EN" else await _read_hit(reader, line)
    if line in CODES.get(kind, ()):
        return line.decode()
    if kind in (*META_STORES, "maN") and line == OUT_OF_MEMORY:
        return "OUT_OF_MEMORY"
    if kind == "maN":
        if line == NON_NUMERIC:
            return "NON_NUMERIC"
        words = line.split(b" ")
        if len(words) == 2 and words[0] == b"VA":
            digits = await reader.readexactly(int(words[1]) + 2)
            return ("number", int(digits))
    return None


async def _read_hit(reader: asyncio.StreamReader, line: bytes) -> Any:
    words = line.split(b" ")
    if len(words) < 4 or words[0] != b"VA" or words[2][:1] != b"c" or words[3][:1] != b"f":
        return None
    marks = [mark for mark in MARKS if mark in words[4:]]
    if len(marks) != len(words) - 4:
        return None
    data = await reader.readexactly(int(words[1]) + 2)
    if not data.endswith(b"\r\n"):
        return None
    return "hit", data[:-2], int(words[2][1:]), int(words[3][1:]), b"".join(marks).decode()
