"""The answer of a run: what was measured, where, and how it compares. JSON and Markdown."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any, Self

from quorumcache.bench.environment import Environment
from quorumcache.bench.errors import BenchError
from quorumcache.bench.histogram import Histogram
from quorumcache.bench.workload import Workload

REPORT_FORMAT = 1
BASELINE = "memcached"
PERCENTS = (50.0, 99.0, 99.9, 100.0)
# From here on the generator, not the server, may be what was measured.
LOAD_CPU_LIMIT = 95.0
# More than this in use by others, and the figure is about a busy machine.
OTHER_CPU_LIMIT = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of one kind of operation. All in microseconds; percentiles within 0.4 %, `max` exact."""

    count: int
    mean: float
    p50: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, histogram: Histogram) -> Self:
        """Summary of `histogram`, whose values are nanoseconds."""
        p50, p99, p999, largest = (histogram.percentile(p) / 1000 for p in PERCENTS)
        return cls(
            count=histogram.count,
            mean=histogram.mean() / 1000,
            p50=p50,
            p99=p99,
            p999=p999,
            max=largest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One workload on one target.

    With several rounds the figures are those of the round with the median throughput, and
    `rounds` has the throughput of each. `mode`: routed or any-node. `server_cpu`, `load_cpu`,
    `other_cpu` (everybody else): percent of one processor, None = unknown. `send_lag`: open loop
    only, how late requests left.
    """

    target: str
    workload: Workload
    mode: str
    seconds: float
    ops_per_second: float
    rounds: tuple[float, ...]
    completed: int
    misses: int
    errors: int
    error_kinds: dict[str, int]
    lost_connections: int
    unsent: int
    unanswered: int
    latency: Latency
    read: Latency | None
    write: Latency | None
    send_lag: Latency | None
    server_cpu: float | None
    load_cpu: float | None
    other_cpu: float | None
    timeline: tuple[int, ...]
    histogram: Histogram

    def send_lag_text(self) -> str:
        """How late the requests of an open loop left; "" in a closed one."""
        lag = self.send_lag
        if lag is None:
            return ""
        numbers = " / ".join(milliseconds(value) for value in (lag.p50, lag.p99, lag.max))
        return f"requests left {numbers} ms (p50 / p99 / max) after their intended start"

    def warnings(self) -> list[str]:
        """What a reader has to know before believing the figure."""
        found = []
        if self.errors:
            worst = max(self.error_kinds, key=lambda text: self.error_kinds[text])
            found.append(f"{self.errors} errors, most often: {worst}")
        if self.unanswered:
            found.append(f"{self.unanswered} requests were never answered")
        if self.unsent:
            found.append(f"{self.unsent} requests could not be sent: the rate is too high")
        if self.misses and self.workload.fill and not self.workload.delete:
            found.append(f"{self.misses} misses of keys that had been written")
        if self.load_cpu is not None and self.load_cpu >= LOAD_CPU_LIMIT and not self.workload.rate:
            found.append(
                f"the load generator used {self.load_cpu:.0f} % of a processor: it may be the"
                " limit, not the server (try --processes)"
            )
        if self.other_cpu is not None and self.other_cpu >= OTHER_CPU_LIMIT:
            found.append(f"other processes used {self.other_cpu:.0f} % of a processor meanwhile")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What failover, idle and memory report: a table of text cells, and the numbers behind it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run of the bench."""

    command: str
    started_at: str
    environment: Environment
    target: str
    results: tuple[Result, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()

    def baseline_of(self, result: Result) -> Result | None:
        """memcached under the same workload, if it was measured."""
        for other in self.results:
            if other.target == BASELINE and other.workload.name == result.workload.name:
                return other if other is not result else None
        return None

    def to_json(self) -> str:
        """Everything, histograms included."""
        data = asdict(self)
        data["environment"] = self.environment.to_dict()
        for plain, result in zip(data["results"], self.results, strict=True):
            plain["workload"] = result.workload.to_dict()
            plain["histogram"] = result.histogram.to_dict()
            baseline = self.baseline_of(result)
            plain["ratio_to_memcached"] = (
                None if baseline is None else ratio(result.ops_per_second, baseline.ops_per_second)
            )
        return json.dumps({"format": REPORT_FORMAT, **data}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`. BenchError for another format."""
        data = json.loads(text)
        if data.pop("format", None) != REPORT_FORMAT:
            raise BenchError(f"not a report of format {REPORT_FORMAT}")
        data["environment"] = Environment.from_dict(data["environment"])
        data["results"] = tuple(_result(one) for one in data["results"])
        data["tables"] = tuple(
            Table(
                title=one["title"],
                columns=tuple(one["columns"]),
                rows=tuple(tuple(row) for row in one["rows"]),
                notes=tuple(one["notes"]),
                data=one["data"],
            )
            for one in data["tables"]
        )
        data["notes"] = tuple(data["notes"])
        return cls(**data)

    def to_markdown(self) -> str:
        """For people."""
        lines = ["# QuorumCache benchmark", "", f"`{self.command}`", ""]
        lines += [f"Started {self.started_at}. Measured: {self.target}.", ""]
        lines += ["```", *self.environment.lines(), "```", ""]
        lines += [f"**{note}**\n" for note in self.notes]
        if self.results:
            lines += self._results_markdown()
        for table in self.tables:
            lines += [f"## {table.title}", ""]
            lines += markdown_table(table.columns, table.rows)
            lines += ["", *[f"{note}\n" for note in table.notes]]
        return "\n".join(lines).rstrip() + "\n"

    def _results_markdown(self) -> list[str]:
        columns = (
            "workload", "target", "ops/s", "x memcached", "p50 ms", "p99 ms", "p99.9 ms", "max ms",
            "misses", "errors", "server CPU", "load CPU",
        )  # fmt: skip
        rows = []
        for result in self.results:
            baseline, latency = self.baseline_of(result), result.latency
            compared = ratio_text(result, baseline) if baseline else "-"
            rows.append(
                (
                    result.workload.name,
                    f"{result.target} ({result.mode})",
                    f"{result.ops_per_second:,.0f}",
                    compared,
                    *(milliseconds(v) for v in (latency.p50, latency.p99, latency.p999)),
                    milliseconds(latency.max),
                    str(result.misses),
                    str(result.errors),
                    percent_text(result.server_cpu),
                    percent_text(result.load_cpu),
                )
            )
        lines = ["## Results", "", *markdown_table(columns, rows), "", "Workloads:", ""]
        described: list[str] = []
        for result in self.results:
            if result.workload.name not in described:
                described.append(result.workload.name)
                lines.append(f"- `{result.workload.name}`: {result.workload.summary()}")
        for result in self.results:
            if result.send_lag is not None:
                named = f"{result.workload.name} on {result.target}"
                lines.append(f"- {named}: {result.send_lag_text()}")
        found = [(r, w) for r in self.results for w in r.warnings()]
        if found:
            lines += ["", "Warnings:", ""]
            lines += [f"- {r.workload.name} on {r.target}: {warning}" for r, warning in found]
        spread = [r for r in self.results if len(r.rounds) > 1]
        if spread:
            lines += ["", "Rounds (the figures above are those of the median one):", ""]
            for result in spread:
                rounds = ", ".join(f"{one:,.0f}" for one in result.rounds)
                lines.append(f"- {result.workload.name} on {result.target}: {rounds}")
        return [*lines, ""]

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Write report.json and report.md into `directory` (made if missing)."""
        json_path, markdown_path = directory / "report.json", directory / "report.md"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            json_path.write_text(self.to_json())
            markdown_path.write_text(self.to_markdown())
        except OSError as error:
            raise BenchError(f"cannot write the report to {directory}: {error.strerror}") from None
        return json_path, markdown_path


def _result(data: dict[str, Any]) -> Result:
    known = {one.name for one in fields(Result)}
    values = {name: value for name, value in data.items() if name in known}
    values["workload"] = Workload.from_dict(values["workload"])
    values["histogram"] = Histogram.from_dict(values["histogram"])
    values["rounds"] = tuple(values["rounds"])
    values["timeline"] = tuple(values["timeline"])
    for name in ("latency", "read", "write", "send_lag"):
        values[name] = Latency(**values[name]) if values[name] is not None else None
    return Result(**values)


def ratio(ours: float, theirs: float) -> float | None:
    """`ours` / `theirs`; None where that means nothing."""
    return ours / theirs if theirs else None


def ratio_text(result: Result, baseline: Result) -> str:
    """Throughput ratio; in an open loop, where throughput is given, that of the p99 latency."""
    if result.workload.rate:
        value = ratio(result.latency.p99, baseline.latency.p99)
        return f"p99 {value:.2f} x" if value is not None else "-"
    value = ratio(result.ops_per_second, baseline.ops_per_second)
    return f"{value:.2f}" if value is not None else "-"


def milliseconds(microseconds: float) -> str:
    """Three significant digits of milliseconds."""
    value = microseconds / 1000
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def percent_text(value: float | None) -> str:
    """`87 %`, or `-` when unknown."""
    return "-" if value is None or math.isnan(value) else f"{value:.0f} %"


def spread_text(values: list[float], unit: str) -> str:
    """`min / median / max`."""
    if not values:
        return "-"
    numbers = (min(values), median(values), max(values))
    return " / ".join(f"{number:,.0f}" for number in numbers) + f" {unit}"


def markdown_table(columns: tuple[str, ...], rows: Any) -> list[str]:
    """Lines of a table; the first two columns are text, the others right-aligned."""
    rule = ["---" if number < 2 else "---:" for number in range(len(columns))]
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join(rule) + "|"]
    for row in rows:
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return lines


def text_table(columns: tuple[str, ...], rows: Any) -> list[str]:
    """The same for a terminal."""
    table = [columns, *rows]
    widths = [max(len(row[number]) for row in table) for number in range(len(columns))]
    return [
        "  ".join(
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def workload_lines(report: Report, name: str) -> list[str]:
    """What a person is shown of all results of a workload: a table, then what to know of them."""
    results = [result for result in report.results if result.workload.name == name]
    columns = (
        "target", "mode", "ops/s", "x memcached", "p50 ms", "p99 ms", "p99.9 ms", "max ms",
        "misses", "errors", "server CPU", "load CPU",
    )  # fmt: skip
    rows = []
    for result in results:
        baseline, latency = report.baseline_of(result), result.latency
        rows.append(
            (
                result.target,
                result.mode,
                f"{result.ops_per_second:,.0f}",
                ratio_text(result, baseline) if baseline else "-",
                *(milliseconds(v) for v in (latency.p50, latency.p99, latency.p999, latency.max)),
                str(result.misses),
                str(result.errors),
                percent_text(result.server_cpu),
                percent_text(result.load_cpu),
            )
        )
    lines = [f"  {line}" for line in text_table(columns, rows)]
    for result in results:
        if result.send_lag is not None:
            lines.append(f"  {result.target}: {result.send_lag_text()}")
        lines += [f"  WARNING, {result.target}: {warning}" for warning in result.warnings()]
    return lines
