"""Goal: the table counts what clients met, and what is only the killed node's apart.

The run itself needs a cluster: tests/integration/test_elastic.py.
"""

from __future__ import annotations

from xml.etree import ElementTree

from quorumcache.bench.elastic import ElasticRun, elastic_chart, elastic_table
from quorumcache.bench.mixed_load import MixedLoad
from quorumcache.bench.timeline import Sample, Span

SECOND = 1_000_000_000


def run_of() -> ElasticRun:
    load = MixedLoad(1.0)
    load.samples += [Sample(c, n * SECOND // 10, 1_000_000) for c in (0, 1) for n in range(20)]
    load.present = {0: (0, 1 << 62), 1: (0, 1 << 62)}
    load.errors += [(0, SECOND // 2, "connection: reset"), (1, 3 * SECOND // 2, "SERVER_ERROR")]
    load.wrong.append((1, SECOND // 3, b"k"))
    run = ElasticRun(load, 0, [Span("grow", 0, SECOND), Span("kill", SECOND, 2 * SECOND)])
    run.marks.append(("kill -9", SECOND))
    run.clients_of_killed = {0}
    run.ended_ns = 2 * SECOND
    return run


def test_one_row_per_span_and_errors_by_whose_they_are() -> None:
    table = elastic_table(run_of())
    assert [row[0] for row in table.rows] == ["grow", "kill"]
    assert [row[6] for row in table.rows] == ["0", "1"], "errors of others than the killed"
    assert [row[7] for row in table.rows] == ["1", "0"]
    assert table.rows[0][2] == "10", "only clients that were not on the killed node"
    notes = "\n".join(table.notes)
    assert "error, 1 times, of clients of the killed node: connection: reset" in notes
    assert "error, 1 times, of others: SERVER_ERROR" in notes
    assert "acknowledged writes that are gone: 0; reads that missed one: 1" in notes


def test_the_picture_is_svg() -> None:
    ElementTree.fromstring(elastic_chart(run_of(), "t"))
