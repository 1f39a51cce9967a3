"""The pytest plugin: a simulated Lambda and a frozen clock as fixtures.

Every run of pytest loads it, so that nothing is imported here that one can do without.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ddlwa.testing.clock import FrozenClock
    from ddlwa.testing.sandbox import LambdaSandbox

_MARKER = (
    "ddlwa(app, mode, adapter, invoke_mode, moment, env): how the lambda_sandbox of this test is to be; "
    'such as @pytest.mark.ddlwa(app="main:app", mode="extension")'
)
_INI = {
    "app": "the app that lambda_sandbox runs, as MODULE:ATTR",
    "mode": "hold, extension, or plain for ddtrace without ddlwa; else what DDLWA_MODE says",
    "adapter": "builtin (the default), lwa for the Lambda Web Adapter on PATH, or the path of its executable",
    "invoke_mode": "buffered or response_stream; else what AWS_LWA_INVOKE_MODE says",
    "moment": "adversarial (the default): the app is stopped at the byte that completes its response; "
    "faithful: when Lambda may",
}
# What the extra brings, as far as the fixtures can't be made without it.
_SANDBOX_NEEDS = ("aiohttp", "anyio", "ddapm_test_agent", "uvicorn")
_CLOCK_NEEDS = ("freezegun", "aiohttp")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini options."""
    for name, meaning in _INI.items():
        parser.addini(f"ddlwa_{name}", meaning, default="")
    parser.addini(
        "ddlwa_env", "variables for the app, a line each, as NAME=value", type="linelist", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(scope="session")
def lambda_sandboxes(
    pytestconfig: pytest.Config,
) -> Iterator[Callable[..., AbstractContextManager[LambdaSandbox]]]:
    """Start apps in simulated Lambdas, each for a `with` block: for fixtures with a scope of their own.

    It takes the options of the marker as keywords; what is not given is as the ini options say.
    """
    with ExitStack() as stack:
        with _failures():
            _need(_SANDBOX_NEEDS, by="lambda_sandbox")
            from ddlwa.testing.options import Options  # noqa: PLC0415  # not before a test needs it
            from ddlwa.testing.pool import SandboxPool  # noqa: PLC0415  # as above

            pool = stack.enter_context(SandboxPool(cwd=pytestconfig.rootpath))

        @contextmanager
        def start(**options: Any) -> Iterator[LambdaSandbox]:
            with ExitStack() as inner:
                with _failures():
                    wanted = Options.read({**_from_ini(pytestconfig), **options})
                    sandbox = inner.enter_context(pool.start(wanted))
                yield sandbox
                # pytest shows it for a test that fails.
                sys.stdout.write(sandbox.output())

        yield start


@pytest.fixture
def lambda_sandbox(
    request: pytest.FixtureRequest,
    lambda_sandboxes: Callable[..., AbstractContextManager[LambdaSandbox]],
) -> Iterator[LambdaSandbox]:
    """Run the app of the marker `ddlwa`, or of the ini option `ddlwa_app`, in a simulated Lambda."""
    with _failures():
        options = _from_markers(request.node)
    with lambda_sandboxes(**options) as sandbox:
        yield sandbox


@pytest.fixture
def frozen_clock(request: pytest.FixtureRequest) -> Iterator[FrozenClock]:
    """Freeze the clock of this process, for ddtrace's spans, too."""
    with ExitStack() as stack:
        with _failures():
            if "lambda_sandboxes" in request.fixturenames:
                raise _failure(
                    "frozen_clock freezes this process, in which lambda_sandbox works, and the sandbox has a "
                    "clock of its own, which sandbox.freeze() moves: use one of the two in a test."
                )
            _need(_CLOCK_NEEDS, by="frozen_clock")
            try:
                from ddlwa.testing.clock import frozen_clock as freeze  # noqa: PLC0415  # as in lambda_sandboxes
            except ImportError as error:
                raise _failure(
                    f"frozen_clock cannot be had with this ddtrace: {error}. ddlwa supports >=3.19,<5."
                ) from None
            clock = stack.enter_context(freeze())
        yield clock


def _from_ini(config: pytest.Config) -> dict[str, Any]:
    options: dict[str, Any] = {name: config.getini(f"ddlwa_{name}") for name in _INI}
    lines = config.getini("ddlwa_env")
    if wrong := [line for line in lines if "=" not in line]:
        raise _failure(f"ddlwa_env has a line that is not of the form NAME=value: {wrong[0]!r}")
    options["env"] = dict(line.split("=", 1) for line in lines)
    return {name: value for name, value in options.items() if value}


def _from_markers(node: pytest.Item) -> dict[str, Any]:
    """Merge what the markers of a test, its class and its module say; the nearest wins."""
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("ddlwa"))):
        if marker.args:
            raise _failure(
                f'the marker ddlwa takes keywords, such as app="main:app", and not {marker.args[0]!r}'
            )
        options |= marker.kwargs
    return options


@contextmanager
def _failures() -> Iterator[None]:
    """Fail a fixture with the words of ddlwa's errors, without our frames."""
    from ddlwa.errors import DdlwaError  # noqa: PLC0415  # as in lambda_sandboxes

    try:
        yield
    except DdlwaError as error:
        raise _failure(str(error)) from None


def _need(packages: tuple[str, ...], *, by: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise _failure(
            f"{by} needs packages that are not here: {', '.join(missing)}; pip install 'ddlwa[pytest]'"
        )


def _failure(why: str) -> BaseException:
    return pytest.fail.Exception(why, pytrace=False)
