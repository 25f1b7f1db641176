"""Items that nobody touches: moves take their time by them, and they are all there at the end."""

from __future__ import annotations

from quorumcache.bench.errors import TargetError
from quorumcache.bench.text_client import TextClient
from tests.chaos.cluster import ClusterError

COUNT = 64
VALUE_BYTES = 16 << 10
ANSWER_S = 10.0
MISSING_MAX = 5
"""Items that a line names."""


def items() -> list[tuple[bytes, bytes]]:
    """Keys and values, each value another one."""
    return [
        (b"ballast-%d" % number, (b"%d;" % number).ljust(VALUE_BYTES, b"."))
        for number in range(COUNT)
    ]


def store(address: tuple[str, int]) -> None:
    """Through this node, each acknowledged."""
    try:
        with TextClient(address, ANSWER_S) as client:
            client.set_many(items())
    except TargetError as error:
        raise ClusterError(f"ballast cannot be stored: {error}") from None


def missing(address: tuple[str, int]) -> str:
    """What this node does not give as it was stored; "" when it gives everything."""
    wrong = []
    try:
        with TextClient(address, ANSWER_S) as client:
            for key, value in items():
                found, line = client.get(key)
                if found != value:
                    wrong.append(f"{key.decode()} {line.decode() or 'is lost'}")
    except TargetError as error:
        wrong.append(str(error))
    if not wrong:
        return ""
    return f"{address[0]}: {len(wrong)} acknowledged items: {', '.join(wrong[:MISSING_MAX])}"
