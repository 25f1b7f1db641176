"""The forms of gates, of routes with senders, and of batches of sets, each with its table. What all
promise is tested with each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from quorumcache.node.clients.get_routes import GetRoutes, PlainGetRoutes, new_get_routes
from quorumcache.node.store.item_table import ItemTable
from quorumcache.node.store.plain_item_table import PlainItemTable
from quorumcache.node.store.read_gate import PlainReadGate, ReadGate
from quorumcache.node.store.set_batches import PlainSetBatches, SetBatches
from quorumcache.node.system.senders import PlainSender, Sender
from tests.support.native_core import native


class Form(NamedTuple):
    """One of them."""

    name: str
    table: Callable[[], ItemTable]
    gate: Callable[[], ReadGate]
    routes: Callable[[int], GetRoutes]
    sets: Callable[[], SetBatches]
    sender: Callable[[Any, Any, Callable[[bytes], int] | None], Sender]


PLAIN = (PlainItemTable, PlainReadGate, PlainGetRoutes, PlainSetBatches, PlainSender)
FORMS = [Form("plain", *PLAIN)]

if items := native("items"):
    senders, gets, sets = native("senders"), native("gets"), native("sets")
    assert senders is not None
    assert gets is not None
    assert sets is not None
    parts = (items.ItemTable, gets.ReadGate, gets.GetRoutes, sets.SetBatches, senders.Sender)
    FORMS.append(Form("native_gets", *parts))


def read_at_once(gate: ReadGate, key: bytes, now_ns: int = 0, now_ms: int = 0) -> bytes | None:
    """What a get through a gate is answered at once; None: nothing."""
    routes = new_get_routes(1)
    routes.set(0, gate)
    answered = routes.answer(b"get %b\r\n" % key, 0, now_ns, now_ms, {})
    return None if answered is None else answered[0]
