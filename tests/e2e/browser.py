"""Opens pages in a real Chromium that is offline, and listens to what it has to complain of."""

from __future__ import annotations

import contextlib
import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

NAMES = (os.environ.get("DDLWA_TEST_CHROMIUM", "chromium"), "chromium-browser", "google-chrome")
_VIOLATIONS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (one) => violations.push(one.violatedDirective));
"""


@contextlib.contextmanager
def launched():
    """Start Chromium; where there is none CI fails, and others skip."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        reason = "no Chromium: `apt-get install chromium`, or name one in DDLWA_TEST_CHROMIUM"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


class Tab:
    """A page that was opened from a file.

    Attributes:
        page: Playwright's page.
        complaints: Whatever the console and the policy had to say.
        requested: All that was asked for, the file itself among it.
    """

    def __init__(self, browser, file, *, fragment="", width=1280, scripts=True, **context):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=True, java_script_enabled=scripts, **context
        )
        self.page = self.context.new_page()
        self.complaints = []
        self.requested = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requested.append(request.url))
        if scripts:
            self.page.add_init_script(_VIOLATIONS)
        self.page.goto(file.as_uri() + fragment)

    @property
    def violations(self):
        return self.page.evaluate("violations")

    @property
    def overflow(self):
        """How many px the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    @property
    def focused(self):
        """What has the focus, as text."""
        return self.page.evaluate("document.activeElement.textContent")

    def unfold(self):
        """Open whatever can be opened, and of the invocations the first five."""
        self.page.evaluate(
            "[...document.querySelectorAll('details.more'), ...[...document.querySelectorAll('.invocation')]"
            ".slice(0, 5)].forEach((one) => { one.open = true; })"
        )
        self.page.locator(".invocation:nth-child(5) .side").last.wait_for()

    def numbers(self):
        """List the invocations that are shown."""
        return self.page.locator("#rows .nth").all_text_contents()
