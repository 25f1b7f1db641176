"""Goal: the table holds all stages and says what was missed; the picture shows them.

The run itself needs a cluster: tests/integration/test_elastic.py. Its rows: test_stages.py.
"""

from __future__ import annotations

import json
from xml.etree import ElementTree

from quorumcache.bench.elastic import elastic_chart, elastic_table
from quorumcache.bench.mixed_load import PLAIN, ROUTING, MixedLoad
from quorumcache.bench.stages import KILL, QUIET, Stage, Staged
from quorumcache.bench.timeline import Sample, Span

SECOND = 1_000_000_000
SVG = "{http://www.w3.org/2000/svg}"


def run_of() -> Staged:
    load = MixedLoad(1.0)
    load.samples += [Sample(c, n * SECOND // 10, 1_000_000) for c in (0, 1) for n in range(20)]
    load.present = {0: (0, 1 << 62), 1: (0, 1 << 62)}
    load.kinds = {0: PLAIN, 1: ROUTING}
    run = Staged(load)
    run.stages.append(Stage(QUIET, 5, Span("5 nodes", 0, SECOND), 0.0))
    run.stages.append(Stage(KILL, 5, Span("killed", SECOND, 2 * SECOND), 0.0))
    run.marks.append(("kill -9 b", SECOND))
    return run


def test_one_row_per_stage_and_a_line_for_the_goals() -> None:
    table = elastic_table(run_of())
    assert [row[0] for row in table.rows] == ["5 nodes", "killed"]
    assert table.notes[-1] == "all 6 goals met"
    assert set(json.loads(json.dumps(table.data))["stages"]) == {"5 nodes", "killed"}
    run = run_of()
    run.lost_writes = 1
    assert elastic_table(run).notes[-1].startswith("GOAL MISSED: acknowledged writes")


def test_the_picture_shows_both_kinds_of_clients_and_what_happened() -> None:
    root = ElementTree.fromstring(elastic_chart(run_of(), "t"))
    texts = {text.text for text in root.findall(f"{SVG}text")}
    assert {"plain clients", "routing clients", "kill -9 b", "killed, 1.0 s"} <= texts
    assert len(root.findall(f"{SVG}polyline")) == 4, "throughput and p99 of each"
