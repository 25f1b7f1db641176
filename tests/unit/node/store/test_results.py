"""The forms of results, and what they carry."""

import pytest

from quorumcache.node.store.results import (
    DELETED,
    ITEM,
    NUMBER,
    OK,
    STORED,
    carried_item,
    is_result,
    removed_items,
)


@pytest.mark.parametrize("value", [OK, (NUMBER, 7), (ITEM, b"packed"), (STORED, 2**63)])
def test_forms_of_results(value: object) -> None:
    assert is_result(value)


@pytest.mark.parametrize(
    "value", [None, b"", True, 1.5, (), (OK,), (ITEM, None), ("x", 1), (1, 2, 3), [1, 2], (1, True)]
)
def test_what_is_no_result(value: object) -> None:
    assert not is_result(value)


def test_what_a_result_carries() -> None:
    assert carried_item((ITEM, b"packed")) == b"packed"
    assert carried_item((NUMBER, 7)) is None
    assert carried_item(DELETED) is None
    assert removed_items((NUMBER, 7)) == 7
    assert removed_items((ITEM, b"packed")) == 0
    assert removed_items(OK) == 0
