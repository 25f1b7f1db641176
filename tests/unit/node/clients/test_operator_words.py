"""Goal: nothing of the cluster is changed for a client that has not proven, on its connection and
with a nonce of it, that it knows the secret; and each answer says what became of the change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.clients.context import ClientSettings
from quorumcache.node.clients.operator_words import (
    NO_CHALLENGE,
    NO_MAP,
    NO_MEMBER,
    NO_SECRET,
    NOT_PROVEN,
    OPERATOR_WORDS,
    PROOFS_WRONG_MAX,
    USAGE,
    WRONG_PROOF,
    OperatorWords,
    answer,
)
from quorumcache.node.directory.desk import NO_LEADER, TOO_MANY
from quorumcache.node.directory.question import LOST, OK, REFUSED, UNKNOWN
from quorumcache.ring.secret import CLIENT, PEER, Secret

SECRET = Secret("the secret of the cluster")
HERE, THERE = "127.0.0.1:4", "10.0.0.9:4"
PATH = "/var/lib/quorumcache/cluster.secret"


class World:
    def __init__(self, secret: Secret | None = SECRET, path: str = PATH) -> None:
        self.asked: list[tuple[Sequence[str], Callable[[int, bytes], None]]] = []
        self.desk: Any = SimpleNamespace(
            ask=lambda words, done: self.asked.append((words, done)),
            moves_json=lambda: b'{"epoch": 7}',
        )
        self.map: Any = SimpleNamespace(
            settings=(("move_rate", "1000"), ("dead_after_ms", "60000")), replication=3
        )
        self.words = OperatorWords(
            entropy=Random(1),
            secret=lambda: secret,
            secret_path=path,
            desk=lambda: self.desk,
            cluster_map=lambda: self.map,
        )
        self.settings = ClientSettings()

    def say(
        self, *args: bytes, address: str = THERE, settings: ClientSettings | None = None
    ) -> bytes:
        """The reply; b"" if there is none yet."""
        replies: list[bytes] = []
        self.words.begin(settings or self.settings, address, args, replies.append)
        return replies[0] if replies else b""

    def nonce(self, settings: ClientSettings | None = None) -> bytes:
        word, nonce, path = self.say(b"auth", settings=settings).split()
        assert (word, path) == (b"AUTH", b"-")
        return bytes.fromhex(nonce.decode())

    def prove(self) -> None:
        proof = SECRET.proof(CLIENT, self.nonce()).hex().encode()
        assert self.say(b"auth", proof) == b"OK\r\n"


def test_a_client_that_proves_the_secret_may_ask_for_changes() -> None:
    world = World()
    assert world.say(b"change", b"drain", b"b") == NOT_PROVEN
    world.prove()
    assert world.say(b"change", b"drain", b"b") == b""
    [(words, done)] = world.asked
    assert list(words) == ["drain", "b"]
    replies: list[bytes] = []
    world.words.begin(world.settings, THERE, (b"change", b"pause"), replies.append)
    world.asked[1][1](OK, b'{"summary": "paused"}')
    assert replies == [b'CHANGE 21\r\n{"summary": "paused"}\r\n']
    done(REFUSED, b"no")


@pytest.mark.parametrize(
    ("code", "payload", "reply"),
    [
        (OK, b"{}", b"CHANGE 2\r\n{}\r\n"),
        (REFUSED, b"node b is\nthe last one", b"CLIENT_ERROR refused: node b is the last one\r\n"),
        (REFUSED, b"\xff", b"CLIENT_ERROR refused: \xef\xbf\xbd\r\n"),
        (REFUSED, NO_LEADER, b"SERVER_ERROR not done: " + NO_LEADER + b"\r\n"),
        (REFUSED, TOO_MANY, b"SERVER_ERROR not done: " + TOO_MANY + b"\r\n"),
        (LOST, UNKNOWN, b"SERVER_ERROR outcome unknown: look at `quorumcache moves`\r\n"),
        (LOST, b"the node has gone", b"SERVER_ERROR outcome unknown: the node has gone\r\n"),
    ],
)
def test_what_became_of_a_change(code: int, payload: bytes, reply: bytes) -> None:
    assert answer(code, payload) == reply


def test_a_nonce_is_good_for_one_proof_on_its_connection() -> None:
    world = World()
    nonce = world.nonce()
    proof = SECRET.proof(CLIENT, nonce).hex().encode()
    other = ClientSettings()
    assert world.say(b"auth", proof, settings=other) == NO_CHALLENGE
    assert world.nonce(other) != nonce
    assert world.say(b"auth", proof, settings=other) == WRONG_PROOF
    assert not other.has_proven
    assert world.say(b"auth", proof) == b"OK\r\n"
    assert world.say(b"auth", proof) == NO_CHALLENGE
    # A wrong proof uses it up, too.
    third = ClientSettings()
    nonce = world.nonce(third)
    assert world.say(b"auth", b"0" * 64, settings=third) == WRONG_PROOF
    proof = SECRET.proof(CLIENT, nonce).hex().encode()
    assert world.say(b"auth", proof, settings=third) == NO_CHALLENGE
    # Only the last one counts.
    first_nonce = world.nonce(third)
    world.nonce(third)
    proof = SECRET.proof(CLIENT, first_nonce).hex().encode()
    assert world.say(b"auth", proof, settings=third) == WRONG_PROOF
    assert not third.has_proven


def wrong_proofs(nonce: bytes) -> list[bytes]:
    right = SECRET.proof(CLIENT, nonce)
    return [
        SECRET.proof(PEER, nonce),
        SECRET.proof(CLIENT),
        SECRET.proof(CLIENT, nonce.hex().encode()),
        Secret("the secret of another one").proof(CLIENT, nonce),
        right[:-1] + bytes([right[-1] ^ 1]),
        bytes([right[0] ^ 1]) + right[1:],
    ]


def test_no_other_proof_counts_and_wrong_ones_are_counted() -> None:
    for number in range(len(wrong_proofs(b""))):
        world = World()
        wrong = wrong_proofs(world.nonce())[number]
        assert world.say(b"auth", wrong.hex().encode()) == WRONG_PROOF, number
        assert world.settings.wrong_proofs == 1
        assert world.say(b"change", b"pause") == NOT_PROVEN
    world = World()
    for number in range(1, PROOFS_WRONG_MAX + 1):
        world.nonce()
        assert world.say(b"auth", b"no hex at all") == WRONG_PROOF
        assert world.settings.wrong_proofs == number
    assert not world.asked


@pytest.mark.parametrize("cut", [0, 1, 8, 62, 63])
def test_part_of_a_proof_is_none(cut: int) -> None:
    world = World()
    proof = SECRET.proof(CLIENT, world.nonce()).hex().encode()
    assert world.say(b"auth", proof[:cut]) == WRONG_PROOF


def test_a_node_without_a_secret_changes_nothing_and_says_why() -> None:
    world = World(secret=None)
    for args in ((b"auth",), (b"auth", b"0" * 64), (b"change", b"pause")):
        assert world.say(*args) == NO_SECRET
    world.settings.has_proven = False
    assert b"--secret-file" in NO_SECRET
    assert not world.asked


def test_the_path_of_the_secret_is_told_on_this_machine_only() -> None:
    for address in (HERE, "[::1]:4", "unix:/run/q.sock"):
        assert World().say(b"auth", address=address).endswith(f" {PATH}\r\n".encode())
    for world, address in ((World(), THERE), (World(path=""), HERE), (World(path="/a\nb"), HERE)):
        assert world.say(b"auth", address=address).endswith(b" -\r\n")
    spaced = World(path="/my data/cluster.secret").say(b"auth", address=HERE)
    assert spaced.split(b" ", 2)[2] == b"/my data/cluster.secret\r\n"


def test_moves_and_settings_need_no_proof() -> None:
    world = World(secret=None)
    assert world.say(b"moves") == b'MOVES 12\r\n{"epoch": 7}\r\n'
    assert world.say(b"settings") == (
        b"SETTING dead_after_ms 60000\r\nSETTING move_rate 1000\r\nSETTING replication 3\r\nEND\r\n"
    )
    world.map = None
    assert world.say(b"settings") == NO_MAP
    world.desk = None
    assert world.say(b"moves") == NO_MEMBER
    world = World()
    world.prove()
    world.desk = None
    assert world.say(b"change", b"pause") == NO_MEMBER


@pytest.mark.parametrize(
    "args",
    [
        *((b"auth", b"a", b"b"), (b"change",), (b"moves", b"now"), (b"settings", b"a=1")),
    ],
)
def test_other_words_are_told_the_usage(args: tuple[bytes, ...]) -> None:
    world = World()
    world.prove()
    assert world.say(*args) == USAGE


def test_words_that_are_no_text_are_refused() -> None:
    world = World()
    world.prove()
    assert world.say(b"change", b"drain", b"\xff") == (
        b"CLIENT_ERROR refused: the words are not UTF-8\r\n"
    )
    assert not world.asked


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=70), max_size=4), st.sampled_from([*OPERATOR_WORDS]))
def test_without_a_proof_nothing_is_asked_for(others: list[bytes], word: bytes) -> None:
    world = World()
    world.say(b"auth")
    reply = world.say(word, *others)
    assert reply.endswith(b"\r\n")
    assert not world.asked
    assert not world.settings.has_proven
