"""The adapters between Lambda's Runtime API and the app: a built-in one, AWS's own."""

from __future__ import annotations

from ddlwa.simulator.adapter.builtin import BuiltinAdapter
from ddlwa.simulator.adapter.lwa import LwaAdapter, LwaBinary
from ddlwa.simulator.adapter.options import AdapterOptions, InvokeMode

__all__ = ["AdapterOptions", "BuiltinAdapter", "InvokeMode", "LwaAdapter", "LwaBinary"]
