"""The public names, and what importing them costs."""

import subprocess
import sys

import pytest

import ddlwa


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_public_names():
    """Every public name can be had, and nothing else."""
    for name in ddlwa.__all__:
        assert getattr(ddlwa, name) is not None
    assert dir(ddlwa) == sorted(ddlwa.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ddlwa.nonsense


def test_import_loads_nothing_else():
    """`import ddlwa` loads no module but itself: every public name comes when it is asked for."""
    code = "import sys, ddtrace; before = set(sys.modules); import ddlwa; print(*set(sys.modules) - before)"
    assert python(code).split() == ["ddlwa"]


def test_runtime_never_loads_the_tooling():
    """With everything patched, none of the tooling and none of its libraries is loaded."""
    code = (
        "import os; os.environ['DDLWA_ENABLED'] = 'true'\n"
        "import sys, ddtrace, ddtrace.trace\n"
        "before = set(sys.modules)\n"
        "import ddlwa.auto, ddlwa.serve, ddlwa.extension, ddlwa.metrics\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = python(code).split()
    assert "ddlwa.patch" in loaded
    for name in ("argparse", "jinja2", "rich", "aiohttp", "pytest", "uvicorn", "fastapi", "starlette"):
        assert name not in loaded
    for name in ("ddlwa.cli", "ddlwa.check", "ddlwa.report", "ddlwa.simulator", "ddlwa.demo"):
        assert name not in loaded
