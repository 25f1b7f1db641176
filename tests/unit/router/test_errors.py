"""Goal: an error says the same after a trip to another process, as from a worker of a pool.

Method: one of every class, pickled and copied.
"""

from __future__ import annotations

import copy
import pickle

import pytest

from quorumcache.router import errors
from quorumcache.router.errors import (
    ConditionFailed,
    Conflict,
    ConnectFailed,
    ConnectionLost,
    Moved,
    NodeBusy,
    NotACluster,
    NotSent,
    PartialFailure,
    PasswordNeeded,
    ReplyTimeout,
    RouterError,
)

OF_PARTS = [
    Moved(3, 5, 2, "10.0.0.1:11211"),
    ConnectFailed("10.0.0.1:11211", "refused"),
    NotSent("10.0.0.1:11211", "it broke"),
    NodeBusy("10.0.0.1:11211"),
    NotACluster("10.0.0.1:11211", "ERROR"),
    PasswordNeeded("10.0.0.1:11211", "none was given"),
    ConnectionLost("10.0.0.1:11211", "it broke"),
    ReplyTimeout("10.0.0.1:11211"),
    Conflict(b"k"),
    ConditionFailed(b"k", "is not there"),
    PartialFailure({"k": NodeBusy("10.0.0.1:11211")}, {b"other": b"value"}),
]
OF_A_MESSAGE = [
    kind("why")
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, RouterError)
    and kind not in {type(error) for error in OF_PARTS}
]


def told(error: RouterError) -> tuple[object, ...]:
    """All that a caller can see of an error; the errors of keys are told in turn."""
    fields = dict(vars(error))
    inner = {key: told(value) for key, value in fields.pop("errors", {}).items()}
    return type(error), str(error), error.args, fields, inner, error.outcome_known


@pytest.mark.parametrize("error", OF_PARTS + OF_A_MESSAGE, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickle_and_copy(error: RouterError) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert told(pickle.loads(pickle.dumps(error, protocol))) == told(error)
    assert told(copy.copy(error)) == told(error)
    assert told(copy.deepcopy(error)) == told(error)
