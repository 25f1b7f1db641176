"""The errors of a node: one family, in one place, told in one line.

Goal: whoever runs a node reads a sentence for whatever the world did, never a trace. Method: the
sources are searched for classes of exceptions; nothing is imported but the errors themselves.
"""

from __future__ import annotations

import ast
import inspect

from quorumcache.node import errors
from tests.test_layering import ROOT, modules

ELSEWHERE = {
    "node/consensus/errors.py": "the contract of a package that knows nothing of the node",
    "node/admin/server.py": "RequestError: raised and caught there, becomes an HTTP status",
    "node/peers/codec.py": "Refused: a HandshakeRefused with the pause that the peer is told",
    "node/process/run.py": "Stopped: raised and caught there, ends a start",
    "node/process/signals.py": "SignalsForbidden: there is no node yet, and `__main__` tells it",
}
"""Files with exceptions of their own, and why."""


def exceptions_of(path: str) -> set[str]:
    """Classes of a file that are exceptions, by the names of their bases."""
    known = {"Exception", "BaseException", "ValueError", "OSError", "RuntimeError", "KeyError"}
    known |= {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
            if bases & (known | found) or any(base.endswith("Error") for base in bases):
                found.add(node.name)
    return found


def test_errors_are_defined_in_one_place() -> None:
    files = {path for path in modules() if path.startswith("node/") and exceptions_of(path)}
    assert files == {"node/errors.py", *ELSEWHERE}


def test_all_of_them_are_one_family() -> None:
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, errors.NodeError), f"{name} is told as an internal error"
        assert kind.__doc__, name


def test_what_cannot_be_read_is_of_the_family_too() -> None:
    """A batch or snapshot of another version ends a start with a sentence."""
    assert issubclass(errors.CommandError, errors.StorageError)
    assert issubclass(errors.SnapshotInvalid, errors.StorageError)
