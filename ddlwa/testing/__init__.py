"""What tests of an app's traces need: a simulated Lambda, assertions, a frozen clock."""

from __future__ import annotations

from ddlwa.testing.assertions import assert_delivered, assert_no_frozen_time, assert_right, assert_whole
from ddlwa.testing.trace import Span, Trace

__all__ = ["Span", "Trace", "assert_delivered", "assert_no_frozen_time", "assert_right", "assert_whole"]
