"""Replies leave in request order."""

from itertools import permutations

import pytest

from node.protocol.pipeline import ReplyPipeline


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_every_order_of_filling(order: tuple[int, ...]) -> None:
    pipeline = ReplyPipeline()
    assert [pipeline.push() for _ in range(4)] == [0, 1, 2, 3]
    out = b""
    filled: set[int] = set()
    for slot in order:
        pipeline.fill(slot, b"%d" % slot)
        filled.add(slot)
        out += pipeline.pop_ready()
        ready = next((at for at in range(4) if at not in filled), 4)
        assert out == b"0123"[:ready]
        assert pipeline.waiting == 4 - ready
    assert pipeline.ready_bytes == 0


def test_slots_go_on_counting() -> None:
    pipeline = ReplyPipeline()
    pipeline.push_ready(b"a")
    slot = pipeline.push()
    pipeline.push_ready(b"c")
    assert pipeline.pop_ready() == b"a"
    assert pipeline.pop_ready() == b""
    assert pipeline.ready_bytes == 1
    pipeline.fill(slot, b"b")
    assert pipeline.pop_ready() == b"bc"
    assert pipeline.push() == 3


def test_an_empty_reply_holds_nothing_up() -> None:
    pipeline = ReplyPipeline()
    slot = pipeline.push()
    pipeline.push_ready(b"next")
    pipeline.fill(slot, b"")
    assert pipeline.pop_ready() == b"next"


def test_a_slot_is_filled_once() -> None:
    pipeline = ReplyPipeline()
    slot = pipeline.push()
    pipeline.push()
    pipeline.fill(slot, b"a")
    with pytest.raises(AssertionError, match="filled already"):
        pipeline.fill(slot, b"b")
    pipeline.pop_ready()
    with pytest.raises(AssertionError, match="popped before"):
        pipeline.fill(slot, b"b")
