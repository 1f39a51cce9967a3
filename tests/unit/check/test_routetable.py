from __future__ import annotations

import sys

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from ddlwa.check.routetable import TargetError, get_paths, load
from ddlwa.demo.shop import app as shop


async def endpoint(request):
    return PlainTextResponse("hello")


async def socket(websocket):
    await websocket.accept()


async def asgi(scope, receive, send):
    """Serve nothing."""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write modules that the test can import, and forget them afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_only_get_routes_without_parameters_are_found():
    """Other methods, path parameters, websockets and bare ASGI apps are left out."""
    app = Starlette(
        routes=[
            Route("/plain", endpoint),
            Route("/items/{item_id}", endpoint),
            Route("/orders", endpoint, methods=["POST"]),
            WebSocketRoute("/socket", socket),
            Mount("/raw", app=asgi),
        ]
    )
    assert list(get_paths(app)) == ["/plain"]


def test_docs_are_left_out():
    """The routes of FastAPI's own documentation are not the app's."""
    app = FastAPI()
    app.get("/items")(lambda: "item")
    assert list(get_paths(app)) == ["/items"]


def test_included_routers_and_mounted_apps_are_found():
    """A path is put together from the prefixes on the way to it."""
    router, inner = APIRouter(), FastAPI()
    router.get("/list")(lambda: "list")
    inner.get("/")(lambda: "inner")
    app = FastAPI()
    app.include_router(router, prefix="/items")
    app.mount("/sub", inner)
    assert list(get_paths(app)) == ["/items/list", "/sub/"]


def test_static_files_are_left_out(tmp_path):
    """A folder of files has no routes to ask for."""
    assert list(get_paths(Starlette(routes=[Mount("/static", StaticFiles(directory=tmp_path))]))) == []


def test_middlewares_do_not_hide_routes():
    """An app inside a middleware and a mount with middlewares of its own are looked into."""
    mount = Mount(
        "/sub", routes=[Route("/deep", endpoint)], middleware=[Middleware(GZipMiddleware, minimum_size=1)]
    )
    assert list(get_paths(GZipMiddleware(Starlette(routes=[mount])))) == ["/sub/deep"]


def test_an_app_without_a_route_table_has_no_paths():
    """A bare ASGI app is checked at / only."""
    assert list(get_paths(asgi)) == []


def test_the_shop_is_found_in_a_stable_order():
    """The demo's own routes come in the order of their definition."""
    assert list(get_paths(shop))[:3] == ["/", "/items", "/search"]


def test_an_app_is_loaded_by_its_dotted_name(module):
    """The attribute may be dotted, as uvicorn has it."""
    module("nested_app", "class box:\n    async def app(scope, receive, send): ...\n")
    assert callable(load("nested_app:box.app"))


def test_a_factory_is_called(module):
    """What can be called without arguments is taken for a factory, as uvicorn does."""
    module("factory_app", "from fastapi import FastAPI\ndef make():\n    return FastAPI(title='made')\n")
    assert load("factory_app:make").title == "made"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module:app", "no module 'no_such_module'"),
        ("no_such_package.main:app", "no module 'no_such_package'"),
        ("empty_module:app", "'empty_module' has no attribute 'app'"),
        ("empty_module:number", "no ASGI app but an object of type int"),
    ],
)
def test_a_target_that_leads_nowhere_is_named(module, target, said):
    """A missing module, a missing attribute and a thing that is no app are three messages."""
    module("empty_module", "number = 3\n")
    with pytest.raises(TargetError, match=said):
        load(target)


def test_a_missing_import_inside_the_module_is_the_modules_error(module):
    """A module that imports what is missing is not taken for a missing module."""
    module("importing_app", "import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load("importing_app:app")
