"""How fast this machine is just now, so that a slower one is not taken for a slower app."""

from __future__ import annotations

import hashlib
import json
import time

_DOCUMENT = {f"key {number}": [number, str(number), number / 7] for number in range(200)}
_OFTEN = 4


def reference_ns() -> int:
    """Do the same work as ever; return what it took, in nanoseconds: about a million."""
    begun_ns = time.perf_counter_ns()
    for _ in range(_OFTEN):
        text = json.dumps(json.loads(json.dumps(_DOCUMENT)), sort_keys=True)
        hashlib.sha256(text.encode()).hexdigest()
    return time.perf_counter_ns() - begun_ns
