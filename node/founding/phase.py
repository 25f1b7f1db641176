"""A new node looks for the other founders until there is a founding record. Edge: it dials.

The node has a disk id and nothing else. Again and again it asks every other node of its initial
cluster one question (`founding_frames`). The first founder by name is the proposer: when in one
round all others answered that they are new, too, with equal settings, it makes the record. All
others wait until a member shows them a record that names them with their disk id.

A node accepts a record only after all others have answered in one round without a refusal. A member
that knows that the founding is complete refuses a directory that was set back to before it. All
have to be asked, since a member that does not know it yet would show the record again.

Nothing is stored here. A node that gets the record accepts it (`data_dir.accept`) before it shows
it to others. So does the proposer: it shows no record that it could lose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

from quorumcache.node.errors import FoundingError, HandshakeRefused, PeerError
from quorumcache.node.founding.questions import Asking, Reception
from quorumcache.node.peers.codec import Refusal, encode_refusal
from quorumcache.node.peers.founding_frames import (
    ANSWER_BYTES_MAX,
    Blank,
    Found,
    decode_answer,
    decode_question,
    encode_blank,
    why_unequal,
)
from quorumcache.node.storage.founding_record import FoundingRecord, propose
from quorumcache.node.storage.secret import Secret
from quorumcache.ring import NodeInfo
from quorumcache.ring.address import parse_address
from quorumcache.ring.names import Names

ROUND_MS: Final = (80, 160)
"""Pause between two rounds, drawn: a founding takes about two of them once all are there."""

ASK_SECONDS: Final = 1.0
"""For a question, from the dial to the whole answer."""

RETRY_MS: Final = 200
"""Told to a member that dials a node that is still new: it will have accepted soon."""

Answer = Blank | Found | str
"""What became of a question; a sentence if nothing did."""


class FoundingPhase:
    """The founding as one new node sees it; `run` it, with `accept` as its listener's factory."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        own: Blank,
        fixed_settings: Mapping[str, str],
        members: Mapping[str, str],
        on_waiting: Callable[[str], None],
        given_secret: Secret | None = None,
        new_secret: Callable[[], Secret | None] = lambda: None,
    ) -> None:
        """`members`: name to peer address of all founders, in order of name, this one included.
        `on_waiting` hears, after every round, a sentence that says what it waits for.
        `given_secret`: what this node was given as the cluster's; `own` tells a proof of it.
        `new_secret` makes one for a cluster whose founders were given none.
        """
        self._loop = loop
        self._random = random
        self._own = own
        self._frame = encode_blank(own)
        self._fixed = dict(fixed_settings)
        self._members = dict(members)
        self._others = {n: a for n, a in members.items() if n != own.info.name}
        self._is_proposer = next(iter(self._members)) == own.info.name
        self._on_waiting = on_waiting
        self._given_secret = given_secret
        self._new_secret = new_secret
        self._reception = Reception(loop, self.answer)
        self._names = Names(loop, remembers=True)
        self._rounds = 0

    # -- listening ------------------------------------------------------------------------

    def accept(self) -> asyncio.Protocol:
        """A connection came in."""
        return self._reception.accept()

    def answer(self, payload: bytes) -> bytes:
        """The frame that answers a first frame. Raises `PeerError`."""
        try:
            if decode_question(payload) is not None:
                return self._frame
        except HandshakeRefused as error:
            return encode_refusal(str(error), RETRY_MS)
        name = self._own.info.name
        return encode_refusal(
            f"node {name} is new and belongs to no cluster yet: it waits for its founding", RETRY_MS
        )

    def close(self) -> None:
        """End every connection that was accepted here."""
        self._names.close()
        self._reception.close()

    # -- asking ---------------------------------------------------------------------------

    async def run(self) -> Found:
        """Ask until there is a record. It fits this node, and this node has not accepted it. With
        it comes the cluster's secret.
        """
        while True:
            answers = dict(
                zip(
                    self._others,
                    await asyncio.gather(*(self._ask(name) for name in self._others)),
                    strict=True,
                )
            )
            found = [answer for answer in answers.values() if isinstance(answer, Found)]
            blanks = [answer for answer in answers.values() if isinstance(answer, Blank)]
            why = why_unfit(found[0].record, self._own, self._members, self._fixed) if found else ""
            if why:
                self._on_waiting(why)
            elif len(found) + len(blanks) < len(self._others):
                self._on_waiting(self._waiting(answers))
            elif found:
                return Found(found[0].record, self._given_secret or found[0].secret)
            elif self._is_proposer:
                founders = [self._own.info, *(blank.info for blank in blanks)]
                twins = why_twins(founders)
                try:
                    if not twins:
                        record = propose(self._random, founders, self._fixed)
                        return Found(record, self._given_secret or self._new_secret())
                    self._on_waiting(twins)
                except FoundingError as error:  # Two founders tell the same client address.
                    self._on_waiting(f"{error}: change the settings of the nodes")
            else:
                self._on_waiting(self._waiting(answers))
            await asyncio.sleep(self._random.uniform(*ROUND_MS) / 1000)
            self._rounds += 1

    def _waiting(self, answers: Mapping[str, Answer]) -> str:
        alike: dict[str, list[str]] = {}
        for name, answer in answers.items():
            if isinstance(answer, str):
                alike.setdefault(answer, []).append(name)
        missing = [f"{', '.join(names)}: {answer}" for answer, names in alike.items()]
        if missing:
            return "waits for all founders; " + "; ".join(missing)
        return f"waits for node {next(iter(self._members))} to propose the founding record"

    async def _ask(self, name: str) -> Answer:
        """One question to another founder, on a connection of its own."""
        address = self._others[name]
        host, port = parse_address(address)
        asking = Asking(self._loop, ANSWER_BYTES_MAX)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self._names.connect(lambda: asking, host, port, self._rounds)
                payload = await asking.ask(self._frame)
            answer = decode_answer(payload)
        except TimeoutError:
            return f"no answer from {address}"
        except OSError as error:
            return f"cannot connect to {address}: {error.strerror or error}"
        except PeerError as error:
            return str(error)
        finally:
            asking.close()
        if isinstance(answer, Refusal):
            return answer.sentence
        if isinstance(answer, Blank):
            if answer.info.name != name:
                return f"its address {address} reaches node {answer.info.name}"
            if answer.info.disk_id == self._own.info.disk_id:
                return "it has a copy of this node's data directory"
            unequal = why_unequal(self._own, answer)
            if unequal:
                return f"the settings differ: {unequal}"
        return answer


def why_twins(founders: Sequence[NodeInfo]) -> str:
    """Which two new nodes have one disk id; "" if none have."""
    names: dict[str, str] = {}
    for founder in founders:
        other = names.setdefault(founder.disk_id, founder.name)
        if other != founder.name:
            return (
                f"nodes {other} and {founder.name} have copies of one new data directory: start "
                "one of them with an empty one"
            )
    return ""


def why_unfit(
    record: FoundingRecord, own: Blank, members: Mapping[str, str], fixed: Mapping[str, str]
) -> str:
    """Why a new node cannot accept this record; "" if it can."""
    name = own.info.name
    founder = record.founder_named(name)
    if founder is None or founder.disk_id != own.info.disk_id:
        return f"the founding record of cluster {record.cluster_id} does not name this disk"
    theirs = [f.name for f in record.founders]
    if sorted(theirs) != sorted(members):
        return (
            f"the founding record names {', '.join(theirs)}, but the initial cluster of node "
            f"{name} is {', '.join(members)}"
        )
    return "; ".join(record.differences(fixed))
