"""What to do about each kind of fault."""

from __future__ import annotations

from ddlwa.report.model import Fault, Mode

_PLAIN = "Trace the app with ddlwa: ddlwa.patch_all() before the app is created, or ddlwa-run."
_APP = "Ask the app for this route outside of Lambda, and see what it logs."
_IN_FORCE = (
    "See what the app logs for warnings of ddlwa: with an unsupported ddtrace it leaves tracing as it was. "
    "DDLWA_MODE must not be off."
)
_DDLWA = {
    Fault.NO_RESPONSE: _APP,
    Fault.WRONG_STATUS: _APP,
    Fault.LOST: (
        "See what the app logs for warnings of ddlwa and ddtrace, whether DD_TRACE_ENABLED is false, and "
        "which span is begun and never finished."
    ),
    Fault.LATE: f"{_IN_FORCE} Work that outlives DDLWA_HOLD_TIMEOUT_MS belongs into ddlwa.defer().",
    Fault.NOT_WHOLE: (
        "Finish each span that is begun, best in a with block, and trace the app once: with ddlwa-run or "
        "with ddlwa.patch_all(), in place of ddtrace-run and ddtrace.auto."
    ),
    Fault.DIFFERENT: (
        "Let an app whose work depends on what is stored elsewhere find the same there in both runs. A span "
        "that outlives DDLWA_HOLD_TIMEOUT_MS is ended early. If it is neither, please report it."
    ),
    Fault.FROZEN_TIME: f"{_IN_FORCE} DDLWA_OPEN_SPANS must not be keep.",
    Fault.BACKGROUND_FROZEN_TIME: (
        "Let it be done before the freeze: with ddlwa.defer(..., critical=True), or in extension mode "
        "(DDLWA_MODE=extension)."
    ),
    Fault.CUT_SHORT: "Check on a less loaded machine; if it stays, please report it.",
    Fault.NEGATIVE_DURATION: "Read both ends of a span from one clock; no code may set the clock back.",
    Fault.OUTSIDE_RUN: "A span's explicit start or finish time has to come from the app's own time.time().",
}
# What plain ddtrace gets wrong in a frozen sandbox whatever the app does.
_MENDED = frozenset(
    {Fault.LOST, Fault.LATE, Fault.NOT_WHOLE, Fault.FROZEN_TIME, Fault.BACKGROUND_FROZEN_TIME}
)


def advise(fault: Fault, *, mode: Mode) -> str:
    """Say what to do.

    Args:
        fault: What is wrong.
        mode: What traced the app.
    """
    return _PLAIN if mode is Mode.PLAIN and fault in _MENDED else _DDLWA[fault]
