"""Every fuzz target under hypothesis: arbitrary bytes, and valid inputs that were damaged."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import main
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]

OF_MSGPACK = ("peer_payload", "snapshot_meta", "batch", "local_state", "cluster_map")
"""Targets whose whole input is msgpack."""

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.integers(0, 41)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.integers(0, 9), inner),
    max_leaves=20,
)

MUTATION = st.tuples(
    st.sampled_from(("flip", "set", "drop", "insert", "repeat")),
    st.integers(0, 1 << 16),
    st.integers(0, 255),
    st.binary(max_size=6),
)


def mutated(data: bytes, mutations: list[tuple[str, int, int, bytes]]) -> bytes:
    """`data` after all of them."""
    result = bytearray(data)
    for kind, at, number, extra in mutations:
        at %= len(result) + 1
        if kind == "insert":
            result[at:at] = extra
        elif kind == "repeat":
            result[at:at] = result[at : at + number]
        elif kind == "drop":
            del result[at : at + 1 + number % 8]
        elif at < len(result):
            result[at] = number if kind == "set" else result[at] ^ 1 << number % 8
    return bytes(result)


def changed(value: object, path: list[int], new: object) -> object:
    """A decoded msgpack value with one member, somewhere inside, replaced."""
    if not path or not isinstance(value, list | tuple) or not value:
        return new
    at = path[0] % len(value)
    return [*value[:at], changed(value[at], path[1:], new), *value[at + 1 :]]


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("target", TARGETS)
@FUZZ
@given(st.binary(max_size=300))
def test_arbitrary_bytes(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@FUZZ
@given(st.integers(0, 1 << 16), st.lists(MUTATION, min_size=1, max_size=6))
def test_damaged_valid_inputs(
    target: str, seed: int, mutations: list[tuple[str, int, int, bytes]]
) -> None:
    inputs = SEEDS[target]()
    TARGETS[target](mutated(inputs[seed % len(inputs)], mutations))


@pytest.mark.parametrize("target", OF_MSGPACK)
@FUZZ
@given(
    st.integers(0, 1 << 16),
    st.lists(st.integers(0, 20), min_size=1, max_size=5),
    VALUES,
)
def test_one_member_of_another_type(target: str, seed: int, path: list[int], new: object) -> None:
    """What bytes damaged at random hardly ever make: valid msgpack of a wrong form."""
    inputs = [data for data in SEEDS[target]() if not data.startswith(b"quorumcache data")]
    value = msgpack.unpackb(inputs[seed % len(inputs)], strict_map_key=False)
    TARGETS[target](msgpack.packb(changed(value, path, new)))


@pytest.mark.parametrize("target", OF_MSGPACK)
@FUZZ
@given(VALUES)
def test_any_msgpack(target: str, value: object) -> None:
    TARGETS[target](msgpack.packb(value))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_bad_arguments_are_one_clear_line(tmp_path: Path) -> None:
    for arguments, words in (
        (("nonsense",), "nonsense: the targets are parser, "),
        ((), "no target: the targets are parser, "),
        (("parser", "--replay", str(tmp_path / "none")), "none: No such file"),
    ):
        result = run(*arguments)
        assert result.returncode == 2
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""


def test_an_input_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"\0\0\0\0get a\r\n")
    result = run("parser", "--replay", str(path))
    assert (result.returncode, result.stderr) == (0, "")
    assert "keeps its promises on these 11 bytes" in result.stdout


def test_a_missing_fuzzer_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["parser"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("atheris is not installed: .venv/bin/pip install")
    assert errors.count("\n") == 1
