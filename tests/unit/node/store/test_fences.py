"""`fences.py`."""

import pytest

from quorumcache.node.store.fences import FenceTable


def test_an_invalid_image_is_refused() -> None:
    table = FenceTable()
    with pytest.raises(ValueError, match="invalid"):
        table.add(())
    assert len(table) == 0
    assert table.images() == ()
