"""ddlwa's extension against AWS's own Extensions API, that of the Runtime Interface Emulator."""

import contextlib
import http.client
import queue
import threading

import pytest
import rie

from ddlwa.extension import Extension, RefusedError
from ddlwa.ledger import Ledger

NEXT = "/2018-06-01/runtime/invocation/next"


def call(address, method, path, body=None, headers=None):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.read()
        return answer.headers


def test_the_emulator_waits_for_the_extension(tmp_path):
    """The invocation ends when the runtime and the extension have asked for what is next, not before."""
    finished = queue.Queue()
    with contextlib.closing(rie.Emulator(rie.find(), tmp_path)) as emulator:
        wait = emulator.invoke(b"{}")
        extension = Extension(emulator.address, finish=finished.put, ledger=Ledger(), margin_s=0.5)
        extension.start()
        with pytest.raises(RefusedError, match=r"Extension\.InvalidExtensionState$"):
            Extension(emulator.address, finish=print, ledger=Ledger(), margin_s=0.5).start()
        request_id = call(emulator.address, "GET", NEXT)["Lambda-Runtime-Aws-Request-Id"]
        assert extension.takes(request_id)
        call(emulator.address, "POST", NEXT.replace("next", f"{request_id}/response"), b'"done"')
        threading.Thread(target=_ask_quietly, args=(emulator.address,), daemon=True).start()
        assert wait(0.3) is None
        assert finished.empty()
        extension.ended(request_id)
        assert wait(10) == b'"done"'
        assert 0 < finished.get(timeout=10) < 30
        with pytest.raises(RefusedError, match=r"Extension\.RegistrationClosed$"):
            Extension(emulator.address, finish=print, ledger=Ledger(), margin_s=0.5).start()


def _ask_quietly(address):
    with contextlib.suppress(OSError, http.client.HTTPException):
        call(address, "GET", NEXT)
