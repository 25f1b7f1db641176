"""Goal: the answer to heartbeats means what they told, once, and nothing else is ever believed;
what is not answered does not pile up.

Method: heartbeats and answers by hand.
"""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from quorumcache.node.consensus.transport import BEATS_PER_ITEM
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.beats import (
    COPY_NS,
    REMEMBERED_MAX,
    TROUBLE_NS,
    WELL_NS,
    Beats,
    fields_of_answer,
    fields_of_beats,
    pack_answer,
)
from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.datagrams import DATAGRAM_BYTES_MAX
from quorumcache.node.peers.items import BEATS, BEATS_HEARD

LIFE = 1 << 62
STAMP = (1 << 64) - 5


def unpack(packed: bytes) -> tuple[Any, ...]:
    item: tuple[Any, ...] = msgpack.unpackb(packed, use_list=False)
    return item


def gather(beats: Beats, node_id: int, *groups: int, sent_ns: int = 50, stamp: int = 0) -> None:
    for group_id in groups:
        beats.room(node_id, sent_ns, stamp).extend((group_id, 4, 10, 0, 0))


def sent(beats: Beats, node_id: int, *groups: int) -> int:
    """Send heartbeats of these groups in one item; its number."""
    gather(beats, node_id, *groups)
    (each,) = beats.open.pop(node_id)
    item = unpack(beats.close(node_id, each)[0])
    fields = tuple(value for group_id in groups for value in (group_id, 4, 10, 0, 0))
    assert item == (BEATS, beats.life, item[2], 50, 0, 1, fields)
    assert fields_of_beats(item) == (*item[1:5], True, fields)
    number: int = item[2]
    return number


def answer(number: int, *but: int, life: int = LIFE) -> tuple[Any, ...]:
    return unpack(pack_answer(life, number, STAMP, list(but)))


def heard(beats: Beats, node_id: int, item: tuple[Any, ...]) -> Any:
    """(groups, stamp, positions that were not heard) of an answer; None if it means nothing."""
    found = beats.answered(node_id, item)
    return found and (found[0].fields[::5], *found[1:])


def test_an_answer_means_what_was_sent_under_its_number_once() -> None:
    beats = Beats(LIFE)
    first, second = sent(beats, 2, 1, 7, 9), sent(beats, 2, 7)
    assert heard(beats, 2, answer(second)) == ([7], STAMP, ())
    assert heard(beats, 2, answer(first, 0, 2)) == ([1, 7, 9], STAMP, (0, 2))
    assert heard(beats, 2, answer(first)) is None


def test_an_answer_to_another_process_or_of_another_peer_means_nothing() -> None:
    beats = Beats(LIFE)
    number = sent(beats, 2, 1)
    assert heard(beats, 2, answer(number, life=LIFE + 1)) is None
    assert heard(beats, 3, answer(number)) is None
    assert heard(beats, 2, answer(number + 1)) is None
    assert heard(beats, 2, answer(number)) is not None


def test_what_went_to_a_peer_that_was_lost_is_forgotten() -> None:
    beats = Beats(LIFE)
    number, other = sent(beats, 2, 1), sent(beats, 3, 1)
    beats.lost(2)
    beats.lost(4)
    assert heard(beats, 2, answer(number)) is None
    assert heard(beats, 3, answer(other)) is not None


def test_of_heartbeats_that_nobody_answers_the_newest_are_remembered() -> None:
    beats = Beats(LIFE)
    groups = range(BEATS_PER_ITEM)
    numbers = [sent(beats, 2, *groups) for _ in range(REMEMBERED_MAX // BEATS_PER_ITEM + 10)]
    known = [heard(beats, 2, answer(number)) is not None for number in numbers]
    assert known == [False] * 10 + [True] * (len(numbers) - 10)
    assert beats.unanswered[2].count == 0


def test_one_item_tells_one_moment_and_one_stamp() -> None:
    """Else a lease would count from a moment in which nothing was sent."""
    beats = Beats(LIFE)
    gather(beats, 2, 1, 2)
    gather(beats, 2, 3, sent_ns=51)
    gather(beats, 2, 4, stamp=8)
    gather(beats, 3, 5)
    told = [(each.sent_ns, each.stamp, each.fields[::5]) for each in beats.open[2]]
    assert told == [(50, 0, [1, 2]), (51, 0, [3]), (50, 8, [4])]
    assert [each.fields[::5] for each in beats.open[3]] == [[5]]


def copied(beats: Beats, node_id: int, sent_ns: int, *, is_answered: bool = True) -> bool:
    """Whether heartbeats of a moment are copied, which are answered then."""
    gather(beats, node_id, 1, sent_ns=sent_ns)
    (each,) = beats.open.pop(node_id)
    packed, is_copied = beats.close(node_id, each)
    if is_answered:
        beats.answered(node_id, answer(unpack(packed)[2]))
    return is_copied


def test_heartbeats_are_copied_until_those_before_them_are_answered() -> None:
    beats = Beats(LIFE)
    assert copied(beats, 2, 100), "nothing is known of the connection"
    assert not copied(beats, 2, 200)
    assert not copied(beats, 2, 300, is_answered=False)
    assert not copied(beats, 2, 300, is_answered=False), "of the same moment"
    assert copied(beats, 2, 400, is_answered=False), "no answer yet"
    assert copied(beats, 2, 500)
    assert copied(beats, 3, 600), "another node"
    beats.lost(2)
    assert copied(beats, 2, 700)


def test_an_answer_to_copies_does_not_say_that_the_connection_is_well() -> None:
    """Beside one that is stuck every second heartbeat would go there alone, and be late."""
    beats = Beats(LIFE)
    step = TROUBLE_NS // 20
    copied(beats, 2, step)
    assert not copied(beats, 2, 2 * step, is_answered=False)
    later = [copied(beats, 2, number * step) for number in range(3, 33)]
    assert later == [True] * 20 + [False] * 10


def test_an_answer_of_long_ago_says_nothing_of_the_connection_now() -> None:
    beats = Beats(LIFE)
    copied(beats, 2, 100)
    assert not copied(beats, 2, 200)
    assert copied(beats, 2, 201 + WELL_NS)
    assert not copied(beats, 2, 202 + WELL_NS)


def test_once_a_second_they_are_copied_though_all_is_well() -> None:
    """Else nobody could see whether datagrams pass before they are needed."""
    beats = Beats(LIFE)
    step = COPY_NS // 20
    was_copied = [copied(beats, 2, number * step) for number in range(1, 62)]
    assert [number for number, each in enumerate(was_copied) if each] == [0, 20, 40, 60]


def test_an_item_fits_into_a_datagram() -> None:
    beats = Beats(LIFE)
    for group_id in range(60_000, 60_000 + 2 * BEATS_PER_ITEM):
        fields = (group_id, 1 << 31, 1 << 40, 1 << 31, 1 << 31)
        beats.room(2, 1 << 60, STAMP).extend(fields)
    whole = beats.open.pop(2)
    assert len(whole) == 2
    assert all(len(beats.close(2, each)[0]) < DATAGRAM_BYTES_MAX - 40 for each in whole)


def test_what_is_no_heartbeat_and_no_answer_is_refused() -> None:
    good = (BEATS, 1, 2, 3, 4, 0, (5, 6, 7, 8, 9))
    assert fields_of_beats(good) == (1, 2, 3, 4, False, good[-1])
    bad: list[tuple[Any, ...]] = [(BEATS,), good[:6], (*good, 1)]
    bad += [(*good[:at], each, *good[at + 1 :]) for at in range(1, 6) for each in (b"1", -1, True)]
    bad += [(*good[:6], each) for each in (b"", None, (1,), (1, 2, 3, 4, "5"), (1, 2, 3, 4, -5))]
    for item in bad:
        with pytest.raises(PeerFrameError):
            fields_of_beats(item)
    whole = (BEATS_HEARD, 1, 2, 3, (0,))
    assert fields_of_answer(whole) == whole[1:]
    wrong: list[tuple[Any, ...]] = [
        (BEATS_HEARD,),
        whole[:4],
        (*whole, 1),
        (BEATS_HEARD, 1, "2", 3, ()),
    ]
    wrong += [(*whole[:4], but) for but in (None, 1, b"", ("x",), (-1,), (True,), (0.0,))]
    for item in wrong:
        with pytest.raises(PeerFrameError):
            fields_of_answer(item)
    beats = Beats(LIFE)
    number = sent(beats, 2, 1)
    with pytest.raises(PeerFrameError, match="heartbeat 1 of 1"):
        beats.answered(2, unpack(pack_item((BEATS_HEARD, LIFE, number, 0, (1,)))))
