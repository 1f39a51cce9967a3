"""The one logger, which says each thing once, or seldom."""

from __future__ import annotations

import logging
import time

_logger = logging.getLogger("ddlwa")
_said: dict[str, float] = {}
_SELDOM_S = 60.0


def warn_once(kind: str, message: str, *args: object, exc_info: bool = False) -> None:
    """Log a WARNING the first time that this kind of thing happens in the process.

    Args:
        kind: What the record is about; later records of the same kind are dropped.
        message: A %-format string. Never a header's or a body's content.
        args: Its arguments.
        exc_info: Add the traceback of the exception being handled.
    """
    if kind not in _said:
        _said[kind] = time.monotonic()
        _logger.warning(message, *args, exc_info=exc_info)


def warn_seldom(kind: str, message: str, *args: object) -> None:
    """Log a WARNING unless the same was logged less than a minute ago.

    Args:
        kind: What the record is about, as for `warn_once`.
        message: A %-format string. Never a header's or a body's content.
        args: Its arguments.
    """
    now_s = time.monotonic()
    if now_s - _said.get(kind, -_SELDOM_S) >= _SELDOM_S:
        _said[kind] = now_s
        _logger.warning(message, *args)
