import sys
from pathlib import Path

import pytest
from processes import python

DDTRACE_RUN = str(Path(sys.executable).with_name("ddtrace-run"))
CALL_FIRST = "import ddlwa; ddlwa.patch_all(strict=True)"
GATED = {"status": 200, "delivered": ["fastapi.request"], "spans": ["fastapi.request"]}


def request_spans(outcome):
    """Leave out the spans within the request's."""
    return {
        key: [name for name in value if name.endswith(".request")] if isinstance(value, list) else value
        for key, value in outcome.items()
    }


@pytest.mark.parametrize(
    "code",
    [
        f"import child; {CALL_FIRST}; app = child.fastapi_app()",
        f"import child, fastapi; {CALL_FIRST}; app = child.fastapi_app()",
        f"import child; app = child.fastapi_app(); {CALL_FIRST}",
        "import child, ddlwa.auto; app = child.fastapi_app()",
        "import child; app = child.fastapi_app(); import ddlwa.auto",
    ],
    ids=["before-fastapi", "after-fastapi", "after-the-app", "auto", "auto-after-the-app"],
)
def test_fastapi_is_gated_whatever_the_order(code):
    """FastAPI may be imported, and its app made, before or after; there are no warnings either way."""
    done = python(f"{code}; child.request(app)")
    assert [request_spans(outcome) for outcome in done.outcomes] == [GATED]
    assert done.log == []


@pytest.mark.parametrize(
    "code",
    [f"import child; {CALL_FIRST}", f"import child, starlette.applications; {CALL_FIRST}"],
    ids=["before-starlette", "after-starlette"],
)
def test_a_starlette_app_made_after_is_gated(code):
    """Starlette may be imported before; its app is to be made after."""
    done = python(f"{code}; child.request(child.starlette_app())")
    names = ["starlette.request"]
    assert done.outcomes == [{"status": 200, "delivered": names, "spans": names}]
    assert done.log == []


@pytest.mark.parametrize(
    ("code", "app"),
    [
        ("import child; app = child.starlette_app()", "Starlette"),
        ("import child; app = child.fastapi_app(); child.request(app)", "FastAPI 'shop'"),
    ],
    ids=["starlette-exists", "fastapi-has-served"],
)
def test_an_app_that_is_too_late_is_named(code, app):
    """An app that will not be traced is named, with what to do; strict raises that."""
    warned = python(f"{code}; import ddlwa; ddlwa.patch_all()")
    (warning,) = warned.log
    assert warning.startswith(f"{app} was created before ddlwa.patch_all() and will not be traced")
    assert "call patch_all() first" in warning
    raised = python(f"""\
{code}
import ddlwa
try:
    ddlwa.patch_all(strict=True)
except ddlwa.UnsupportedError as error:
    print(error)
""")
    assert warning in raised.lines


def test_a_fastapi_app_that_is_too_late_goes_on():
    """The app that has served goes on untraced."""
    done = python(
        "import child, ddlwa; app = child.fastapi_app(); child.request(app); ddlwa.patch_all(); "
        "child.request(app)"
    )
    assert [outcome["status"] for outcome in done.outcomes] == [200, 200]


def test_integrations_are_switched_by_name():
    """`name=False` leaves a library alone, `name=True` adds one that ddtrace patches only when asked."""
    done = python("""\
import child, ddlwa
ddlwa.patch_all(strict=True, sqlite3=False, httplib=True)
import http.client, sqlite3
print(getattr(sqlite3, "_datadog_patch", False), getattr(http.client, "__datadog_patch", False))
child.request(child.fastapi_app())
""")
    assert "False True" in done.lines
    assert [request_spans(outcome) for outcome in done.outcomes] == [GATED]


@pytest.mark.parametrize("code", ["import ddtrace.auto, ddlwa.auto", "import ddlwa.auto, ddtrace.auto"])
def test_nothing_is_instrumented_twice_beside_ddtrace_auto(code):
    """With ddtrace's own bootstrap, before or after, a request has one request span."""
    done = python(f"import child; {code}; child.request(child.fastapi_app())")
    assert [request_spans(outcome) for outcome in done.outcomes] == [GATED]


def test_nothing_is_instrumented_twice_under_ddtrace_run(agent):
    """Under `ddtrace-run` a request has one request span."""
    agent.clear()
    done = python(
        f"import child; {CALL_FIRST}; child.request(child.fastapi_app())",
        env={"DDLWA_ENABLED": "true", "DD_TRACE_AGENT_URL": agent.url},
        under=[DDTRACE_RUN],
    )
    assert [outcome["status"] for outcome in done.outcomes] == [200]
    assert [span.name for span in agent.spans() if span.name.endswith(".request")] == ["fastapi.request"]
    assert done.log == []


def test_an_integration_that_ddtrace_run_has_patched_is_named(agent):
    """What can no longer be switched off is said, with what to do instead."""
    done = python(
        "import ddlwa; ddlwa.patch_all(httpx=False)",
        env={"DDLWA_ENABLED": "true", "DD_TRACE_AGENT_URL": agent.url},
        under=[DDTRACE_RUN],
    )
    (warning,) = done.log
    assert warning.startswith("httpx is patched by ddtrace-run; set DD_TRACE_HTTPX_ENABLED=false")


def test_guarantee_6_an_unsupported_ddtrace_is_left_as_it_is():
    """A ddtrace that lacks what ddlwa imports traces as it does by itself, with one warning."""
    done = python("""\
import child, ddtrace.contrib.asgi
del ddtrace.contrib.asgi.span_from_scope
import ddlwa
ddlwa.patch_all()
child.request(child.fastapi_app())
""")
    (outcome,) = done.outcomes
    assert outcome["delivered"] == []
    assert "fastapi.request" in outcome["spans"]
    (warning,) = done.log
    assert warning.startswith("ddlwa cannot patch this ddtrace (cannot import name 'span_from_scope'")


IN_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "shop"}


def test_the_log_writer_writes_before_the_response_is_complete():
    """In Lambda without an agent each trace is one line of JSON, out before the response is complete."""
    done = python(f"import child; {CALL_FIRST}; child.request(child.fastapi_app())", env=IN_LAMBDA)
    trace, complete, outcome = done.lines
    assert trace.startswith('{"traces": [[{')
    assert trace.count('"fastapi.request"') == 1
    assert complete == "complete"
    assert outcome.startswith("outcome")
    assert done.log == []


def test_the_log_writer_of_stock_ddtrace_is_too_late():
    """Without ddlwa the same line comes after the response."""
    done = python(
        f"import child; {CALL_FIRST}; child.request(child.fastapi_app())",
        env={**IN_LAMBDA, "DDLWA_ENABLED": "false"},
    )
    assert [line.split()[0] for line in done.lines] == ["complete", '{"traces":', "outcome"]
