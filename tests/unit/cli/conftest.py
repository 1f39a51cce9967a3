from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    """Whatever runs these tests, the command does not see it."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
