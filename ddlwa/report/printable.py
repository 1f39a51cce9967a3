"""Text that is only read, and does nothing to what shows it."""

from __future__ import annotations


def printable(text: str) -> str:
    """Write out what would act on a terminal or turn the text around it on a page, but leave lines lines.

    Args:
        text: From the app.
    """
    return "".join(
        one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text.expandtabs(4)
    )
