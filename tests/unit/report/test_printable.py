from __future__ import annotations

import pytest

from ddlwa.report.printable import printable


@pytest.mark.parametrize("text", ["", "/items/1?q=tea", "Ж é 茶 🍵", "two\nlines", "a\\u2028b"])
def test_what_can_be_read_stays(text):
    """Letters of any script, symbols and line ends are text."""
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("\u2028", "\\u2028"),
        ("\u202e", "\\u202e"),
        ("\udc80", "\\udc80"),
        ("\0", "\\x00"),
        ("\r", "\\r"),
        ("\t|", "    |"),
    ],
)
def test_what_acts_is_written_out(text, shown):
    """Escape sequences, line separators, changes of direction and broken bytes are named, not done."""
    assert printable(text) == shown
