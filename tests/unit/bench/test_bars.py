"""Bars: a picture that is well-formed, with each ratio on its side of 1."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from quorumcache.bench.bars import BARS_WIDTH, NAMES_WIDTH, Bar, Group, bars

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*groups: Group) -> ElementTree.Element:
    return ElementTree.fromstring(bars("A < B", groups, note="c & d"))


def rectangles(tree: ElementTree.Element) -> list[tuple[float, float, str]]:
    """(left, right, colour) of each bar; the first is the ground, those of the legend are small."""
    found = [
        (float(r.get("x", 0)), float(r.get("width", 0)), r.get("fill", ""))
        for r in tree.iter(f"{SVG}rect")
    ]
    return [(x, x + width, fill) for x, width, fill in found[1:] if width != 18]


def test_more_goes_to_the_right_of_one_and_less_to_the_left_equally_far() -> None:
    tree = drawn(Group("get", (Bar("theirs", 2.0), Bar("others", 0.5))))
    (left, right, blue), (other_left, other_right, red) = rectangles(tree)
    assert other_right == left
    assert right - left == pytest.approx(other_right - other_left, abs=0.2)
    assert blue != red
    assert {"2.00", "0.50"} <= {text.text for text in tree.iter(f"{SVG}text")}


def test_a_peer_has_one_colour_in_all_groups() -> None:
    tree = drawn(
        Group("a", (Bar("theirs", 2.0), Bar("others", 3.0))), Group("b", (Bar("others", 0.3),))
    )
    colours = [fill for _, _, fill in rectangles(tree)]
    assert colours[1] == colours[2] != colours[0]


def test_a_goal_is_a_mark_where_it_is() -> None:
    tree = drawn(Group("get", (Bar("theirs", 2.0, 2.0),)))
    marks = [line for line in tree.iter(f"{SVG}line") if line.get("stroke") == "black"]
    ((_, right, _),) = rectangles(tree)
    assert float(marks[-1].get("x1", 0)) == pytest.approx(right, abs=0.2)


def test_what_is_no_ratio_is_not_drawn() -> None:
    assert rectangles(drawn(Group("get", (Bar("theirs", float("nan")), Bar("others", 0.0))))) == []


@pytest.mark.parametrize("ratio", [1e-9, 1e9, 1.0])
def test_all_is_within_the_picture(ratio: float) -> None:
    ((left, right, _),) = rectangles(drawn(Group("get", (Bar("theirs", ratio),))))
    assert NAMES_WIDTH - 0.1 <= left <= right <= NAMES_WIDTH + BARS_WIDTH + 0.1


def test_nothing_to_draw_is_still_a_picture() -> None:
    assert drawn().tag == f"{SVG}svg"
