"""Curves: a picture of small diagrams that is well-formed and has everything in its place."""

from __future__ import annotations

from xml.etree import ElementTree

from quorumcache.bench.curves import LEFT, PANEL_HEIGHT, PANEL_WIDTH, TOP, Curve, Panel, curves

SVG = "{http://www.w3.org/2000/svg}"


def drawn(panels: list[Panel]) -> ElementTree.Element:
    return ElementTree.fromstring(curves("A < B", panels, x_name="items", y_name="hits, %"))


def test_points_stand_where_their_values_are() -> None:
    tree = drawn([Panel("one", (Curve("ours", ((0, 0), (5_000, 50), (10_000, 100))),))])
    (line,) = tree.iter(f"{SVG}polyline")
    middle = f"{LEFT + PANEL_WIDTH / 2:.1f},{TOP + PANEL_HEIGHT / 2:.1f}"
    end = f"{LEFT + PANEL_WIDTH:.1f},{TOP:.1f}"
    assert line.get("points") == f"{LEFT:.1f},{TOP + PANEL_HEIGHT:.1f} {middle} {end}"
    assert len(list(tree.iter(f"{SVG}circle"))) == 3


def test_a_server_has_one_colour_in_all_panels() -> None:
    ours, theirs = Curve("ours", ((1, 1),)), Curve("theirs", ((1, 2),))
    tree = drawn([Panel("one", (ours, theirs)), Panel("two", (theirs,))])
    colours = [line.get("stroke") for line in tree.iter(f"{SVG}polyline")]
    assert colours[1] == colours[2] != colours[0]


def test_panels_fill_line_after_line() -> None:
    tree = drawn([Panel(f"p{n}", ()) for n in range(4)])
    titles = [t for t in tree.iter(f"{SVG}text") if (t.text or "").startswith("p")]
    assert len({t.get("x") for t in titles}) == 3
    assert titles[3].get("x") == titles[0].get("x")
    assert titles[3].get("y") != titles[0].get("y")


def test_nothing_to_draw_is_still_a_picture() -> None:
    assert drawn([]).tag == f"{SVG}svg"
