from __future__ import annotations

import asyncio
import functools
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from conformance_cases import CASES, answer
from lwa_support import BINARIES, find
from simulator_support import APPS, run

from ddlwa.simulator import AdapterFailedError, AppFailedError, FreezeMoment, HttpRequest, InvokeMode, Sandbox

SERVER = [sys.executable, "-m", "uvicorn", "echo:app", "--port", "{port}", "--http", "h11"]
SERVER += ["--lifespan", "off", "--log-level", "critical", "--no-server-header", "--no-date-header"]
MODES = list(InvokeMode)
ABSENT = "absent"


@dataclass(frozen=True)
class Known:
    """A difference between the built-in adapter and the real one that is accepted.

    Args:
        reason: Why.
        where: A pattern for the case and the place in its observation.
        versions: A pattern for the adapter's versions that have it.
        modes: The invoke modes that have it.
    """

    reason: str
    where: str
    versions: str = ""
    modes: tuple[InvokeMode, ...] = tuple(MODES)


KNOWN_DIFFERENCES = (
    Known(
        "LWA knows of tenants since 1.0; the built-in adapter is like 1.0",
        where=r".*: asked\[0\]\.headers\.x-amzn-lambda-context\[0\]\.tenant_id",
        versions="0[.]9",
    ),
    Known(
        "LWA 1.0 adds the text of the Rust panic to its error, which is of its libraries' making",
        where=r"target /semi;colon.* function-url: error|v2 bad body: error",
        versions="1[.]",
    ),
    Known(
        "LWA 1.0 adds the text of the Rust panic to its error, which is of its libraries' making",
        where=r"(error before the end.*|truncated chunk): error",
        versions="1[.]",
        modes=(InvokeMode.BUFFERED,),
    ),
    Known(
        "the built-in adapter's HTTP client reads head and body at once, and takes the one for as bad as "
        "the other where they come together",
        where=r"bad chunk: .*",
    ),
    Known("the built-in adapter does not compress", where=r"compression: .*", modes=(InvokeMode.BUFFERED,)),
    Known(
        "the built-in adapter does not compress",
        where=r"compression: .*",
        versions="0[.]9",
        modes=(InvokeMode.RESPONSE_STREAM,),
    ),
)


class Notes:
    """What the app noted, piece by piece."""

    def __init__(self, path):
        self.path = path
        self.seen = 0

    def fresh(self):
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        fresh, self.seen = lines[self.seen :], len(lines)
        return [json.loads(line) for line in fresh]


class Bench:
    """An echo app in a sandbox that is made anew when a case has broken it."""

    def __init__(self, adapter, mode, *, env, script, directory):
        self.notes = Notes(directory / "notes")
        (directory / "script").write_text(json.dumps(script), encoding="utf-8")
        paths = {"ECHO_SCRIPT": str(directory / "script"), "ECHO_NOTES": str(directory / "notes")}
        self.options = {"cwd": APPS, "env": {**env, **paths}, "adapter": adapter, "invoke_mode": mode}

    def sandbox(self, **more):
        return Sandbox(SERVER, moment=FreezeMoment.FAITHFUL, **self.options, **more)

    async def observe(self, sandbox, case):
        self.notes.fresh()
        invocation = await sandbox.invoke(case.asks, source=case.source, stage=case.stage)
        volatile = {
            invocation.request_id: "REQUEST-ID",
            f"127.0.0.1:{sandbox.port}": "APP",
        }
        asked = self.notes.fresh()
        for one in asked:
            one["query"] = sorted(one["query"].split("&"))  # the order of parameters is not kept
            one["headers"] = by_name(one["headers"])
            if "x-amzn-trace-id" in one["headers"]:
                volatile[one["headers"]["x-amzn-trace-id"][0]] = "TRACE-ID"
        response = invocation.response
        observed = {
            "asked": asked,
            "error": invocation.error,
            "response": response
            and {
                "status": response.status,
                "headers": by_name(response.headers),
                "body": response.body.decode("latin-1"),
            },
            "payload": (invocation.payload or b"").decode("latin-1") if response is None else None,
        }
        return dict(flat(steady(observed, volatile)))


def by_name(pairs):
    """Return the values by name: the order of names does not matter, that of values does."""
    headers = {}
    for name, value in pairs:
        context = name.endswith("-context") and value != "forged"
        headers.setdefault(name, []).append(json.loads(value) if context else value)
    return headers


def steady(value, volatile):
    """Return a value without what differs from run to run."""
    if isinstance(value, dict):
        times = {"deadline", "time", "timeEpoch", "requestTime", "requestTimeEpoch"}
        return {
            name: "TIME" if name in times and one else steady(one, volatile) for name, one in value.items()
        }
    if isinstance(value, list):
        return [steady(one, volatile) for one in value]
    if isinstance(value, str) and len(value) < 100_000:
        for found, name in volatile.items():
            value = value.replace(found, name)
        return re.sub(
            r'"(request)?(deadline|time|timeEpoch)":[^,}]*', r'"\2":TIME', value, flags=re.IGNORECASE
        )
    return value


def flat(value, place=""):
    """Yield every leaf of a value with its place."""
    if isinstance(value, dict) and value:
        for name, one in value.items():
            yield from flat(one, f"{place}.{name}".lstrip("."))
    elif isinstance(value, list) and value:
        for index, one in enumerate(value):
            yield from flat(one, f"{place}[{index}]")
    else:
        yield place, value


@functools.cache
def observe_all(adapter, mode):
    """Run every case, in one sandbox per environment, and return the observations by name."""
    groups = {}
    for name, case in CASES.items():
        groups.setdefault(tuple(case.env.items()), {})[name] = case

    async def observe_group(env, cases, directory):
        script = {
            case.asks.path
            if isinstance(case.asks, HttpRequest)
            else env["AWS_LWA_PASS_THROUGH_PATH"]: case.answer
            for case in cases.values()
            if case.answer
        }
        bench = Bench(adapter, mode, env=env, script=script, directory=directory)
        async with bench.sandbox() as sandbox:
            return {name: await bench.observe(sandbox, case) for name, case in cases.items()}

    async def scenario():
        observed = {}
        with tempfile.TemporaryDirectory() as directory:
            observations = [
                observe_group(dict(env), cases, Path(tempfile.mkdtemp(dir=directory)))
                for env, cases in groups.items()
            ]
            for some in await asyncio.gather(*observations):
                observed |= some
        return observed

    return run(scenario(), timeout_s=120)


@functools.cache
def differences(name, mode):
    """Return by case and place where the real adapter differs from the built-in one, with both values."""
    own, real = observe_all("builtin", mode), observe_all(find(name).path, mode)
    return {
        (case, place): (own[case].get(place, ABSENT), real[case].get(place, ABSENT))
        for case in CASES
        for place in {**own[case], **real[case]}
        if own[case].get(place, ABSENT) != real[case].get(place, ABSENT)
    }


def applies(known, version, mode):
    return mode in known.modes and re.match(known.versions, version)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("case", CASES)
def test_both_adapters_do_the_same(case, binary, mode):
    """The app is asked the same and the client answered the same, but for what is known."""
    known = [one for one in KNOWN_DIFFERENCES if applies(one, find(binary).version, mode)]
    unknown = {
        place: values
        for (found, place), values in differences(binary, mode).items()
        if found == case and not any(re.fullmatch(one.where, f"{case}: {place}") for one in known)
    }
    assert not unknown


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("known", KNOWN_DIFFERENCES, ids=lambda known: known.where)
def test_a_known_difference_is_still_there(known, binary, mode):
    """What is no difference any more is taken off the list."""
    if applies(known, find(binary).version, mode):
        places = [f"{case}: {place}" for case, place in differences(binary, mode)]
        assert any(re.fullmatch(known.where, place) for place in places)


READY = {
    "by default": {},
    "at a path": {"AWS_LWA_READINESS_CHECK_PATH": "/ready?a=%20b"},
    "by its old name": {"READINESS_CHECK_PATH": "/old"},
    "by tcp": {"AWS_LWA_READINESS_CHECK_PROTOCOL": "TCP"},
    "with status 404": {"AWS_LWA_READINESS_CHECK_PATH": "/404"},
    "below 600": {
        "AWS_LWA_READINESS_CHECK_PATH": "/500",
        "AWS_LWA_READINESS_CHECK_MIN_UNHEALTHY_STATUS": "600",
    },
    "by nonsense": {"AWS_LWA_READINESS_CHECK_PROTOCOL": "UDP", "AWS_LWA_ASYNC_INIT": "yes"},
}
UNREADY = {
    "with status 500": {"AWS_LWA_READINESS_CHECK_PATH": "/500"},
    "below 300": {
        "AWS_LWA_READINESS_CHECK_PATH": "/404",
        "AWS_LWA_READINESS_CHECK_MIN_UNHEALTHY_STATUS": "300",
    },
    "at a port": {"AWS_LWA_READINESS_CHECK_PORT": "9"},
}
SINCE_1 = {
    "by a list": {
        "AWS_LWA_READINESS_CHECK_PATH": "/500",
        "AWS_LWA_READINESS_CHECK_HEALTHY_STATUS": "200-299,500",
    },
}
SCRIPT = {f"/{status}": answer(status=status, headers=[["content-length", "0"]]) for status in (404, 500)}


async def readiness(adapter, env, directory):
    """Return whether the app was found ready, and the different requests that it took."""
    directory.mkdir()
    bench = Bench(adapter, InvokeMode.BUFFERED, env=env, script=SCRIPT, directory=directory)
    try:
        async with bench.sandbox(ready_timeout_s=2):
            ready = True
    except AppFailedError:
        ready = False
    asked = {json.dumps(one).replace(str(bench.notes.path), "") for one in bench.notes.fresh()}
    return ready, {re.sub(r"127\.0\.0\.1:\d+", "APP", one) for one in asked}


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize(
    ("name", "ready"), [*((n, True) for n in (*READY, *SINCE_1)), *((n, False) for n in UNREADY)]
)
def test_both_adapters_wait_for_the_app_alike(name, ready, binary, tmp_path):
    """The readiness check asks the same, and comes to the same result."""
    env = {**READY, **UNREADY, **SINCE_1}[name]
    if name in SINCE_1 and find(binary).version.startswith("0."):
        pytest.skip("came with 1.0")

    async def both():
        places = [("builtin", tmp_path / "own"), (find(binary).path, tmp_path / "real")]
        return await asyncio.gather(*(readiness(adapter, env, place) for adapter, place in places))

    own, real = run(both())
    assert own == real
    assert own[0] is ready


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["builtin", *BINARIES])
def test_a_response_header_that_is_not_utf_8(name, mode, tmp_path):
    """Buffered it is the end of the adapter; streamed the header is missing."""
    bad = answer(headers=[["x-bad", "\xff"], ["set-cookie", "a=\xff"], ["content-length", "0"]])
    adapter = name if name == "builtin" else find(name).path
    bench = Bench(adapter, mode, env={}, script={"/bad": bad}, directory=tmp_path)

    async def scenario():
        async with bench.sandbox() as sandbox:
            return await sandbox.invoke(HttpRequest(path="/bad"))

    if mode is InvokeMode.BUFFERED:
        with pytest.raises(AdapterFailedError):
            run(scenario())
    else:
        headers = by_name(run(scenario()).response.headers)
        assert "x-bad" not in headers
        assert headers["set-cookie"] == ["a=\N{REPLACEMENT CHARACTER}"]


LATE = """
import sys, time
time.sleep(10.2)
import uvicorn
uvicorn.run("echo:app", port=int(sys.argv[1]), lifespan="off", log_level="critical")
"""


def test_none_waits_for_ever_when_told_so(tmp_path):
    """With asynchronous init the first invocation comes before the app listens, and waits for it."""

    async def serve(adapter, directory):
        directory.mkdir()
        env = {"AWS_LWA_ASYNC_INIT": "true"}
        bench = Bench(adapter, InvokeMode.BUFFERED, env=env, script={}, directory=directory)
        command = [sys.executable, "-c", LATE, "{port}"]
        options = {"moment": FreezeMoment.FAITHFUL, "ready_timeout_s": 10.1}
        async with Sandbox(command, **options, **bench.options) as sandbox:
            waiting = bench.notes.fresh() == []
            invocation = await sandbox.invoke(HttpRequest(path="/late"))
        return waiting, invocation.response.status, {one["target"] for one in bench.notes.fresh()}

    async def all_of_them():
        adapters = ["builtin", *(find(name).path for name in BINARIES)]
        served = [serve(one, tmp_path / str(number)) for number, one in enumerate(adapters)]
        return await asyncio.gather(*served)

    assert all(one == (True, 200, {"/", "/late"}) for one in run(all_of_them()))
