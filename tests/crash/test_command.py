"""The commands around the search: what they say, and how they end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash import power_cut
from tests.crash.__main__ import main
from tests.crash.broken_rules import BROKEN_RULES


def test_a_life_is_explored_with_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workload", "suffixes", "--coarse", "--names", "journal"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("suffixes ")
    assert lines[-1].endswith("all of them kept the contract")


def test_a_broken_contract_ends_with_1_and_the_command_that_repeats_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (rule,) = [rule for rule in BROKEN_RULES if rule.name == "torn_tail_kept"]
    with rule.broken():
        assert main(["--workload", "suffixes", "--coarse"]) == 1
        report = capsys.readouterr().out
        (again,) = [line for line in report.splitlines() if " again: " in line]
        assert main(again.split("tests.crash ")[1].split()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "x"], "--seeds x: expected A..B"),
        (["--workload", "nope"], "--workload nope: there is no such life"),
        (["--point", "3"], "--point needs --workload"),
    ],
)
def test_bad_arguments(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_power_cuts_need_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert power_cut.main(["--cuts", "1"]) == 2
    assert capsys.readouterr().err == (
        "no power cuts on this machine: mounting a file system needs root\n"
    )


def test_power_cuts_without_their_tools_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(power_cut.signal, "signal", lambda *_: None)
    monkeypatch.setattr(power_cut.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert power_cut.main(["--cuts", "1"]) == 2
    assert "mkfs.ext4 is not installed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
