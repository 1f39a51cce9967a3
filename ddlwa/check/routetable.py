"""Child process: import an app as uvicorn would, write its routes as JSON.

Run as `python -m ddlwa.check.routetable MODULE:ATTR`. It is a process of its own because an import has
effects, and because the app's must not meet those of the check.
"""

from __future__ import annotations

import importlib
import inspect
import json
import operator
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

_DOCS = ("openapi_url", "docs_url", "redoc_url", "swagger_ui_oauth2_redirect_url")


class TargetError(Exception):
    """The import string leads to no app."""


def load(target: str) -> Any:
    """Import the app that an import string names.

    Args:
        target: `MODULE:ATTR`; the attribute may be dotted.

    Raises:
        TargetError: The module or the attribute does not exist. What goes wrong *inside* the module
            is raised as it is.
    """
    module_name, _, attributes = target.partition(":")
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # The module itself or a package on the way to it, and not something that it imports.
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise TargetError(f"there is no module {error.name!r}, neither here nor installed") from None
        raise
    try:
        found = operator.attrgetter(attributes)(found)
    except AttributeError:
        raise TargetError(f"the module {module_name!r} has no attribute {attributes!r}") from None
    if not callable(found):
        raise TargetError(f"it is no ASGI app but an object of type {type(found).__name__}")
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):
        return found
    return found()  # uvicorn too takes what can be called without arguments for a factory


def get_paths(app: Any, *, prefix: str = "") -> Iterator[str]:
    """Find the paths of an app that a plain GET can ask for: no path parameters, API docs or static files.

    Args:
        app: Anything, also an app inside middlewares; without `routes` it has no paths that could be found.
        prefix: Where it is mounted.
    """
    while not hasattr(app, "routes") and hasattr(app, "app"):
        app = app.app
    docs = {getattr(app, name, None) for name in _DOCS}
    for route in _flat(getattr(app, "routes", None) or ()):
        path = getattr(route, "path", None)
        if path is None or "{" in path:
            continue
        if getattr(route, "endpoint", None) is not None:
            if "GET" in (getattr(route, "methods", None) or ()) and path not in docs:
                yield prefix + path or "/"
        elif hasattr(route, "app"):
            # Where the mount has middlewares of its own, only the mount itself knows the routes.
            yield from get_paths(route.app if hasattr(route.app, "routes") else route, prefix=prefix + path)


def _flat(routes: Iterable[Any]) -> Iterable[Any]:
    """Resolve the routers that newer FastAPI versions keep as one entry of the route table."""
    flatten = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", iter)
    flat: Iterable[Any] = flatten(routes)
    return flat


def _below_import(frames: TracebackType | None) -> TracebackType | None:
    """Leave out our own frames and those of the import machinery, so that the app's come first."""
    machinery = (__file__, importlib.__file__, "<frozen importlib._bootstrap")
    rest = frames
    while rest is not None and rest.tb_frame.f_code.co_filename.startswith(machinery):
        rest = rest.tb_next
    return rest or frames


def main(argv: Sequence[str]) -> int:
    """Write `{"paths": […]}` or `{"error": …}` to stdout; the app's own output goes to stderr.

    Args:
        argv: The import string.

    Returns:
        The exit code: 0 with paths, 1 with an error.
    """
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        try:
            found = {"paths": list(dict.fromkeys(get_paths(load(argv[0]))))}
        except TargetError as error:
            json.dump({"error": str(error)}, answer)
            return 1
        except Exception as error:  # noqa: BLE001  # whatever the app's own code raises is for its author to see
            traceback.print_exception(error.with_traceback(_below_import(error.__traceback__)))
            json.dump({"error": f"importing it raised {type(error).__name__}"}, answer)
            return 1
        json.dump(found, answer)
        return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # the app may have started threads; nothing here is worth waiting for them
