"""`cluster txn` over a bare connection, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.wire import Wire

Begun = tuple[bytes, int]
"""Id and deadline, as `cluster txn begin` gave them."""


def begin(wire: Wire, limit_ms: int = 0) -> Begun:
    """A new transaction."""
    words = wire.ask(b"cluster txn begin" + (b" %d" % limit_ms if limit_ms else b"")).split()
    assert words[0] == b"TXN", words
    return words[1], int(words[2])


def commit(wire: Wire, begun: Begun, *lines: bytes) -> bytes:
    """The answer to a commit of these lines."""
    wire.send(commit_bytes(begun, *lines))
    return wire.line()


def commit_bytes(begun: Begun, *lines: bytes) -> bytes:
    """A commit, as a client sends it."""
    block = b"".join(line + b"\r\n" for line in lines)
    return b"cluster txn commit %b %d %d\r\n%b\r\n" % (*begun, len(block), block)


def read(wire: Wire, *keys: bytes, command: bytes = b"get") -> dict[bytes, tuple[int, bytes]]:
    """Version and value of those keys that hold something."""
    wire.send(b"cluster txn %b %b\r\n" % (command, b" ".join(keys)))
    found = {}
    while (line := wire.line()) != b"END\r\n":
        word, key, _, length, version = line.split()
        assert word == b"VALUE", line
        found[key] = int(version), wire.exactly(int(length) + 2)[:-2]
    return found


def versions(wire: Wire, *keys: bytes, command: bytes = b"get") -> dict[bytes, int]:
    """Versions of those keys that hold something."""
    return {key: version for key, (version, _) in read(wire, *keys, command=command).items()}


def transfer(wire: Wire, source: bytes, target: bytes, amount: int) -> bool:
    """Move money from one account to another; False after a conflict."""
    found = read(wire, source, target)
    sums = {
        source: int(found[source][1]) - amount,
        target: int(found[target][1]) + amount,
    }
    lines = [b"check %b %d" % (key, found[key][0]) for key in sums]
    lines += [b"set %b 0 0 %d\r\n%d" % (key, len(b"%d" % s), s) for key, s in sums.items()]
    answer = commit(wire, begin(wire), *lines)
    if answer == b"COMMITTED\r\n":
        return True
    assert answer.startswith((b"CONFLICT ", b"ABORTED")), answer
    return False


def balance(wire: Wire, accounts: Sequence[bytes]) -> int | None:
    """The sum of all accounts at one moment; None after a conflict."""
    found = read(wire, *accounts)
    checks = [b"check %b %d" % (key, version) for key, (version, _) in found.items()]
    answer = commit(wire, begin(wire), *checks)
    if answer == b"COMMITTED\r\n":
        return sum(int(value) for _, value in found.values())
    assert answer.startswith((b"CONFLICT ", b"ABORTED")), answer
    return None
