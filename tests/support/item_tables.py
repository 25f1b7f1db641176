"""The forms of the table of items. Tests of what all of them promise run with each."""

from __future__ import annotations

from collections.abc import Callable

from quorumcache.node.store.item_table import ItemTable
from quorumcache.node.store.plain_item_table import PlainItemTable
from tests.support.native_core import native

FORMS: list[Callable[[], ItemTable]] = [PlainItemTable]

if items := native("items"):
    FORMS.append(items.ItemTable)


def items_of(table: ItemTable) -> dict[bytes, bytes]:
    """All items, in the table's order."""
    image = table.image()
    try:
        return dict(image.pairs())
    finally:
        image.close()


def item_of(table: ItemTable, key: bytes) -> bytes:
    """The item under a key, which there is."""
    item = table.get(key)
    assert item is not None, key
    return item


def queued(table: ItemTable, queue: int) -> list[bytes]:
    """The keys of a queue, from its head on: each goes round once."""
    keys: list[bytes] = []
    while (key := table.first(queue)) is not None and (not keys or key != keys[0]):
        keys.append(key)
        table.move(key, queue, table.stamp(key))
    return keys
