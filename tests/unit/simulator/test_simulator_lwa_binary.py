from __future__ import annotations

import stat

import pytest

from ddlwa.simulator import AdapterFailedError, LwaBinary


@pytest.fixture
def binary(tmp_path):
    """Return an executable file that has a version in it."""
    file = tmp_path / "lambda-adapter"
    file.write_bytes(b"\0/src/lambda_web_adapter-1.0.0-rc1/src/lib.rs\0")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def test_is_found_on_path(monkeypatch, binary):
    """`lwa` is the adapter on PATH, and its version is read from it."""
    monkeypatch.setenv("PATH", str(binary.parent))
    assert LwaBinary.named("lwa") == LwaBinary(binary, "1.0.0-rc1")


def test_is_found_by_its_path(monkeypatch, binary):
    """A relative path is one from the current folder, never a search on PATH."""
    monkeypatch.chdir(binary.parent)
    assert LwaBinary.named("lambda-adapter").path == binary


def test_a_binary_may_hide_its_version(binary):
    """An adapter without a version in it is taken as it is."""
    binary.write_bytes(b"#!/bin/sh")
    assert LwaBinary.named(str(binary)).version == "of unknown version"


def test_a_missing_adapter_says_how_to_get_it(monkeypatch, tmp_path):
    """Where there is none, the message has the command that installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("lwa", str(tmp_path / "none")):
        with pytest.raises(AdapterFailedError, match="cargo install lambda_web_adapter"):
            LwaBinary.named(name)


def test_a_file_that_is_not_executable_is_named(binary):
    """A file without the permission is told from one that is absent."""
    binary.chmod(0o600)
    with pytest.raises(AdapterFailedError, match="not executable"):
        LwaBinary.named(str(binary))
