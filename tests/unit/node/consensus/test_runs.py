"""Goal: what a leader usually sends is the same after it was bytes; anything else is no run, and
bytes that are not whole runs are refused.

Method: random runs against the messages that they stand for; cuts and wrong counts by hand.
"""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.node.consensus.raft.messages import Append
from quorumcache.node.consensus.runs import RUN_BYTES_MAX, Run, pack_run, unpack_runs
from quorumcache.node.consensus.values import Entry, EntryKind

TERM = 7


def entries_of(*payloads: bytes, after: int = 4, term: int = TERM) -> tuple[Entry, ...]:
    return tuple(
        Entry(index, term, int(EntryKind.NORMAL), payload)
        for index, payload in enumerate(payloads, after + 1)
    )


def message_of(run: Run) -> Append:
    return Append(*run[1:5], tuple(run[5]))


@pytest.mark.parametrize("seed", range(20))
def test_runs_of_many_groups_come_back_in_order(seed: int) -> None:
    random = Random(seed)
    sent: list[tuple[int, Append]] = []
    for _ in range(random.randint(1, 30)):
        prev_index = random.choice((0, 1, random.getrandbits(40)))
        payloads = [
            random.randbytes(random.choice((0, 1, 300))) for _ in range(random.randint(1, 4))
        ]
        entries = entries_of(*payloads, after=prev_index)
        append = Append(TERM, prev_index, random.randint(0, TERM), random.getrandbits(40), entries)
        sent.append((random.getrandbits(32), append))
    data = b"".join(pack_run(group_id, append) for group_id, append in sent)
    runs = unpack_runs(data)
    assert [(run[0], message_of(run)) for run in runs] == sent
    assert all(type(entry) is Entry for run in runs for entry in run[5])


def test_what_is_not_new_commands_of_the_term_is_no_run() -> None:
    usual = entries_of(b"a", b"b")
    assert pack_run(1, Append(TERM, 4, TERM, 3, usual))
    for entries in (
        (),
        entries_of(b"a", term=TERM - 1),
        (*entries_of(b"a", term=TERM - 1), Entry(6, TERM, 0, b"b")),
        (Entry(5, TERM, int(EntryKind.NOOP), b""),),
        (*usual, Entry(7, TERM, int(EntryKind.CONFIG), b"c")),
        entries_of(b"x" * (RUN_BYTES_MAX + 1)),
        entries_of(b"x" * RUN_BYTES_MAX, b"y"),
    ):
        assert pack_run(1, Append(TERM, 4, TERM, 3, entries)) == b""


def test_bytes_that_are_not_whole_runs_are_refused() -> None:
    one = pack_run(1, Append(TERM, 4, TERM, 3, entries_of(b"abc")))
    two = pack_run(2, Append(TERM, 4, TERM, 3, entries_of(b"abc", b"")))
    whole = one + two
    assert len(unpack_runs(whole)) == 2
    for end in range(1, len(whole)):
        if end != len(one):
            with pytest.raises(ValueError, match="bytes"):
                unpack_runs(whole[:end])
    with pytest.raises(ValueError, match="a run of 0 entries"):
        unpack_runs(one[:4] + bytes(4) + one[8:])
    with pytest.raises(ValueError, match="a run of 4294967295 entries"):
        unpack_runs(one[:4] + b"\xff" * 4 + one[8:])
