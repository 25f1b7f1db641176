"""Goal: founders find out whether they were given the same secret, and tell nobody what it is."""

from __future__ import annotations

import pytest

from quorumcache.node.peers.founding_secret import (
    FORM_SETTING,
    NO_SECRET,
    OWN_FORM,
    Settings,
    founding_proof,
    secret_told,
    why_other_secret,
    with_secret,
    without_secret,
)
from quorumcache.ring.secret import Secret

SETTINGS = (("cluster_name", "x"), ("initial_cluster", "a,b"), ("shards", "4"))
ONE, OTHER = Secret("one secret for the founders"), Secret("another secret for them")


def test_what_is_told_shows_no_secret() -> None:
    told = with_secret(SETTINGS, ONE)
    assert told[:3] == SETTINGS
    assert (FORM_SETTING, OWN_FORM) in told
    assert secret_told(told) == founding_proof(ONE, SETTINGS)
    assert ONE.text not in str(told)
    assert secret_told(with_secret(SETTINGS, None)) == NO_SECRET
    assert secret_told(SETTINGS) == ""
    assert without_secret(told) == (*SETTINGS, (FORM_SETTING, OWN_FORM))


def test_what_is_told_is_of_no_use_to_another_cluster() -> None:
    for other in (("cluster_name", "y"), ("initial_cluster", "a,c")):
        changed = tuple({**dict(SETTINGS), other[0]: other[1]}.items())
        assert founding_proof(ONE, changed) != founding_proof(ONE, SETTINGS)


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        (with_secret(SETTINGS, ONE), with_secret(SETTINGS, Secret(ONE.text)), ""),
        (with_secret(SETTINGS, None), with_secret(SETTINGS, None), ""),
        (with_secret(SETTINGS, ONE), with_secret(SETTINGS, OTHER), "nodes a and b were given"),
        (with_secret(SETTINGS, ONE), with_secret(SETTINGS, None), "node a was given a secret, n"),
        (with_secret(SETTINGS, None), with_secret(SETTINGS, ONE), "node b was given a secret, n"),
        (SETTINGS, with_secret(SETTINGS, ONE), ""),  # Another form: `form` differs.
    ],
)
def test_two_founders_compare(own: Settings, other: Settings, why: str) -> None:
    told = why_other_secret("a", own, "b", other)
    assert told.startswith(why)
    assert bool(told) == bool(why)
    for hidden in (ONE.text, secret_told(own), secret_told(other)):
        assert not hidden or hidden == NO_SECRET or hidden not in told
