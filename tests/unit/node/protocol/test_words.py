"""Words that more than one kind of line has."""

from quorumcache.node.protocol.requests import Immediate
from quorumcache.node.protocol.words import SILENCE, answer


def test_an_answer_is_hidden_by_noreply() -> None:
    assert answer(b"ERROR\r\n", False) == Immediate(b"ERROR\r\n")
    assert answer(b"ERROR\r\n", True) == SILENCE
