"""The founding record: the same text for equal records, and nothing believed of a wrong one."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from quorumcache.node.errors import FoundingError
from quorumcache.node.storage.founding_record import (
    DIRECTORY_VOTERS_MAX,
    RECORD_BYTES_MAX,
    FoundingRecord,
    propose,
    random_id,
)
from tests.support.founding import founder, record_of


def test_a_record_is_read_as_it_was_written() -> None:
    record = record_of("a", "b", "c")
    text = record.to_text()
    assert FoundingRecord.from_text(text) == record
    assert "\n" not in text
    assert FoundingRecord.from_text(json.dumps(json.loads(text), indent=1)).to_text() == text


def test_ids_are_given_in_order_and_the_first_founders_vote() -> None:
    names = [f"n{number}" for number in range(DIRECTORY_VOTERS_MAX + 2)]
    record = record_of(*names)
    assert [f.node_id for f in record.founders] == list(range(1, len(names) + 1))
    assert record.directory_voters == tuple(range(1, DIRECTORY_VOTERS_MAX + 1))
    named = record.founder_named("n3")
    assert named is not None
    assert record.founder(named.node_id) is named
    assert record.founder(99) is record.founder_named("x") is None


def test_the_first_map_follows_from_the_record_alone() -> None:
    record = record_of("a", "b", "c")
    first = record.first_map()
    assert first == FoundingRecord.from_text(record.to_text()).first_map()
    assert (first.epoch, first.cluster_id) == (1, record.cluster_id)
    assert first.nodes == record.founders


def test_settings_that_differ_are_named() -> None:
    record = record_of("a")
    fixed = dict(record.settings)
    assert record.differences(fixed) == []
    (told,) = record.differences({**fixed, "shards": "8"})
    assert told == ("shards is 8 in the settings of this node, but the cluster was created with 4")
    del fixed["shards"]
    assert "shards is unset" in record.differences(fixed)[0]


def test_ids_are_random() -> None:
    assert random_id(Random(1)) == random_id(Random(1)) != random_id(Random(2))
    assert len(random_id(Random(1))) == 32


def changed(**fields: Any) -> str:
    document = json.loads(record_of("a", "b").to_text())
    return json.dumps(document | fields)


def with_founder(place: int, value: Any) -> str:
    document = json.loads(record_of("a", "b").to_text())
    document["founders"][1][place] = value
    return json.dumps(document)


WRONG_WEIGHTS = (-1, 0, 5e-324, 1e300, float("nan"), float("inf"), "x", None, [], True)
WRONG_SETTINGS = (
    {"shards": "4", "replication": "0"},
    {"shards": "4", "replication": "x"},
    {"shards": "3", "replication": "1"},
    {"shards": "1" * 5000, "replication": "1"},
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("x" * (RECORD_BYTES_MAX + 1), "longer than"),
        ("{}", "needs the fields"),
        (changed(more=1), "needs the fields"),
        (changed(cluster_id="x"), "is not 32 hexadecimal digits"),
        (changed(founders=[]), "0 founders"),
        (changed(founders={}), "wrong form"),
        (changed(founders=[1]), "expected an array of 8 fields"),
        (changed(settings=[]), "wrong form"),
        (changed(settings={"shards": 4}), "not a few pairs of text"),
        (changed(settings={}), "makes no cluster"),
        (changed(directory_voters=[]), "directory voters are"),
        (changed(directory_voters=[1, 1]), "directory voters are"),
        (changed(directory_voters=[1, 3]), "directory voters are"),
        (changed(directory_voters=2), "directory voters are"),
        (with_founder(0, 3), "has the node id 3"),
        (with_founder(0, True), "has the node id True"),
        (with_founder(1, "a"), "makes no cluster"),
        (with_founder(2, "x"), "has the disk id"),
        (with_founder(2, f"{1:032x}"), "the same disk id"),
        (with_founder(3, "nowhere"), "is not HOST:PORT"),
        *((with_founder(7, weight), "makes no cluster") for weight in WRONG_WEIGHTS),
        *((changed(settings=settings), "makes no cluster") for settings in WRONG_SETTINGS),
    ],
)
def test_a_wrong_record_is_told_and_not_believed(text: str, why: str) -> None:
    with pytest.raises(FoundingError, match=why):
        FoundingRecord.from_text(text)


def test_two_founders_of_one_address_are_no_cluster() -> None:
    settings = dict(record_of("a").settings)
    first, second = founder("a", 1), founder("a", 2)
    with pytest.raises(FoundingError, match="makes no cluster"):
        propose(Random(1), [first, second], settings)
