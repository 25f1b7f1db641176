"""What a command prints, and the report that it writes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from quorumcache.bench.environment import read_environment
from quorumcache.bench.errors import BenchError
from quorumcache.bench.report import Report, Table, text_table


def begin(command: str, described: str, notes: list[str]) -> Report:
    """A report, and what is known beforehand on standard output."""
    report = Report(
        command=command,
        started_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        environment=read_environment(),
        target=described,
        notes=tuple(notes),
    )
    for line in report.environment.lines():
        print(line)
    print(f"measured  {described}", flush=True)
    for note in notes:
        line = "*" * min(100, len(note))
        print(f"{line}\n{note}\n{line}", flush=True)
    return report


def with_tables(report: Report, *tables: Table) -> Report:
    """The same report with its tables."""
    return replace(report, tables=tables)


def print_table(table: Table, *, rows: bool = True) -> None:
    """Title, rows and notes of a table."""
    print(f"\n{table.title}")
    if rows:
        for line in text_table(table.columns, table.rows):
            print("  " + line)
    for note in table.notes:
        if note:
            print("  " + note)


def finish_table(arguments: argparse.Namespace, report: Report, table: Table) -> int:
    """A report of one table; the exit status."""
    print_table(table)
    finish(arguments, with_tables(report, table))
    return 0


def finish(arguments: argparse.Namespace, report: Report) -> Path:
    """Write the report; the directory in which it lies."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    directory = Path(arguments.out) if arguments.out else Path("bench-results") / stamp
    paths = report.write(directory)
    print(f"\nwritten: {paths[0]} and {paths[1]}")
    return directory


def write_text(path: Path, text: str) -> None:
    """Write a file; its directory is made if missing. BenchError when that is impossible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}") from None
