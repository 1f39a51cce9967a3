from __future__ import annotations

import asyncio
import base64

import aiohttp
import pytest

from ddlwa.simulator.environment import Function
from ddlwa.simulator.local_api import LocalApi
from ddlwa.simulator.runtime_api import Event

FUNCTION = Function(name="shop", memory_mb=512, timeout_s=3)
STREAMING = {"Lambda-Runtime-Function-Response-Mode": "streaming"}


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 10))


def event(request_id="id-1", **more):
    return Event(
        request_id=request_id,
        deadline_ms=1_795_000_000_000,
        function_arn=FUNCTION.arn,
        trace_id="Root=1",
        payload={"a": 1},
        **more,
    )


class Serving:
    """The API, and a client of it."""

    def __init__(self, **options):
        self.api = LocalApi(function=FUNCTION, **options)

    async def __aenter__(self):
        await self.api.start()
        self._session = aiohttp.ClientSession(f"http://{self.api.address}")
        return self

    async def __aexit__(self, *_):
        await self._session.close()
        await self.api.close()

    async def next(self):
        async with self._session.get("/2018-06-01/runtime/invocation/next") as response:
            return response.status, await response.json(), response.headers

    async def post(self, path, data, headers=None):
        async with self._session.post(
            f"/2018-06-01/runtime/{path}", data=data, headers=headers or {}
        ) as response:
            return response.status, await response.json()


@pytest.mark.parametrize(
    "optional", [{}, {"client_context": '{"c":1}', "cognito_identity": '{"i":1}', "tenant_id": "blue"}]
)
def test_next_tells_all_about_an_invocation(optional):
    """The headers say what the invocation has, and nothing of what it has not."""

    async def scenario():
        async with Serving() as serving:
            serving.api.invoke(event(**optional))
            status, body, headers = await serving.next()
            assert (status, body) == (200, {"a": 1})
            told = {name: value for name, value in headers.items() if name.startswith("Lambda-")}
            names = {
                "client_context": "Lambda-Runtime-Client-Context",
                "cognito_identity": "Lambda-Runtime-Cognito-Identity",
                "tenant_id": "Lambda-Runtime-Aws-Tenant-Id",
            }
            assert told == {
                "Lambda-Runtime-Aws-Request-Id": "id-1",
                "Lambda-Runtime-Deadline-Ms": "1795000000000",
                "Lambda-Runtime-Invoked-Function-Arn": FUNCTION.arn,
                "Lambda-Runtime-Trace-Id": "Root=1",
                **{names[name]: value for name, value in optional.items()},
            }

    run(scenario())


def test_a_buffered_response():
    """A buffered response is the invocation's outcome, with its content type and its time."""

    async def scenario():
        async with Serving() as serving:
            future = serving.api.invoke(event())
            await serving.next()
            answer = await serving.post("invocation/id-1/response", b"ab", {"Content-Type": "text/x"})
            assert answer == (202, {"status": "OK"})
            outcome = await future
            assert (outcome.response, outcome.error, outcome.streamed) == (b"ab", None, False)
            assert outcome.content_type == "text/x"

    run(scenario())


async def pieces(*parts):
    for part in parts:
        yield part
        await asyncio.sleep(0)


def test_a_streamed_response():
    """A streamed response is collected with its prelude, however it was cut."""

    async def scenario():
        async with Serving() as serving:
            future = serving.api.invoke(event())
            await serving.next()
            content_type = "application/vnd.awslambda.http-integration-response"
            status, _ = await serving.post(
                "invocation/id-1/response",
                pieces(b'{"statusCode":', b"201}" + b"\0" * 5, b"\0\0\0a", b"b"),
                {**STREAMING, "Content-Type": content_type},
            )
            outcome = await future
            assert (status, outcome.streamed, outcome.content_type) == (202, True, content_type)
            assert outcome.response == b'{"statusCode":201}' + b"\0" * 8 + b"ab"
            assert outcome.error is None

    run(scenario())


async def raw(address, *parts):
    """Send bytes to the server and hang up; return what came back."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for part in parts:
        writer.write(part)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("trailers", "error"),
    [
        (b"", None),
        (b"Lambda-Runtime-Function-Error-Type: Runtime.X\r\n", "Runtime.X"),
        (
            b"Lambda-Runtime-Function-Error-Type: Runtime.X\r\nLambda-Runtime-Function-Error-Body: "
            + base64.b64encode(b'{"errorType":"T","errorMessage":"midway"}')
            + b"\r\n",
            "T: midway",
        ),
        (
            b"Lambda-Runtime-Function-Error-Type: Runtime.X\r\nLambda-Runtime-Function-Error-Body: ??\r\n",
            "Runtime.X",
        ),
    ],
)
def test_error_trailers(trailers, error):
    """A stream that fails midway says so in its trailers, and keeps what it had sent."""

    async def scenario():
        async with Serving() as serving:
            future = serving.api.invoke(event())
            await serving.next()
            head = (
                b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: a\r\n"
                b"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            answer = await raw(serving.api.address, head, b"2\r\nab\r\n0\r\n", trailers, b"\r\n")
            assert answer.startswith(b"HTTP/1.1 202")
            outcome = await future
            assert (outcome.response, outcome.error) == (b"ab", error)

    run(scenario())


@pytest.mark.parametrize(("mode", "response"), [(b"", None), (b"streaming", b"abc")])
def test_a_runtime_that_leaves_within_its_response(mode, response):
    """A response that breaks off is an error; of a stream, what had come is kept."""

    async def scenario():
        async with Serving() as serving:
            future = serving.api.invoke(event())
            await serving.next()
            await raw(
                serving.api.address,
                b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: a\r\n"
                b"Content-Length: 6\r\nLambda-Runtime-Function-Response-Mode: " + mode + b"\r\n\r\nabc",
            )
            outcome = await future
            assert outcome.response == response
            assert outcome.error.startswith("Runtime.TruncatedResponse")

    run(scenario())


def test_an_id_is_forgotten_with_the_next_invocation():
    """After the runtime has asked for its next invocation, the id of the last one is unknown."""

    async def scenario():
        async with Serving() as serving:
            serving.api.invoke(event("id-1"))
            await serving.next()
            await serving.post("invocation/id-1/response", b"1")
            assert (await serving.post("invocation/id-1/response", b"1"))[0] == 403
            serving.api.invoke(event("id-2"))
            _, _, headers = await serving.next()
            assert headers["Lambda-Runtime-Aws-Request-Id"] == "id-2"
            assert (await serving.post("invocation/id-1/response", b"1"))[0] == 400

    run(scenario())


def test_many_at_a_time():
    """On Managed Instances each invocation has a state of its own."""

    async def scenario():
        async with Serving(one_at_a_time=False) as serving:
            futures = [serving.api.invoke(event(f"id-{number}")) for number in range(3)]
            for number in range(3):
                _, _, headers = await serving.next()
                assert headers["Lambda-Runtime-Aws-Request-Id"] == f"id-{number}"
            for number in (2, 0, 1):
                assert (await serving.post(f"invocation/id-{number}/response", b"%d" % number))[0] == 202
                assert (await serving.post(f"invocation/id-{number}/response", b""))[0] == 400
            assert [(await future).response for future in futures] == [b"0", b"1", b"2"]

    run(scenario())


def test_idle_is_when_all_have_asked():
    """The sandbox is idle once the runtime and every extension wait, and the callback comes once, at once."""

    async def scenario():
        async with Serving(external={"tool": {"tool"}}) as serving:
            api, calls = serving.api, []
            waiting = [asyncio.create_task(serving.next())]
            await api.wait_for(lambda: api.runtime.ready)
            assert not api.idle  # the external extension has not registered
            async with aiohttp.ClientSession(f"http://{api.address}/2020-01-01/extension/") as session:
                register = session.post(
                    "register", json={"events": ["INVOKE"]}, headers={"Lambda-Extension-Name": "tool"}
                )
                async with register as response:
                    identifier = {
                        "Lambda-Extension-Identifier": response.headers["Lambda-Extension-Identifier"]
                    }
                assert (api.idle, api.extensions.busy) == (False, ("tool",))

                async def event_next():
                    async with session.get("event/next", headers=identifier) as response:
                        return await response.json()

                api.on_idle = lambda: calls.append(api.idle)
                waiting.append(asyncio.create_task(event_next()))
                await api.wait_idle()
                assert calls == [True]
                api.invoke(event())
                assert not api.idle
                _, invoked = await asyncio.gather(*waiting)
                assert invoked["eventType"] == "INVOKE"
                assert api.extensions.busy == ("tool",)
                assert calls == [True]

    run(scenario())
