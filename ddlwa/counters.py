"""What ddlwa has done and failed to do since the process began, in numbers."""

from __future__ import annotations

import sys
from typing import Any

from ddlwa import invocation, postresponse


def stats() -> dict[str, Any]:
    """Give the counters of work after responses, of delivery, and of headers that make no sense.

    Returns:
        `work`: how much was completed, failed, timed_out or abandoned (what a shutdown did not let begin,
        or end). `delivery`: the breaker's state and transitions; traces sent, repeated, retained and
        dropped by reason; flushes that were late; sends that failed; None where ddlwa is off.
        `outlets`: by name, how many flushes worked, failed, were late or skipped.
        `headers`: how many were malformed.
    """
    patch = sys.modules.get("ddlwa.patch")
    serving = None if patch is None else patch.serving()
    work = postresponse.counts
    return {
        "work": {outcome: work[outcome] for outcome in ("completed", "failed", "timed_out", "abandoned")},
        "delivery": None if serving is None else serving.delivery.stats(),
        "outlets": {} if serving is None else serving.outlets.stats(),
        "headers": {"malformed": invocation.counts["malformed"]},
    }
