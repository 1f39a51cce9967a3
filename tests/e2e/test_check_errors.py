from __future__ import annotations

import pytest
from check_command import run

MODULES = {
    "raising": "def configure():\n    raise ValueError('no config')\nconfigure()\n",
    "importing": "import no_such_dependency\n",
    "exiting": "import sys\nprint('good bye')\nsys.exit(3)\n",
    "empty": "",
    "unready": (
        "from contextlib import asynccontextmanager\n"
        "from fastapi import FastAPI\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    raise RuntimeError('no database')\n"
        "    yield\n"
        "app = FastAPI(lifespan=lifespan)\n"
    ),
}


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("no_such_module", ["there is no module 'no_such_module'"]),
        ("empty", ["'empty' has no attribute 'app'"]),
        ("raising", ["raised ValueError", 'raising.py", line 2, in configure', "ValueError: no config"]),
        (
            "importing",
            ["raised ModuleNotFoundError", 'importing.py", line 1', "No module named 'no_such_dep"],
        ),
        ("exiting", ["ended the process with exit code 3", "good bye"]),
        ("unready", ["before it was ready", "RuntimeError: no database"]),
    ],
)
def test_an_app_that_can_not_be_checked_is_exit_code_2(tmp_path, module, said):
    """Each reason has its message, with the app's own output or traceback, and stdout stays empty."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    code, stdout, stderr = run(f"{module}:app", cwd=tmp_path)
    assert (code, stdout) == (2, "")
    for words in said:
        assert words in stderr


def test_the_traceback_begins_in_the_app(tmp_path):
    """Neither our frames nor those of the import machinery are in the way."""
    (tmp_path / "raising.py").write_text(MODULES["raising"])
    _, _, stderr = run("raising:app", cwd=tmp_path)
    lines = stderr.splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert "raising.py" in lines[2]
