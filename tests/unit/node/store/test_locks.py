"""`locks.py`."""

import pytest

from quorumcache.node.store.locks import LockTable


def test_an_invalid_image_is_refused() -> None:
    table = LockTable()
    with pytest.raises(ValueError, match="invalid"):
        table.add(())
    assert len(table) == 0
    assert table.images() == ()
