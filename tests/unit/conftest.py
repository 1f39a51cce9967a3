import logging

import pytest
from hypothesis import settings

from ddlwa import log

settings.register_profile("ddlwa", deadline=None, print_blob=True)
settings.load_profile("ddlwa")


@pytest.fixture(autouse=True)
def warnings_said(caplog, monkeypatch):
    """Give each test its own memory of the warnings that ddlwa has logged."""
    monkeypatch.setattr(log, "_said", {})
    caplog.set_level(logging.WARNING, logger="ddlwa")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "ddlwa"]
