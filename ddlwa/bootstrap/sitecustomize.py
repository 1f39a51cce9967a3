"""Patches each interpreter that `ddlwa-run` starts, then runs the `sitecustomize` that this one hides."""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

import ddlwa.auto  # noqa: F401 - imported for what it does


def _run_hidden_sitecustomize() -> None:
    path = [Path(entry).resolve() for entry in sys.path]
    rest = path[path.index(Path(__file__).resolve().parent) + 1 :]
    spec = PathFinder.find_spec("sitecustomize", [str(entry) for entry in rest])
    if spec is not None and spec.loader is not None:
        module = sys.modules["sitecustomize"] = module_from_spec(spec)
        spec.loader.exec_module(module)


_run_hidden_sitecustomize()
