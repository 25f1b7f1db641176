"""docs/operations.md names every setting, every metric and every log event that there is."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from quorumcache.node.admin.metrics import NodeCollector, render
from quorumcache.node.alarms import ALARMS
from quorumcache.node.founding.durable_state import FIXED
from quorumcache.node.process.setting_table import OPTIONS
from quorumcache.node.settings.config import ClusterSettings
from quorumcache.ring.settings import CHANGEABLE
from tests.support.fake_node import FakeNode

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text()


def test_settings() -> None:
    for option in OPTIONS:
        assert f"`{option.name}`" in DOCUMENT, option.name


def test_the_table_says_where_each_setting_is_in_force() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| [^|]* \| ([a-z*, ]+) \|", DOCUMENT, re.M)
    listed = {name.replace("-", "_"): where for name, where in rows}
    shared = {field.name for field in dataclasses.fields(ClusterSettings)}
    for option in OPTIONS:
        name = option.name.replace("-", "_")
        if not option.is_flag:
            continue  # In the paragraph below the table: all are the node's own.
        if name in FIXED:
            where = "**fixed**"
        elif name in (*CHANGEABLE, "replication"):
            where = "**map**"
        elif name in ("weight", "zone"):
            where = "**map**, per node"
        elif name in shared:
            where = "**equal**"
        else:
            where = "own"
        assert listed.get(name) == where, name


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", DOCUMENT, re.M)
    anchors = {re.sub(r"[^a-z0-9 -]", "", text.lower()).replace(" ", "-") for text in headings}
    linked = set(re.findall(r"\]\(#([^)]*)\)", DOCUMENT))
    assert linked
    assert linked <= anchors, linked - anchors


def test_metrics() -> None:
    text = asyncio.run(render(NodeCollector(FakeNode()))).decode()
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
        if family.name.startswith("quorumcache_")
    }
    listed = re.findall(
        r"^\| `([a-z_]+)(?:\{[a-z,]*\})?` \| (?:counter|gauge|hist)", DOCUMENT, re.M
    )
    assert {f"quorumcache_{name}" for name in listed} == exported


def test_log_events() -> None:
    logged: set[str] = set()
    for path in (ROOT / "node").rglob("*.py"):
        text = path.read_text()
        logged |= set(re.findall(r'"(?:debug|info|warning|error)",\s*"([a-z_]+)"[,)\s]', text))
    assert "ready" in logged
    for name in sorted(logged):
        assert f"`{name}`" in DOCUMENT, name


def test_alarms() -> None:
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| (yes|no) \|", DOCUMENT, re.M))
    assert listed == {name: "yes" if serious else "no" for name, serious in ALARMS.items()}
