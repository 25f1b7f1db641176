"""The places of replies."""

from quorumcache.node.clients.slots import Slot


def test_a_place_is_empty_until_something_of_its_reply_lies_there() -> None:
    slot = Slot()
    assert slot.is_empty
    assert slot.pieces == []
    assert slot.is_empty, "to look makes no difference"
    slot.pieces.append(b"x")
    assert not slot.is_empty
    whole = Slot()
    whole.whole = b""
    assert not whole.is_empty
