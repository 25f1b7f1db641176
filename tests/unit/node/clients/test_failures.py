"""Failures of operations in the words that a memcached client reads."""

import pytest

from quorumcache.node.clients.failures import failure_line
from quorumcache.node.operations.failure import Failure, SessionGone, StaleSequence
from quorumcache.node.protocol.responses import session_gone, stale_sequence


def test_a_failure_is_told_with_its_reason_and_whether_it_may_have_happened() -> None:
    known = Failure("no leader", outcome_known=True)
    assert failure_line(known) == b"SERVER_ERROR not done: no leader\r\n"
    unknown = Failure("no answer", outcome_known=False)
    assert failure_line(unknown) == b"SERVER_ERROR outcome unknown: no answer\r\n"


@pytest.mark.parametrize("outcome_known", [False, True])
def test_what_concerns_the_clients_own_session_has_words_of_its_own(outcome_known: bool) -> None:
    gone = SessionGone("session gone", outcome_known=outcome_known)
    assert failure_line(gone) == session_gone(outcome_known)
    stale = StaleSequence("stale sequence", outcome_known=outcome_known)
    assert failure_line(stale) == stale_sequence(outcome_known)
    assert failure_line(gone) != failure_line(stale)
