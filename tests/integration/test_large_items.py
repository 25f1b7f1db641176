"""Values of up to 128 MiB over real processes: whole on every way, and in bounded memory."""

from __future__ import annotations

import socket
from pathlib import Path
from random import Random

import pytest

from tests.support.processes import NodeProcess, running_cluster, running_node

MIB = 1 << 20
FLAGS = ("--max-item-size", "128m", "--memory", "1g")


def ask(node: NodeProcess, request: bytes, length: int = 0) -> bytes:
    """The reply, up to its last line; `length`: of a value in it."""
    with socket.create_connection(("127.0.0.1", node.port), 120.0) as connection:
        connection.sendall(request)
        reply = bytearray()
        while len(reply) < length or not reply.endswith(b"\r\n"):
            more = connection.recv(MIB)
            assert more, bytes(reply[:100])
            reply += more
        return bytes(reply)


def test_the_first_request_to_a_new_node_may_be_larger_than_what_travels_whole(
    tmp_path: Path,
) -> None:
    with running_node(tmp_path, *FLAGS) as node:
        request = b"set first 0 0 %d\r\n%b\r\n" % (9 * MIB, bytes(9 * MIB))
        assert ask(node, request) == b"STORED\r\n"


@pytest.mark.parametrize("mib", [16, 127])
def test_a_value_through_every_node(tmp_path: Path, mib: int) -> None:
    """A node takes in and hands out what it passes on without holding a second copy of it."""
    with running_cluster(tmp_path, shards=4, flags=FLAGS) as cluster:
        nodes = list(cluster)
        for number, writer in enumerate(nodes):
            value = Random(number).randbytes(mib * MIB)
            before = {node.name: node.memory_kib() for node in nodes}
            for node in nodes:
                node.forget_peak()
            request = b"set large 0 0 %d\r\n%b\r\n" % (len(value), value)
            assert ask(writer, request) == b"STORED\r\n"
            expected = b"VALUE large 0 %d\r\n%b\r\nEND\r\n" % (len(value), value)
            for node in nodes:
                assert ask(node, b"get large\r\n", len(expected)) == expected
            for node in nodes:
                # The value and its predecessor, in the store and in the log's memory (256 MiB).
                grown_kib = node.memory_kib("VmHWM") - before[node.name]
                assert grown_kib < (2 * mib + 256 + 64) * 1024, (node.name, grown_kib)
        assert ask(nodes[0], b"delete large\r\n") == b"DELETED\r\n"
        assert ask(nodes[1], b"get large\r\n") == b"END\r\n"
