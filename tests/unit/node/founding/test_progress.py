"""A member that waits until all founders have accepted, and what it answers to new nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quorumcache.node.errors import DiskFailed, DiskFull
from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.peers.codec import FrameDecoder, Refusal
from quorumcache.node.peers.founding_frames import Blank, Found, decode_answer
from quorumcache.node.peers.founding_secret import with_secret
from quorumcache.node.storage.identity import read_identity
from quorumcache.ring.secret import Secret
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk, Nothing
from tests.support.founding import disk_id, founder, member_of, record_of

RECORD = record_of("a", "b", "c")
SECRET, OTHER = Secret("the secret of the cluster"), Secret("another cluster's secret")


class World:
    def __init__(
        self,
        node_id: int = 1,
        *,
        is_complete: bool = False,
        secret: Secret | None = None,
        was_given: bool = False,
    ) -> None:
        self.loop = VirtualLoop()
        self.disk: Any = FakeDisk(self.loop, survival=Nothing())
        self.disk.make_dirs("d")
        self.completed = 0
        self.failed: list[BaseException] = []
        self.progress = FoundingProgress(
            member_of(RECORD, node_id, is_complete=is_complete),
            disk=self.disk,
            directory="d",
            on_complete=self._complete,
            on_failed=self.failed.append,
            secret=secret,
            was_given=was_given,
        )

    def _complete(self) -> None:
        identity = read_identity(self.disk, "d")
        assert identity is not None, "told before it was stored"
        assert identity.is_complete
        self.completed += 1

    def run(self) -> None:
        async def wait() -> None:
            return None

        for _ in range(50):
            self.loop.run_until_complete(wait())
            self.loop.run_until_complete(_pause())

    def answer(self, blank: Blank) -> Any:
        [payload] = FrameDecoder().feed(self.progress.answer(blank))
        return decode_answer(payload)


async def _pause() -> None:
    import asyncio

    await asyncio.sleep(0.01)


def blank(name: str, number: int, **changes: Any) -> Blank:
    return Blank(replace(founder(name, number), **changes), ())


def test_it_is_complete_when_all_have_accepted_and_this_is_stored() -> None:
    world = World()
    assert world.progress.waiting_for() == ["b", "c"]
    world.progress.accepted(2, is_complete=False)
    world.run()
    assert world.progress.waiting_for() == ["c"]
    assert not world.completed
    world.progress.accepted(3, is_complete=False)
    assert not world.completed
    world.run()
    assert world.completed == 1
    assert world.progress.completed.is_set()
    assert world.progress.waiting_for() == []
    world.progress.accepted(3, is_complete=True)
    world.run()
    assert world.completed == 1


def test_a_peer_that_knows_it_is_believed() -> None:
    world = World()
    world.progress.accepted(2, is_complete=True)
    world.run()
    assert world.completed == 1


def test_a_full_disk_is_tried_again_and_a_broken_one_ends_the_node() -> None:
    world = World()
    write = world.disk.write_atomic
    world.disk.write_atomic = lambda path, chunks, done: done(DiskFull("no room"))
    world.progress.accepted(2, is_complete=True)
    assert not world.failed
    world.disk.write_atomic = write
    world.progress.store_if_due()
    world.run()
    assert world.completed == 1
    world = World()
    world.disk.write_atomic = lambda path, chunks, done: done(DiskFailed("broken"))
    world.progress.accepted(2, is_complete=True)
    assert [type(error) for error in world.failed] == [DiskFailed]
    assert not world.completed


def test_a_founder_that_has_not_accepted_gets_the_record() -> None:
    assert World().answer(blank("b", 2)) == Found(RECORD)


def with_given(secret: Secret | None) -> Blank:
    return blank("b", 2)._replace(settings=with_secret((("shards", "4"),), secret))


def test_a_made_secret_is_handed_out_and_a_given_one_never() -> None:
    made = World(secret=SECRET)
    assert made.answer(with_given(None)) == Found(RECORD, SECRET)
    assert made.answer(blank("b", 2)) == Found(RECORD), "it does not know what a secret is"
    given = World(secret=SECRET, was_given=True)
    assert given.answer(with_given(SECRET)) == Found(RECORD)
    assert made.answer(with_given(SECRET)) == Found(RECORD)
    assert World().answer(with_given(None)) == Found(RECORD)
    # To nobody but a founder that has not accepted.
    for asker in (blank("z", 2), blank("b", 2, disk_id=disk_id(9))):
        asker = asker._replace(settings=with_given(None).settings)
        assert isinstance(made.answer(asker), Refusal)
    done = World(secret=SECRET, is_complete=True)
    assert isinstance(done.answer(with_given(None)), Refusal)


@pytest.mark.parametrize(
    ("secret", "was_given", "theirs", "told"),
    [
        (SECRET, True, OTHER, "nodes a and b were given different secrets"),
        (SECRET, False, OTHER, "nodes a and b were given different secrets"),
        (SECRET, True, None, "node a was given a secret, node b was not"),
        (None, False, OTHER, "node b was given a secret, node a was not"),
    ],
)
def test_a_founder_that_was_given_another_secret_is_refused(
    secret: Secret | None, was_given: bool, theirs: Secret | None, told: str
) -> None:
    refusal = World(secret=secret, was_given=was_given).answer(with_given(theirs))
    assert isinstance(refusal, Refusal)
    assert told in refusal.sentence
    assert SECRET.text not in refusal.sentence


@pytest.mark.parametrize(
    ("asker", "is_complete", "told"),
    [
        (blank("z", 2), False, "was founded without a node z"),
        (blank("b", 2, disk_id=disk_id(9)), False, "that name belongs to data directory"),
        (blank("b", 2, disk_id=disk_id(9)), True, "If that one is lost, leave the node stopped"),
        (blank("b", 2, disk_id=disk_id(9)), False, "nothing was ever stored; stop all nodes"),
        (blank("b", 2), True, "was set back to an older copy"),
    ],
)
def test_others_are_refused_with_the_reason(asker: Blank, is_complete: bool, told: str) -> None:
    refusal = World(is_complete=is_complete).answer(asker)
    assert isinstance(refusal, Refusal)
    assert told in refusal.sentence
