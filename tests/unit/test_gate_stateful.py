"""Any app against any server and any agent: the server sees the app's messages, once, in order, in time."""

import asyncio

from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from virtual_time import VirtualTimeLoop

from ddlwa.expiry import Expiry
from ddlwa.gate import Gate, State

HOLD_S, FLUSH_S = 0.1, 0.2
TICK = 1e-6

statuses = st.sampled_from([100, 200, 204, 304, 404, 500])
headers = st.sampled_from(
    [[], [(b"content-length", b"0")], [(b"content-length", b"3")], [(b"content-length", b"x")], [(b"bad",)]]
)
starts = st.builds(
    lambda status, fields, trailers: {
        "type": "http.response.start",
        "status": status,
        "headers": fields,
        "trailers": trailers,
    },
    statuses,
    headers,
    st.booleans(),
)
bodies = st.builds(
    lambda data, more: {"type": "http.response.body", "body": data, "more_body": more},
    st.sampled_from([b"", b"a", b"abc", b"abcd"]),
    st.booleans(),
)
others = st.sampled_from(
    [
        {"type": "http.response.body"},
        {"type": "http.response.body", "body": None},
        {"type": "http.response.trailers", "headers": [], "more_trailers": True},
        {"type": "http.response.trailers", "headers": []},
        {"type": "http.response.pathsend", "path": "/x"},
        {"type": "http.response.zerocopysend", "file": None, "count": 1},
        {"type": "http.response.debug"},
        {"type": "nonsense"},
        {"status": 200},
        {},
    ]
)
messages = starts | bodies | bodies | others
durations = st.sampled_from([0.0, 0.001, 0.05, 0.1, 0.15, 0.3, 0.7, 1.0])


class GateMachine(RuleBasedStateMachine):
    """Drives one request: what the app does, what the server does, what the agent does."""

    def __init__(self):
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.commands = asyncio.Queue()
        self.sent = []
        self.sent_at = []
        self.got = []
        self.got_at = []
        self.server_busy_s = 0.0
        self.sending = 0
        self.server_s = 0.0
        self.server_fails = False
        self.failed = False
        self.flush_s = 0.0
        self.flush_error = None
        self.side_tasks = []
        self.outcome = None

    def step(self, seconds=0.0):
        """Let a little virtual time pass: enough for everything that is ready to run."""
        self.loop.run_until_complete(asyncio.sleep(seconds + TICK))

    # the server

    async def server_send(self, message):
        self.got.append(message)
        self.got_at.append(self.loop.time())
        if self.server_fails:
            self.failed = True
            raise OSError("client has gone")
        if self.server_s:
            begun = self.loop.time()
            self.sending += 1
            try:
                await asyncio.sleep(self.server_s)
            finally:
                self.sending -= 1
                self.server_busy_s += self.loop.time() - begun

    async def server_receive(self):
        await asyncio.Event().wait()

    # the agent, behind a delivery bounded as the real one is

    def begun(self):
        pass

    async def deliver(self, reason):
        await asyncio.sleep(min(self.flush_s, FLUSH_S))
        if self.flush_error is not None:
            raise self.flush_error

    # the app

    async def app(self, scope, receive, send):
        while True:
            name, argument, aside = await self.commands.get()
            action = self.act(name, argument, receive, send)
            if aside:
                self.side_tasks.append(asyncio.ensure_future(action))
            else:
                await action
            if name == "return":
                return "result"

    async def act(self, name, argument, receive, send):
        if name == "send":
            self.sent.append(dict(argument))
            self.sent_at.append(self.loop.time())
            await send(argument)
        elif name == "receive":
            await receive()
        elif name == "background":
            await self.gate.background_starts()
        elif name == "raise":
            raise argument

    @initialize(
        method=st.sampled_from(["GET", "GET", "HEAD"]), trailers=st.booleans(), first=starts | messages
    )
    def request_comes(self, method, trailers, first):
        extensions = {"http.response.trailers": {}} if trailers else None
        scope = {"type": "http", "method": method, "extensions": extensions}
        self.gate = Gate(scope, self.server_receive, self.server_send, trace=self, expiry=Expiry(HOLD_S))
        self.request = self.loop.create_task(self.gate.run(self.app))
        self.command("send", first)

    def command(self, name, argument=None, *, aside=False):
        self.commands.put_nowait((name, argument, aside))
        self.step()

    running = precondition(lambda self: not self.request.done())

    @running
    @rule(message=bodies, seconds=durations)
    def app_sends_body(self, message, seconds):
        self.command("send", message)
        self.step(seconds)

    @running
    @rule(message=messages, aside=st.booleans())
    def app_sends_anything(self, message, aside):
        self.command("send", message, aside=aside)

    @running
    @rule(name=st.sampled_from(["receive", "background"]))
    def app_does_something_aside(self, name):
        self.command(name, aside=True)

    @running
    @rule(name=st.sampled_from(["receive", "background"]))
    def app_waits_for_something(self, name):
        assume(name == "background" or self.gate._state is not State.STREAMING)
        self.command(name)

    @rule(seconds=durations)
    def time_passes(self, seconds):
        self.step(seconds)

    @rule(seconds=durations)
    def server_slows(self, seconds):
        self.server_s = seconds

    @rule(seconds=durations, error=st.sampled_from([None, RuntimeError("ours")]))
    def agent_changes(self, seconds, error):
        self.flush_s, self.flush_error = seconds, error

    @rule()
    def client_goes(self):
        self.server_fails = True

    @running
    @rule(how=st.sampled_from(["return", "raise", "cancel"]))
    def request_ends(self, how):
        if how == "cancel":
            self.request.cancel()
            self.step()
        else:
            self.command(how, ValueError("mine"))

    @invariant()
    def guarantee_1_the_servers_messages_are_the_apps(self):
        assert self.got == self.sent[: len(self.got)]

    @invariant()
    def guarantee_2_no_message_waits_beyond_the_budgets(self):
        allowed = HOLD_S + FLUSH_S + self.server_busy_s + 100 * TICK
        for at, reached in zip(self.sent_at, self.got_at, strict=False):
            assert reached - at <= allowed
        missing = self.sent_at[len(self.got_at) :]
        if missing and not self.sending:
            assert self.loop.time() - missing[0] <= allowed

    def teardown(self):
        if hasattr(self, "request"):
            self.loop.run_until_complete(asyncio.sleep(60))
            if not self.request.done():
                self.command("return")
                self.loop.run_until_complete(asyncio.sleep(60))
            if not self.request.done():  # the app waits for a disconnect that does not come
                self.request.cancel()
                self.loop.run_until_complete(asyncio.sleep(60))
            assert self.request.done()
            assert self.got == self.sent
            error = None if self.request.cancelled() else self.request.exception()
            assert (
                error is None or isinstance(error, ValueError) or (self.failed and isinstance(error, OSError))
            )
            assert self.gate._state in {State.STREAMING, State.OPEN}
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(1))
        for task in self.side_tasks:
            if task.done() and not task.cancelled():
                task.exception()
        self.loop.close()


TestGate = GateMachine.TestCase
TestGate.settings = settings(max_examples=400, stateful_step_count=25, deadline=None)
