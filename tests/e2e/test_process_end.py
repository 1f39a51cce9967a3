"""What becomes of traces when the process ends, forks, or has several loops and threads."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.faulty_agent import FaultyAgent

APPS = Path(__file__).parent / "end_apps"
START_S = 30
END_S = 4
CONTEXT = json.dumps({"request_id": "id-1", "deadline": 4_000_000_000_000})


def environment(agent, *, in_lambda):
    env = {**os.environ, "DDLWA_ENABLED": "true", "DD_TRACE_AGENT_URL": agent.url}
    env |= {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    if in_lambda:
        env |= {"AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}
    return env


@contextmanager
def child(command, agent, *, in_lambda=True):
    """Start a process whose output can be read once it has ended."""
    with subprocess.Popen(
        command,
        cwd=APPS,
        env=environment(agent, in_lambda=in_lambda),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def server(agent, *words, in_lambda=True):
    """Start the app under uvicorn; give its port and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ddlwa.run", sys.executable, "-m", "uvicorn", "ending:app"]
    command += ["--port", str(port), "--log-level", "warning", *words]
    with child(command, agent, in_lambda=in_lambda) as process:
        until = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, process.stdout.read()
                assert time.monotonic() < until
                time.sleep(0.02)
        yield port, process


def get(port, path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"x-amzn-lambda-context": CONTEXT})
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    assert answer.status == 200
    return content


def end(process, *, signum=signal.SIGTERM):
    """End a process; give what it printed and how long that took."""
    begun = time.monotonic()
    process.send_signal(signum)
    output, _ = process.communicate(timeout=30)
    return output, time.monotonic() - begun


def counted(agent):
    return Counter(span.name for span in agent.spans())


@pytest.mark.parametrize("fault", ["refused", "hung", "status:503"])
def test_guarantee_5_sigterm_with_an_agent_that_fails(fault):
    """A server that is told to end does so in time, and says how many traces that cost."""
    with FaultyAgent() as agent, server(agent) as (port, process):
        get(port)
        agent.become(fault)
        for _ in range(5):
            get(port)
        output, took_s = end(process)
        taken = counted(agent)["fastapi.request"]
    assert took_s < END_S
    lost = sum(int(number) for number in re.findall(r"(\d+) traces are lost \(shutdown\)", output))
    assert (taken, lost) == (1, 5), output


@pytest.mark.parametrize("in_lambda", [True, False])
def test_sigterm_with_a_healthy_agent(in_lambda):
    """A server that is told to end delivers what was traced after its last response."""
    with FaultyAgent() as agent, server(agent, in_lambda=in_lambda) as (port, process):
        get(port, "/later")
        output, took_s = end(process)
        spans = counted(agent)
    assert (spans["fastapi.request"], spans["later"]) == (1, 3)
    assert took_s < END_S
    assert "lost" not in output


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_sigterm_with_an_agent_that_is_well_again(loop):
    """What was retained is delivered at the end, exactly once."""
    with FaultyAgent() as agent, server(agent, "--loop", loop) as (port, process):
        agent.become("refused")
        for _ in range(5):
            get(port)
        assert get(port, "/stats")["retained_traces"] >= 4
        agent.become("healthy")
        output, took_s = end(process)
        assert counted(agent)["fastapi.request"] == 6
    assert took_s < END_S
    assert "lost" not in output


@pytest.mark.parametrize("in_lambda", [True, False])
@pytest.mark.parametrize("fault", ["healthy", "refused", "hung"])
def test_a_script_that_ends(fault, in_lambda):
    """A script's last traces are delivered at its end, or counted as lost, and it ends in time."""
    with FaultyAgent() as agent:
        agent.become(fault)
        with child([sys.executable, "ending.py"], agent, in_lambda=in_lambda) as process:
            assert process.stdout.readline() == "traced\n"
            begun = time.monotonic()
            output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert time.monotonic() - begun < END_S + 1
        assert counted(agent)["script"] == (3 if fault == "healthy" else 0)
    assert ("3 traces are lost (shutdown)" in output) is (fault != "healthy"), output


@pytest.mark.parametrize("fault", ["healthy", "hung"])
def test_a_signal_in_the_middle_of_a_flush(fault):
    """A signal handler that flushes while its thread is in a flush does not wait for itself."""
    with FaultyAgent() as agent:
        agent.become(fault)
        with child([sys.executable, "ending.py", "flush"], agent) as process:
            assert process.stdout.readline() == "traced\n"
            time.sleep(0.3)
            _, took_s = end(process)
    assert took_s < END_S + 2


@pytest.mark.parametrize("in_lambda", [True, False])
def test_a_fork_within_a_request(in_lambda):
    """Parent and child deliver each their own traces, once."""
    with FaultyAgent() as agent, server(agent, in_lambda=in_lambda) as (port, process):
        get(port)
        assert get(port, "/fork") == {"child": 0}
        get(port)
        end(process)
        spans = counted(agent)
    assert spans["fastapi.request"] == 3
    assert spans["child"] == 1


def test_two_workers():
    """Each worker of a server delivers its own."""
    with FaultyAgent() as agent, server(agent, "--workers", "2") as (port, process):
        for _ in range(10):
            get(port)
        end(process)
        assert counted(agent)["fastapi.request"] == 10


def test_threads_that_trace():
    """What threads trace beside requests is delivered, at the latest when the process ends."""
    with FaultyAgent() as agent, server(agent) as (port, process):
        for _ in range(3):
            get(port, "/thread")
        end(process)
        spans = counted(agent)
    assert spans["thread"] == 180
    assert spans["fastapi.request"] == 3


def test_threads_that_trace_all_the_time():
    """What threads finish while requests come and go is delivered once each, none of it lost."""
    with FaultyAgent() as agent, server(agent) as (port, process):
        get(port, "/threads/start")
        for _ in range(50):
            get(port)
        traced = get(port, "/threads/stop")["traced"]
        output, _ = end(process)
        spans = counted(agent)
    assert (spans["always"], spans["fastapi.request"]) == (traced, 52)
    assert traced > 0
    assert "lost" not in output


def several(agent, mode, *, in_lambda=True):
    """Run the script with several loops or processes; give its last counters."""
    with child([sys.executable, "several.py", mode], agent, in_lambda=in_lambda) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    [stats] = [json.loads(line[6:]) for line in output.splitlines() if line.startswith("stats ")]
    return stats


@pytest.mark.parametrize("in_lambda", [True, False])
@pytest.mark.parametrize(("mode", "requests"), [("replaced", 20), ("at_once", 80), ("ending", 80)])
def test_several_loops(mode, requests, in_lambda):
    """Requests on loops that follow each other, or run in two threads, are delivered once each."""
    with FaultyAgent() as agent:
        stats = several(agent, mode, in_lambda=in_lambda)
        assert counted(agent) == {"asgi.request": requests, "other": requests}
    assert stats["sent"] == 2 * requests
    assert stats["failed"] == stats["late"] == sum(stats["dropped"].values()) == 0


@pytest.mark.parametrize(("mode", "requests"), [("replaced", 20), ("at_once", 80)])
def test_several_loops_and_an_agent_that_hangs(mode, requests):
    """With an agent that hangs the loops go on, and each trace is counted as lost in the end."""
    with FaultyAgent("hung") as agent:
        stats = several(agent, mode)
        assert counted(agent) == {}
    assert stats["sent"] == stats["retained_traces"] == 0
    assert stats["dropped"]["shutdown"] == sum(stats["dropped"].values()) == 2 * requests


@pytest.mark.parametrize("in_lambda", [True, False])
@pytest.mark.parametrize(("mode", "children"), [("forked", 1), ("processes", 3)])
def test_forked_children(mode, children, in_lambda):
    """Forked children deliver their own traces, and none that their parent had not sent yet."""
    with FaultyAgent() as agent:
        several(agent, mode, in_lambda=in_lambda)
        assert counted(agent) == {"parent": 2, "child": children}
