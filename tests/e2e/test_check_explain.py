from __future__ import annotations

import json

import pytest
from check_command import run
from lwa_support import BINARIES, find

FRONTS = {
    "Lambda function URL": "lambda-function-url",
    "API Gateway HTTP API": "api-gateway",
    "API Gateway REST API": "api-gateway",
    "Application Load Balancer": "application-load-balancer",
}
EVENTS = {"SQS": "sqs", "SNS": "sns", "EventBridge": "eventbridge"}
SOURCES = {**FRONTS, **EVENTS}


def explain(*arguments, cwd, **env):
    """Explain; return what stdout has below each heading, and the report's invocations by source."""
    file = cwd / "report.json"
    code, stdout, stderr = run(*arguments, "--explain", "--json", str(file), cwd=cwd, **env)
    assert (code, stderr) == (0, ""), stdout
    assert max(map(len, stdout.splitlines())) <= 100
    trees = stdout.rpartition("with frozen time\n\n")[2].rstrip("\n").split("\n\n")
    drawn = dict(tree.split("\n", 1) for tree in trees)
    explained = json.loads(file.read_text(encoding="utf-8"))["explained"]
    return drawn, {one["source"]: one for one in explained}


def assert_explained(drawn, explained):
    """Assert that each source has its heading, and one request span with its tags, once cold."""
    requests = {
        **dict.fromkeys(FRONTS, ("GET /items/1, 200", "GET /items/{item_id}")),
        **dict.fromkeys(EVENTS, ("POST /events", "POST /events")),
    }
    assert list(drawn) == [f"{source}  {request}" for source, (request, _) in requests.items()]
    for number, (source, (request, resource)) in enumerate(requests.items()):
        spans = explained[source]["spans"]
        (root,) = (span for span in spans if span["name"] == "fastapi.request")
        assert root["resource"] == resource
        assert root["tags"]["function_trigger.event_source"] == SOURCES[source]
        assert root["tags"]["cold_start"] == ("true" if number == 0 else "false")
        assert len({span["trace_id"] for span in spans}) == 2  # the audit's span is a trace of its own
        text = drawn[f"{source}  {request}"]
        assert f"── fastapi.request  {resource}  " in text
        assert "function_arn" in text
        assert "_dd." not in text
        assert ("db.query  SELECT item" if source in FRONTS else "orders.take") in text


@pytest.mark.parametrize("mode", ["hold", "extension"])
def test_each_event_source_has_its_tree(tmp_path, mode):
    """Behind the built-in adapter, in both modes, each source's request is explained."""
    assert_explained(*explain("--demo", "--requests", "1", cwd=tmp_path, DDLWA_MODE=mode))


@pytest.mark.parametrize("binary", BINARIES)
def test_the_real_adapter_has_the_same_trees(tmp_path, binary):
    """The sources' requests come through the real adapter too; a comparison explains ddlwa's only."""
    arguments = ("--demo", "--compare", "--requests", "1", "--adapter", str(find(binary).path))
    assert_explained(*explain(*arguments, cwd=tmp_path))


def test_an_app_without_a_path_for_events_is_explained(tmp_path):
    """Its 404 is a trace like others; work after a response is shown with the invocation that began it."""
    (tmp_path / "users_app.py").write_text(
        "import asyncio\n"
        "from fastapi import BackgroundTasks, FastAPI\n"
        "app = FastAPI()\n"
        "@app.get('/start')\n"
        "async def start(tasks: BackgroundTasks):\n"
        "    tasks.add_task(asyncio.sleep, 0.01)\n"
    )
    drawn, explained = explain("users_app:app", "--requests", "2", cwd=tmp_path)
    for source in FRONTS:
        names = [span["name"] for span in explained[source]["spans"]]
        assert names.count("fastapi.request") == names.count("fastapi.background_task") == 1
    for source in EVENTS:
        (span,) = explained[source]["spans"]
        assert span["tags"]["http.status_code"] == "404"
        assert "http.status_code" in drawn[f"{source}  POST /events"]


def test_an_invocation_without_an_end_does_not_change_the_verdict(tmp_path):
    """What ends the app is told where it happened; the exit code is that of the check."""
    (tmp_path / "mortal_app.py").write_text(
        "import os\n"
        "from fastapi import FastAPI\n"
        "app = FastAPI()\n"
        "@app.get('/')\n"
        "async def home(): return 1\n"
        "@app.post('/events')\n"
        "async def events(): os._exit(3)\n"
    )
    drawn, explained = explain("mortal_app:app", "--requests", "1", cwd=tmp_path)
    assert list(explained) == [*FRONTS, "SQS"]
    assert "exit" in explained["SQS"]["error"]
    assert "no trace arrived" in drawn["SQS  POST /events"]
