"""The forms of the table of items. Tests of what all of them promise run with each."""

from __future__ import annotations

from collections.abc import Callable

from quorumcache.node.store.item_table import ItemTable
from quorumcache.node.store.plain_item_table import PlainItemTable
from tests.support.native_core import native

FORMS: list[Callable[[], ItemTable]] = [PlainItemTable]

if items := native("items"):
    FORMS.append(items.ItemTable)
