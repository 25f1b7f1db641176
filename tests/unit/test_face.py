"""Goal: `quorumcache` has the whole client, and costs a node, which imports it too, nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import quorumcache
from quorumcache import router
from quorumcache.node.version import VERSION


def test_the_face_has_every_name_of_the_client() -> None:
    assert sorted(quorumcache.__all__) == sorted(router.__all__)
    for name in quorumcache.__all__:
        assert getattr(quorumcache, name) is getattr(router, name)
    public = {name for name in dir(quorumcache) if not name.startswith("__")}
    assert public == set(quorumcache.__all__)


def test_the_version_is_that_of_the_node() -> None:
    assert quorumcache.__version__ == VERSION


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'quorumcache' has no attribute 'Client'"):
        quorumcache.Client  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Client'"):
        exec("from quorumcache import Client")


def test_a_node_loads_no_client() -> None:
    code = (
        "import sys, quorumcache.node.node;"
        "print(*[name for name in sys.modules if name.startswith('quorumcache.router')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
