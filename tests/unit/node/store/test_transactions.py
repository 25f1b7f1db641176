"""`transactions.py`."""

import pytest

from quorumcache.node.store.transactions import TransactionTable


def test_an_invalid_image_is_refused() -> None:
    table = TransactionTable()
    with pytest.raises(ValueError, match="invalid"):
        table.add(())
    assert len(table) == 0
    assert table.images() == ()
