"""Commands about keys: get, set, delete, route."""

from __future__ import annotations

import argparse
import base64
import json
import sys

from quorumcache.router.client import AsyncClient
from quorumcache.router.commands.basics import (
    MISS,
    OK,
    left_ms,
    print_json,
    say,
    show_key,
)
from quorumcache.router.errors import PartialFailure
from quorumcache.router.levels import ReadLevel


async def get(client: AsyncClient, options: argparse.Namespace) -> int:
    """Print the values of keys."""
    keys: list[bytes] = options.keys
    level: ReadLevel = options.level
    timeout_ms = left_ms(options)
    values: dict[str | bytes, bytes] = {}
    failure: PartialFailure | None = None
    if len(keys) > 1:
        try:
            values = dict((await client.get_many(keys, timeout_ms=timeout_ms, level=level)).items())
        except PartialFailure as error:  # What was found is printed all the same.
            failure, values = error, error.values
    else:
        value = await client.get(keys[0], timeout_ms=timeout_ms, level=level)
        values = {} if value is None else {keys[0]: value}
    if options.json:
        print_json([json_item(key, values.get(key)) for key in keys])
    for key in keys:
        value = values.get(key)
        if failure is not None and key in failure.errors:
            continue
        if value is None:
            say(f"{show_key(key)}: not found")
        elif not options.json:
            prefix = key + b" " if len(keys) > 1 else b""
            sys.stdout.buffer.write(prefix + value + (b"" if options.no_newline else b"\n"))
    if failure is not None:
        raise failure
    return OK if all(key in values for key in keys) else MISS


async def set_(client: AsyncClient, options: argparse.Namespace) -> int:
    """Store a value."""
    await client.set(
        options.keys[0],
        options.value,
        exptime=options.ttl,
        flags=options.flags,
        timeout_ms=left_ms(options),
    )
    print("stored")
    return OK


async def delete(client: AsyncClient, options: argparse.Namespace) -> int:
    """Remove keys."""
    code = OK
    for key in options.keys:
        if await client.delete(key, timeout_ms=left_ms(options)):
            print(f"{show_key(key)}: deleted" if len(options.keys) > 1 else "deleted")
        else:
            say(f"{show_key(key)}: not found")
            code = MISS
    return code


async def route(client: AsyncClient, options: argparse.Namespace) -> int:
    """One line per key. Tens of thousands are usual here, so the tail is made once per shard."""
    cluster_map = await client.connect(timeout_ms=left_ms(options))
    tails: dict[int, bytes] = {}
    lines: list[bytes] = []
    for key in options.keys:
        shard = cluster_map.shard_of(key)
        tail = tails.get(shard)
        if tail is None:
            found = await client.route(key, timeout_ms=left_ms(options))
            if options.json:
                fields = {"shard": shard, "leader": found.leader, "replicas": found.replicas}
                tail = (", " + json.dumps(fields)[1:] + "\n").encode()
            else:
                words = (str(shard), found.leader or "-", *found.replicas)
                tail = f" {' '.join(words)}\n".encode()
            tails[shard] = tail
        head = b'{"key": ' + json.dumps(show_key(key)).encode() if options.json else key
        lines.append(head + tail)
    sys.stdout.buffer.write(b"".join(lines))
    return OK


def json_item(key: bytes, value: bytes | None) -> dict[str, object]:
    """A key and its value for JSON; a value that is no text as base64."""
    shown: dict[str, object] = {"key": show_key(key), "found": value is not None}
    if value is not None:
        try:
            shown["value"] = value.decode()
        except UnicodeDecodeError:
            shown["value_base64"] = base64.b64encode(value).decode()
    return shown
