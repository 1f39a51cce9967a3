"""The bars on what ddlwa costs, each measured against something in the same run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TRIES = 10  # noise only adds: the least of some tries is nearest to the cost


def python(*words):
    # A child whose coverage is measured costs what measuring costs.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=REPOSITORY,
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout


# Where a request with plain ddtrace takes 168 µs; a slower machine is slower in both.
@pytest.mark.parametrize(("mode", "most"), [("hold", 20 / 168), ("extension", 30 / 168)])
def test_added_latency(mode, most):
    """Without its flush a mode adds at most so much of plain ddtrace's time to a request, at the median."""
    added = []
    for _ in range(TRIES):
        medians = json.loads(python("-m", "benchmarks.gate_cost"))
        added.append(medians[mode] / medians["plain"] - 1)
        if added[-1] <= most:
            break
    assert min(added) <= most


def test_import_takes_at_most_5_ms():
    """`import ddlwa` after `import ddtrace` takes at most 5 ms, and a small part of what ddtrace takes."""
    code = (
        "from time import perf_counter as now\n"
        "begun = now(); import ddtrace\n"
        "between = now(); import ddlwa\n"
        "print(between - begun, now() - between)"
    )
    runs = [[float(seconds) for seconds in python("-c", code).split()] for _ in range(5)]
    assert min(ours for _, ours in runs) <= 0.005
    assert min(ours / theirs for theirs, ours in runs) <= 0.05


# The tags of the invocation are more than an inline flush has to send.
@pytest.mark.parametrize(("tags", "most"), [("false", 1.2), ("true", 1.3)])
def test_hold_mode_costs_little_more_than_an_inline_flush(tags, most, monkeypatch):
    """All that hold mode adds is at most so much more than finishing the span and flushing inline adds."""
    monkeypatch.setenv("DDLWA_LAMBDA_TAGS", tags)
    ratios = []
    for _ in range(TRIES):
        medians = json.loads(python("-m", "benchmarks.flush_cost"))
        ratios.append((medians["hold"] - medians["plain"]) / (medians["inline"] - medians["plain"]))
        if ratios[-1] <= most:
            break
    assert min(ratios) <= most


def test_guarantee_7_many_at_once_keep_the_throughput():
    """Of 64 requests at a time at least 95 % as many are served as with plain ddtrace, at the median."""
    shares = []
    for _ in range(TRIES):
        shares.append(json.loads(python("-m", "benchmarks.throughput", "64"))["share"])
        if shares[-1] >= 0.95:
            break
    assert max(shares) >= 0.95
