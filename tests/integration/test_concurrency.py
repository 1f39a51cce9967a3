import asyncio
import dataclasses
import gc
import time

import pytest
from ddtrace.trace import tracer
from ddtrace_writers import native, using
from endings import ALL, BARE, ENDINGS, STACKS
from gates import gate
from span_trees import describe
from wire_server import serve

import ddlwa
from ddlwa import patch
from ddlwa import serve as serve_module

OFTEN_S = 0.05

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/json",
    "raw_path": b"/json",
    "query_string": b"",
    "server": ("127.0.0.1", 80),
    "client": ("127.0.0.1", 1),
}
FIFTY = [ending for ending in ENDINGS if ending.name != "distributed" and ending.stacks == STACKS][:50]
BY_TRACE = dict(enumerate(FIFTY, start=1001))


@pytest.fixture
def ticking(agent):
    """Have ddtrace's own thread send often, as it does in company."""
    with using(native(agent.url, processing_interval=OFTEN_S)):
        yield


def request_of(number):
    """Give an ending's request with a trace id of its own, to know its spans by."""
    request = BY_TRACE[number].request
    headers = (("x-datadog-trace-id", str(number)), ("x-datadog-parent-id", "1"))
    return dataclasses.replace(request, headers=(*request.headers, *headers))


def spans_of(number, agent):
    """Give what has been delivered of a trace."""
    return [span for span in agent.spans() if span.trace_id == number]


def traces(agent):
    """Describe all that has been delivered, by trace; whether a generator is collected first may vary."""
    return {n: describe(spans_of(n, agent), ending.tolerance) for n, ending in BY_TRACE.items()}


@pytest.mark.parametrize("stack", [BARE, ALL])
def test_guarantee_7_concurrent_requests_keep_their_own_gate(stack, agent, app_behind):
    """Fifty requests at once, each ended in its own way, have the traces that they have one by one."""
    app = app_behind(stack)
    requests = [request_of(number) for number in BY_TRACE]
    completed = []
    with gate():
        agent.clear()
        for request in requests:
            serve(app, request)
        tracer.flush()
        alone = traces(agent)
        agent.clear()
        exchanges = serve(app, *requests, on_complete=completed.append)
        tracer.flush()

    assert [exchange.status for exchange in exchanges] == [ending.status for ending in FIFTY]
    assert traces(agent) == alone
    assert len(completed) == len(requests)


@pytest.mark.usefixtures("ticking")
def test_responses_in_company_share_a_flush(agent, app_behind):
    """Of many that are served at once none waits, and one flush is for all; one alone is delivered first."""
    app = app_behind(BARE)
    seen = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        if message["type"] == "http.response.body":
            seen.append(requests())

    def requests():
        return sum(span.name == "fastapi.request" for span in agent.spans())

    async def main():
        await asyncio.gather(*(app({**SCOPE, "headers": []}, receive, send) for _ in range(8)))
        until_s = time.monotonic() + 10
        while requests() < 8:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await app({**SCOPE, "headers": []}, receive, send)

    with gate():
        agent.clear()
        sent = ddlwa.stats()["delivery"]["sent"]
        asyncio.run(main())
        assert ddlwa.stats()["delivery"]["sent"] == sent + 9
    assert seen == [0] * 8 + [9]
    assert len(agent.chunks()) == 9


async def in_company(serving, *apps):
    """Serve apps once others have been served at the same time; give what happened to each, in its order."""
    events = [[] for _ in apps]

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def quick(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def served(app, events):
        async def keep(message):
            events.append(message["type"])

        return serving.serve(app, {**SCOPE, "headers": [], "events": events}, receive, keep)

    await asyncio.gather(*(served(quick, []) for _ in range(8)))
    await asyncio.gather(*map(served, apps, events), return_exceptions=True)
    return events


def test_guarantee_7_in_company_nothing_is_held(agent):
    """Where no freeze can come a response leaves when the app sends it, whatever the app does after it."""

    async def linger(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        await asyncio.sleep(0.01)
        scope["events"].append("done")
        raise ValueError("after the response")

    async def main():
        return await in_company(patch.serving(), linger, linger)

    with gate():
        assert asyncio.run(main()) == [["http.response.start", "http.response.body", "done"]] * 2
        assert patch.serving().ledger.in_flight == 0


@pytest.mark.usefixtures("ticking")
def test_a_request_that_has_lost_its_company(agent):
    """One that began in company and ends alone, much later, is delivered, too."""

    async def linger(scope, receive, send):
        with tracer.start_span("lingering", child_of=None):
            await asyncio.sleep(0.2)

    async def main():
        await in_company(patch.serving(), linger)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(_until, lambda: [span.name for span in agent.spans()] == ["lingering"])

    with gate():
        agent.clear()
        asyncio.run(main())


def _until(holds):
    until_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


async def delivered_in_company(agent):
    """Serve two apps in company whose traces are done, and wait for these, before the apps are done."""
    served = asyncio.Event()

    async def linger(scope, receive, send):
        tracer.start_span("responded", child_of=None).finish()
        await served.wait()

    lingering = asyncio.create_task(in_company(patch.serving(), linger, linger))
    names = ["responded"] * 2
    await asyncio.to_thread(_until, lambda: [span.name for span in agent.spans()] == names)
    served.set()
    await lingering


@pytest.mark.usefixtures("ticking")
def test_a_response_in_company_is_delivered_whatever_its_app_still_does(agent):
    """A background task may go on for long: the trace of what has left does not wait for it."""
    with gate():
        agent.clear()
        asyncio.run(delivered_in_company(agent))


@pytest.mark.usefixtures("ticking")
def test_in_company_an_agent_that_works_again_is_noticed(agent):
    """No request is ever alone, and there is no other time to try it."""
    with gate():
        agent.clear()
        for _ in range(3):
            patch.serving().delivery._breaker.failed()
        assert ddlwa.stats()["delivery"]["breaker"] == "open"
        asyncio.run(delivered_in_company(agent))


@pytest.mark.usefixtures("ticking")
def test_an_agent_that_cannot_be_tried_again(agent, monkeypatch, warnings_said):
    """Traces are sent all the same, and it is said once."""

    def fail():
        raise RuntimeError("no more threads")

    with gate():
        agent.clear()
        monkeypatch.setattr(patch.serving().delivery, "try_again", fail)
        asyncio.run(delivered_in_company(agent))
        patch.serving().look_around()
    assert warnings_said() == ["cannot find out whether the trace agent works again"]


@pytest.mark.usefixtures("ticking")
def test_freezes_are_looked_for_when_company_is_over(agent, monkeypatch):
    """A busy server is not kept from its work by looking for them; once it is idle, one is found."""

    async def quick(scope, receive, send):
        tracer.start_span("work", child_of=None).finish()

    monkeypatch.setattr(serve_module, "_MOMENT_S", 1)
    with gate():
        ledger = patch.serving().ledger
        asyncio.run(in_company(patch.serving(), quick, quick))
        patch.serving().look_around()
        assert ledger._beat is None
        _until(lambda: ledger._beat is not None)


def test_a_request_in_company_whose_loop_is_gone(agent):
    """It ends without a word."""

    async def endless(scope, receive, send):
        await asyncio.Event().wait()

    with gate():
        serving = patch.serving()
        asyncio.run(in_company(serving))
        request = serving.serve(endless, {**SCOPE, "headers": []}, None, None)
        loop = asyncio.new_event_loop()
        task = loop.create_task(request)
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False
        loop.close()
        request.close()
        assert serving.ledger.in_flight == 0


def test_served_requests_are_no_garbage(agent, app_behind):
    """What is kept of a request goes with it: the garbage collector has nothing to do for it."""
    app = app_behind(BARE)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    async def main():
        await app({**SCOPE, "headers": []}, receive, send)
        gc.collect()
        for _ in range(50):
            await app({**SCOPE, "headers": []}, receive, send)
        return gc.collect()

    with gate():
        gc.disable()
        try:
            assert asyncio.run(main()) < 50
        finally:
            gc.enable()
