"""The gate, installed for a while."""

import os
from contextlib import contextmanager

import pytest

import ddlwa

# Budgets that no slow machine exceeds: what is released by a budget here hangs.
GENEROUS = {"DDLWA_ENABLED": "true", "DDLWA_HOLD_TIMEOUT_MS": "20000", "DDLWA_FLUSH_TIMEOUT_MS": "20000"}


@contextmanager
def gate(env=GENEROUS, **options):
    """Call `patch_all` in an environment that says this, and undo it.

    Args:
        env: All that it says of ddlwa and Lambda.
        options: Handed on to `patch_all`.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("DDLWA_", "AWS_LAMBDA_")):
                patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        ddlwa.patch_all(**options)
    try:
        yield
    finally:
        ddlwa.unpatch()
