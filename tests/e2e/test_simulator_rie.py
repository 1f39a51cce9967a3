from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import uuid

import pytest
import rie
from local_api_suite import SCENARIOS, Client
from simulator_support import APPS, run

from ddlwa.simulator import EventSource, HttpRequest
from ddlwa.simulator.adapter import AdapterOptions, BuiltinAdapter
from ddlwa.simulator.environment import Function
from ddlwa.simulator.events import Arrival, http_event
from ddlwa.simulator.lifecycle import cancel
from ddlwa.simulator.local_api import LocalApi
from ddlwa.simulator.ports import free_ports
from ddlwa.simulator.runtime_api import Event

PAYLOAD = {"a": 1}
FUNCTION = Function(
    name="test_function", memory_mb=512, timeout_s=30, account="012345678912", handler="", region="us-east-1"
)
# By scenario and step: what the two answer where they differ, and why.
DIFFERENCES = {
    ("bodies", 0): "the message is that of Python's JSON parser, not of Go's",
    ("bodies", 1): "the message is that of Python's JSON parser, not of Go's",
    ("bodies", 2): "the message names no Go types",
    ("closed", 2): "the message is that of Python's JSON parser, not of Go's",
    (
        "account",
        0,
    ): "the emulator knows no account id; Lambda tells it to who asks, and so does the simulator",
}


@pytest.fixture(scope="session")
def emulator_path():
    return rie.find()


class Simulator:
    """The simulator's server in a thread, with an invocation for when all have asked for it."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.address, self._outcome = self._do(self._start())

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _start(self):
        self._api = LocalApi(function=FUNCTION)
        await self._api.start()
        return self._api.address, asyncio.create_task(self._invoke())

    async def _invoke(self):
        await self._api.wait_idle()
        event = Event(
            request_id=str(uuid.uuid4()),
            deadline_ms=1_795_000_000_000,
            function_arn=FUNCTION.arn,
            trace_id="",
            payload=PAYLOAD,
        )
        return await self._api.invoke(event)

    def result(self, timeout_s):
        async def wait():
            with contextlib.suppress(asyncio.TimeoutError):
                outcome = await asyncio.wait_for(asyncio.shield(self._outcome), timeout_s)
                return outcome.error.encode() if outcome.response is None else outcome.response
            return None

        return self._do(wait())

    async def _stop(self):
        await cancel(self._outcome)
        await self._api.close()

    def close(self):
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Emulator(rie.Emulator):
    """AWS's emulator, with an invocation for when all have asked for it."""

    def __init__(self, binary, directory, payload=PAYLOAD):
        super().__init__(binary, directory)
        self.result = self.invoke(json.dumps(payload).encode())


def described(body):
    """Return an error's body as the simulator describes it, and anything else as it is."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        error = json.loads(body)
        return f"{error['errorType']}: {error['errorMessage']}".encode()
    return body


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_same_request_same_answer(emulator_path, tmp_path, scenario):
    """The simulator answers each request, right or wrong, as AWS's emulator does, but for what is listed."""
    ends = SCENARIOS[scenario][-1].waits
    seen = []
    for server in (Emulator(emulator_path, tmp_path), Simulator()):
        with contextlib.closing(server), contextlib.closing(Client(server.address)) as client:
            answers = client.run(SCENARIOS[scenario])
            seen.append((answers, described(server.result(5)) if ends else None))
    (theirs, their_result), (ours, our_result) = seen
    for number, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        if (scenario, number) in DIFFERENCES:
            assert our != their, DIFFERENCES[scenario, number]
            assert our[0] == their[0]
        else:
            assert our == their, f"step {number}"
    assert our_result == their_result


def test_the_built_in_adapter_serves_the_emulator(emulator_path, tmp_path):
    """The built-in adapter takes invocations from AWS's emulator as it does from the simulator."""
    (port,) = free_ports(1)
    arrival = Arrival(request_id="id", trace_id="Root=1", now_ns=1, function=FUNCTION)
    event = http_event(HttpRequest(path="/length"), arrival, source=EventSource.FUNCTION_URL)
    uvicorn = [sys.executable, "-m", "uvicorn", "endings:app", "--port", str(port), "--log-level", "error"]
    environment = {**os.environ, "NOTES": str(tmp_path / "notes")}

    async def scenario(emulator):
        adapter = BuiltinAdapter(
            runtime_api=emulator.address, port=port, function=FUNCTION, options=AdapterOptions()
        )
        async with adapter:
            serving = asyncio.create_task(adapter.run())
            answers = [await asyncio.to_thread(emulator.result, 20)]
            for _ in range(2):
                wait = await asyncio.to_thread(emulator.invoke, json.dumps(event).encode())
                answers.append(await asyncio.to_thread(wait, 20))
            await cancel(serving)
        return answers

    with (
        contextlib.closing(Emulator(emulator_path, tmp_path, event)) as emulator,
        subprocess.Popen([*uvicorn, "--lifespan", "off"], cwd=APPS, env=environment) as app,
    ):
        try:
            answers = [json.loads(answer) for answer in run(scenario(emulator))]
        finally:
            app.kill()
    assert [(answer["statusCode"], answer["body"]) for answer in answers] == [(200, "ab")] * 3
