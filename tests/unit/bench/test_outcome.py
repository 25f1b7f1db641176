"""What a command prints and writes: all of it, where it was asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from quorumcache.bench import outcome
from quorumcache.bench.errors import BenchError
from quorumcache.bench.report import Table

TABLE = Table(title="Things", columns=("a", "b"), rows=(("1", "2"),), notes=("a note", ""))


def test_a_table_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = outcome.begin("the command", "what there is", ["mind this"])
    status = outcome.finish_table(argparse.Namespace(out=str(tmp_path / "out")), report, TABLE)
    assert status == 0
    printed = capsys.readouterr().out
    for line in ("measured  what there is", "mind this", "Things", "  1  2", "  a note"):
        assert f"{line}\n" in printed
    written = (tmp_path / "out" / "report.md").read_text()
    assert "`the command`" in written
    assert "| 1 | 2 |" in written


def test_without_a_directory_one_is_named_after_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = outcome.with_tables(outcome.begin("c", "d", []), TABLE)
    directory = outcome.finish(argparse.Namespace(out=None), report)
    assert directory.parent == Path("bench-results")
    assert (directory / "report.json").exists()


def test_rows_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    outcome.print_table(TABLE, rows=False)
    assert capsys.readouterr().out == "\nThings\n  a note\n"


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match=r"cannot write .*file/race\.svg"):
        outcome.write_text(tmp_path / "file" / "race.svg", "")
