"""Which real adapters the tests run: those that DDLWA_TEST_LWA names, else the one on PATH."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import pytest

from ddlwa.simulator import LwaBinary

BINARIES = os.environ.get("DDLWA_TEST_LWA", "lambda-adapter").split(os.pathsep)


@functools.cache
def find(name):
    """Return the adapter of that name or path; where there is none CI fails, and others skip."""
    found = shutil.which(name)
    if found is None:
        reason = f"no adapter {name}: `cargo install lambda_web_adapter`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return LwaBinary.find(Path(found))
