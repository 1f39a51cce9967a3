"""What the life of a sandbox makes of times at which the machine does not keep up."""

import asyncio
from types import SimpleNamespace

from virtual_time import run

from ddlwa.simulator.lifecycle import Lifecycle
from ddlwa.simulator.runtime_api import Event

EVENT = Event(request_id="1", deadline_ms=0, function_arn="arn", trace_id="Root=1", payload={})


class App:
    """Stops itself some time after its response."""

    exited = False
    returncode = stopped_wall_ns = None

    def __init__(self):
        self.halted = asyncio.Event()

    async def wait_halted(self, *, timeout_s):
        await asyncio.wait([asyncio.ensure_future(self.halted.wait())], timeout=timeout_s)
        return self.halted.is_set()

    async def wait_exited(self):
        await asyncio.Event().wait()


class Api:
    """Has the response at once."""

    runtime = SimpleNamespace(init_error=None)
    extensions = SimpleNamespace(error=None, busy=[], wants_invocations=lambda: False)
    on_idle = None

    def invoke(self, event):
        outcome = asyncio.get_running_loop().create_future()
        outcome.set_result(SimpleNamespace(response=b"{}"))
        return outcome

    async def wait_idle(self):
        pass

    async def wait_for(self, condition):
        await asyncio.Event().wait()


class Freezer:
    """Says whether the app had stopped itself when it was to be stopped from outside."""

    def add(self, process):
        self.app = process

    async def stop(self, *, timeout_s):
        return self.app.halted.is_set()


async def had_stopped_itself(*, after_s, machine_stops_s=0.0):
    loop, freezer = asyncio.get_running_loop(), Freezer()
    lifecycle = Lifecycle(api=Api(), freezer=freezer, stops_itself=True)
    lifecycle._app = app = App()
    lifecycle._processes[app] = None
    freezer.add(app)

    def stand_still():
        loop.now += machine_stops_s

    loop.call_later(0.05, stand_still)
    loop.call_later(after_s, app.halted.set)
    _, stopped_itself = await lifecycle.invoke(EVENT, timeout_s=30.0)
    return stopped_itself


def test_an_app_is_given_time_to_stop_itself():
    """It is not stopped from outside before, or it would stop itself in its next invocation."""
    assert run(had_stopped_itself(after_s=4.0))


def test_an_app_that_does_not_stop_itself_is_stopped():
    """A server may answer by itself, which stops nothing."""
    assert not run(had_stopped_itself(after_s=6.0))


def test_a_machine_that_stands_still_leaves_the_app_its_time():
    """An hour in which nothing ran is nothing that the app had."""
    assert run(had_stopped_itself(after_s=3_600.2, machine_stops_s=3_600.0))
