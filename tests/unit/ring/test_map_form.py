"""Goal: the bytes of a map are read as what they say, and nothing else is.

What a map with wrong members is told is in test_cluster_map.py.
"""

from __future__ import annotations

import msgpack
import pytest

from quorumcache.ring import ClusterMap, MapError
from quorumcache.ring.map_form import decode_map
from tests.unit.ring.test_cluster_map import newer


def with_field(position: int, value: object) -> bytes:
    fields = list(msgpack.unpackb(newer().to_bytes()))
    fields[position] = value
    return msgpack.packb(fields)


def test_the_members_come_back_by_name() -> None:
    cluster_map = newer()
    values = decode_map(cluster_map.to_bytes())
    assert values["moves"] == cluster_map.moves
    assert ClusterMap(**values) == cluster_map


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_field(10, 1), "a map in format 3 says that it has form 1"),
        (with_field(10, 3), "form is 3"),
        (with_field(12, 5), "moves is int, expected an array"),
        (with_field(12, [5]), "a move is 5, expected an array of 4 fields"),
        (with_field(12, [[1, [1], [2]]]), "expected an array of 4 fields"),
        (with_field(12, [[1, 5, [2], 0]]), "replicas are 5"),
        (with_field(5, [[1] * 8]), "expected an array of 9 fields"),
    ],
)
def test_a_malformed_map_of_form_2_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MapError, match=message):
        ClusterMap.from_bytes(data)
