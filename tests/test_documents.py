"""Goal: the documents name what is there: files, rooms, other documents and their sections.

Method: names of Python files in backquotes are looked for among the sources, by the end of their
path; links are followed; the table of rooms is compared with the one that holds the walls.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_rooms import MAY_IMPORT

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SOURCES = [
    f"/{path.relative_to(ROOT)}"
    for folder in ("ring", "node", "router", "bench", "tests", "quorumcache")
    for path in (ROOT / folder).rglob("*.py")
] + ["/setup.py"]
EXAMPLES = {"node.py", "json.py", "counter.py"}
"""Files of a user's directory, in examples."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_named_in_documents_exist(document: Path) -> None:
    names = set(re.findall(r"`([\w/]+\.py)`", document.read_text())) - EXAMPLES
    missing = {name for name in names if not any(path.endswith(f"/{name}") for path in SOURCES)}
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("http"):
            continue
        path, _, section = target.partition("#")
        aim = document.parent / path if path else document
        assert aim.exists(), target
        if section:
            assert section in sections(aim), target


def sections(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_architecture_has_a_line_for_each_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text[text.index("### The rooms of a node") : text.index("### The other parts")]
    rooms = {name for name in MAY_IMPORT if name in table.split("| Room |")[0]}
    assert rooms == set(MAY_IMPORT) - {"__main__"}
    folders = {path.parent.name for path in (ROOT / "node").glob("*/__init__.py")}
    assert {name for name in folders if f"| `{name}/` |" in table} == folders


def test_bounds_stand_where_architecture_says() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = [line for line in text[text.index("## Bounds") :].splitlines() if line.startswith("| ")]
    checked = 0
    for row in rows:
        cells = row.strip("| ").split(" | ")
        names = re.findall(r"`([\w/]+\.py)`", cells[-1])
        files = [path for path in SOURCES for name in names if path.endswith(f"/{name}")]
        texts = [(ROOT / path[1:]).read_text() for path in files]
        for constant in re.findall(r"`([A-Z][A-Z_]+)`", row):
            assert any(f"\n{constant}" in text for text in texts), row
            checked += 1
    assert checked > 30
