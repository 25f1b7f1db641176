"""What is written to a terminal, and to a pipe."""

from __future__ import annotations

import io

from quorumcache.router.commands.screen import Screen, cut, frame


def test_a_line_is_cut_to_the_columns_and_keeps_its_colours() -> None:
    assert cut("abcdef", 3) == "abc"
    assert cut("abc", 3) == "abc"
    assert cut("\x1b[31mabcdef\x1b[0mghi", 4) == "\x1b[31mabcd\x1b[0m"
    assert cut("ab\x1b[31mcd\x1b[0mef", 5) == "ab\x1b[31mcd\x1b[0me"


def test_a_frame_goes_back_over_the_one_before() -> None:
    text, drawn = frame(["one", "two"], 0, 80, 24)
    assert (text, drawn) == ("\r\x1b[2Kone\n\x1b[2Ktwo\n\x1b[J", 2)
    text, drawn = frame(["three"], drawn, 80, 24)
    assert (text, drawn) == ("\r\x1b[2A\x1b[2Kthree\n\x1b[J", 1)


def test_what_does_not_fit_is_counted() -> None:
    lines = [f"line {number}" for number in range(50)]
    text, drawn = frame(lines, 0, 80, 10)
    assert drawn == 9
    assert "line 7" in text
    assert "line 8" not in text
    assert "... and 42 more lines" in text
    _, drawn = frame(lines[:9], 0, 80, 10)
    assert drawn == 9


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_and_a_pipe_is_appended_to() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        screen = Screen(stream)
        screen.show(["one"])
        screen.show(["two"])
        screen.leave()
        screen.show(["three"])
    assert pipe.getvalue() == "one\ntwo\nthree\n"
    assert terminal.getvalue().count("\x1b[1A") == 1
