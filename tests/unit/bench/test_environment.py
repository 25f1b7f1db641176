"""The machine behind a figure: what can be known of this one, and of one that says little."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from quorumcache.bench import environment
from quorumcache.bench.environment import Environment, read_environment
from quorumcache.node.version import VERSION

TEST = Environment(
    cpu_model="Test CPU",
    cores=2,
    memory_bytes=8 << 30,
    kernel="6.0",
    system="Test",
    python="3.11.0",
    versions={"quorumcache": "0.1.0 (compiled)", "memcached": "1.6.18"},
    load_before=0.5,
)


def test_nothing_is_lost_in_json() -> None:
    assert Environment.from_dict(json.loads(json.dumps(TEST.to_dict()))) == TEST


def test_people_read_the_machine_the_system_and_the_versions() -> None:
    assert TEST.lines() == [
        "machine   Test CPU, 2 cores, 8.0 GiB",
        "system    Test, kernel 6.0, load average 0.50",
        "versions  Python 3.11.0, quorumcache 0.1.0 (compiled), memcached 1.6.18",
    ]


def test_of_this_machine() -> None:
    """A figure of compiled code and one of sources differ by far, so the form is named."""
    found = read_environment()
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.memory_bytes > 1 << 27
    assert found.cpu_model
    assert found.versions["quorumcache"].startswith(f"{VERSION} (")
    assert set(found.versions) == {"quorumcache", "uvloop", "mmh3", "msgpack", "memcached"}


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor\t: 0\nmodel name\t: Intel(R)   Xeon(R)\nModel\t: 7\n", "Intel(R) Xeon(R)"),
        ("processor\t: 0\nModel\t\t: Raspberry Pi 4\n", "Raspberry Pi 4"),
    ],
)
def test_processors_say_their_names_in_different_words(
    monkeypatch: pytest.MonkeyPatch, text: str, model: str
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    assert environment._cpu_model() == model


def test_a_machine_that_tells_nothing_has_an_environment_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A measurement must not be lost for want of a name."""

    def fail(*arguments: Any, **settings: Any) -> Any:
        raise OSError("no")

    def missing(package: str) -> str:
        raise environment.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr(environment.platform, "freedesktop_os_release", fail)
    monkeypatch.setattr(environment.subprocess, "run", fail)
    monkeypatch.setattr(environment.metadata, "version", missing)
    monkeypatch.setattr(environment, "memcached_path", lambda: None)
    found = read_environment()
    assert found.cpu_model == environment.platform.machine() or found.cpu_model
    assert found.system == environment.platform.system()
    assert found.versions == {
        "quorumcache": "from a checkout",
        "uvloop": "missing",
        "mmh3": "missing",
        "msgpack": "missing",
        "memcached": "not installed",
    }


@pytest.mark.parametrize(
    ("script", "version"),
    [("echo memcached 1.6.18", "1.6.18"), ("exit 1", "unknown")],
)
def test_the_memcached_that_is_compared_with_names_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, version: str
) -> None:
    path = tmp_path / "memcached"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(environment, "memcached_path", lambda: str(path))
    assert environment._memcached_version() == version
