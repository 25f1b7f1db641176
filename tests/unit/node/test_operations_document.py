"""docs/operations.md names every setting, every metric and every log event that there is."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from quorumcache.node.admin.metrics import NodeCollector, render
from quorumcache.node.alarms import ALARMS
from quorumcache.node.process.setting_table import OPTIONS
from tests.support.fake_node import FakeNode

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text()


def test_settings() -> None:
    for option in OPTIONS:
        assert f"`{option.name}`" in DOCUMENT, option.name


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
