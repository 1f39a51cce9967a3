"""Right durations and delivered traces for ddtrace on AWS Lambda behind the Lambda Web Adapter.

PYTEST_DONT_REWRITE: nothing asserts here, and under `ddlwa-run pytest` all of it is imported before pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddlwa.counters import stats
    from ddlwa.errors import DdlwaError, UnsupportedError
    from ddlwa.patch import patch_all, unpatch
    from ddlwa.postresponse import before_freeze, defer
    from ddlwa.request import current_invocation

__version__ = "0.1.0"
__all__ = [
    "DdlwaError",
    "UnsupportedError",
    "__version__",
    "before_freeze",
    "current_invocation",
    "defer",
    "patch_all",
    "stats",
    "unpatch",
]

_HOME = {
    "DdlwaError": "ddlwa.errors",
    "UnsupportedError": "ddlwa.errors",
    "before_freeze": "ddlwa.postresponse",
    "current_invocation": "ddlwa.request",
    "defer": "ddlwa.postresponse",
    "patch_all": "ddlwa.patch",
    "stats": "ddlwa.counters",
    "unpatch": "ddlwa.patch",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module the first time it is asked for (PEP 562)."""
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
