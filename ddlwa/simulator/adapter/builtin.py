"""A built-in adapter that behaves like AWS's Lambda Web Adapter."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from ddlwa.simulator.adapter.contexts import lambda_context
from ddlwa.simulator.adapter.inbound import app_request
from ddlwa.simulator.adapter.options import AdapterOptions, InvokeMode
from ddlwa.simulator.adapter.outbound import AppResponse, buffered, prelude, stream_error
from ddlwa.simulator.errors import AdapterFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from typing_extensions import Self

    from ddlwa.simulator.adapter.inbound import AppRequest
    from ddlwa.simulator.environment import Function

__all__ = ["BuiltinAdapter"]

_POLL_S = 0.01
_POOLED_S = 4.0
_ASYNC_INIT_S = 9.8
_RUNTIME = "2018-06-01/runtime/invocation"
_EXTENSION = "2020-01-01/extension"
# What aiohttp would add by itself and the adapter's own client does not.
_NOT_ADDED = ("accept", "accept-encoding", "user-agent", "content-type")
_LINE_LIMIT = 256 * 1024
_ERROR = "&alloc::boxed::Box<dyn core::error::Error + core::marker::Send + core::marker::Sync>"
_PANIC = "&alloc::boxed::Box<dyn core::any::Any + core::marker::Send>"


class _FailedError(Exception):
    """The invocation fails.

    Args:
        kind: The type of the error, as LWA names it.
        message: What it says.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.payload = {"errorType": kind, "errorMessage": message}


class BuiltinAdapter:
    """Takes invocations from the Runtime API to an HTTP server, and its responses back.

    Source: aws/aws-lambda-web-adapter 1.0.0-rc1, src/lib.rs. Not there: compression.

    Args:
        runtime_api: Host and port of the Runtime API.
        port: The app's port on 127.0.0.1.
        function: The function's configuration, which the app is told.
        options: What LWA's environment variables say.
    """

    process = None
    """The adapter's process: it has none of its own."""

    def __init__(self, *, runtime_api: str, port: int, function: Function, options: AdapterOptions) -> None:
        self._runtime = f"http://{runtime_api}/{_RUNTIME}"
        self._extension = f"http://{runtime_api}/{_EXTENSION}"
        self._app = f"http://127.0.0.1:{port}"
        self._check_port = options.readiness_port or port
        self._check = URL(
            f"http://127.0.0.1:{self._check_port}/{options.readiness_path.lstrip('/')}", encoded=True
        )
        self._function = function
        self._options = options
        self._is_ready = False

    async def __aenter__(self) -> Self:
        self._session = _session()
        self._app_session = _session()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()
        await self._app_session.close()

    async def forget_connections(self) -> None:
        """Close the idle connections to the app, which the next invocation then opens anew.

        An app that is stopped at the last byte of a response has not yet told whether it keeps the
        connection. The adapter would have noticed by the time of the next invocation.
        """
        await self._app_session.close()
        self._app_session = _session()

    async def run(self) -> None:
        """Register, wait until the app is ready, serve one invocation after the other, until cancelled."""
        tasks = [asyncio.create_task(self._stay_registered())]
        try:
            if self._options.async_init:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wait_ready(), _ASYNC_INIT_S)
            else:
                await self._wait_ready()
            tasks += [asyncio.create_task(self._serve()) for _ in range(self._options.concurrency)]
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _stay_registered(self) -> None:
        """Be an extension without events, so that Lambda ends the app with SIGTERM."""
        async with self._session.post(
            f"{self._extension}/register",
            json={"events": []},
            headers={"Lambda-Extension-Name": "lambda-adapter"},
        ) as response:
            response.raise_for_status()
            identifier = response.headers["Lambda-Extension-Identifier"]
        async with self._session.get(
            f"{self._extension}/event/next", headers={"Lambda-Extension-Identifier": identifier}
        ) as response:
            await response.read()

    async def _wait_ready(self) -> None:
        """Wait until the app answers the readiness check."""
        while not self._is_ready:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                self._is_ready = await self._probe()
            if not self._is_ready:
                await asyncio.sleep(_POLL_S)

    async def _probe(self) -> bool:
        if self._options.readiness_by_tcp:
            _, writer = await asyncio.open_connection("127.0.0.1", self._check_port)
            writer.close()
            await writer.wait_closed()
            return True
        async with self._app_session.get(self._check, allow_redirects=False) as response:
            await response.read()
            return response.status in self._options.healthy

    async def _serve(self) -> None:
        while True:
            async with self._session.get(f"{self._runtime}/next") as response:
                response.raise_for_status()
                payload = await response.read()
                lambda_headers = response.headers
            request_id = lambda_headers["Lambda-Runtime-Aws-Request-Id"]
            try:
                await self._wait_ready()
                context = lambda_context(lambda_headers, self._function)
                try:
                    request = app_request(payload, lambda_context=context, options=self._options)
                except ValueError:
                    raise _FailedError(_PANIC, "Lambda panicked") from None
                await self._forward(request, request_id)
            except _FailedError as failure:
                await self._post(f"{request_id}/error", _in_pieces(json.dumps(failure.payload).encode()))

    async def _forward(self, request: AppRequest, request_id: str) -> None:
        """Send a request to the app, and post its response."""
        response = await self._ask_app(request)
        try:
            if response.status in self._options.error_statuses:
                raise _FailedError(
                    _ERROR, f"Request failed with configured error status code: {response.status}"
                )
            head = AppResponse.read(response.status, response.raw_headers)
            if self._options.invoke_mode is InvokeMode.RESPONSE_STREAM:
                await self._post(
                    f"{request_id}/response",
                    _stream(head, response),
                    **{
                        "Lambda-Runtime-Function-Response-Mode": "streaming",
                        "Content-Type": "application/vnd.awslambda.http-integration-response",
                    },
                )
                return
            try:
                content = await response.read()
            except (aiohttp.ClientError, OSError):
                raise _FailedError(_PANIC, "Lambda panicked") from None
        finally:
            # Not `async with`: that waits until the request's body has left, and an app that did
            # not read it is stopped by now.
            response.release()
        try:
            answer = buffered(head, content, source=request.source)
        except UnicodeEncodeError:
            raise AdapterFailedError(
                "the Lambda Web Adapter would exit now: a header of the app's response is not UTF-8",
                part="adapter",
            ) from None
        await self._post(f"{request_id}/response", _in_pieces(answer))

    async def _ask_app(self, request: AppRequest) -> aiohttp.ClientResponse:
        try:
            return await self._app_session.request(
                request.method,
                URL(f"{self._app}{request.target}", encoded=True),
                headers=[*request.headers, ("content-length", str(len(request.body)))],
                data=_in_pieces(request.body),
                allow_redirects=False,
            )
        except aiohttp.ClientConnectorError:
            raise _FailedError(_ERROR, "client error (Connect)") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise _FailedError(_ERROR, "client error (SendRequest)") from None

    async def _post(self, path: str, data: Any, **headers: str) -> None:
        async with self._session.post(f"{self._runtime}/{path}", data=data, headers=headers) as response:
            await response.read()


async def _stream(head: AppResponse, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    yield prelude(head)
    try:
        async for piece in response.content.iter_any():
            yield piece
    except (aiohttp.ClientError, OSError):
        yield stream_error("error reading a body from connection")


def _session() -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_POOLED_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=_NOT_ADDED,
        auto_decompress=False,
        max_line_size=_LINE_LIMIT,
        max_field_size=_LINE_LIMIT,
    )
    # LWA never repeats a request, and there is no public switch for it.
    session._retry_connection = False  # noqa: SLF001
    return session


def _in_pieces(body: bytes) -> io.BytesIO | None:
    """Return a body in the form that aiohttp writes piece by piece, so that a large one blocks nothing."""
    return io.BytesIO(body) if body else None
