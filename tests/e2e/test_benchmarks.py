"""The benchmarks run, and what they find holds: a smoke run is as good as any for what is right or wrong."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import page, plots, results
from benchmarks.approaches import APPROACHES, HOLD, OURS, PLAIN
from benchmarks.scales import SCALES

ROOT = Path(__file__).parents[2]
SMOKE = SCALES["smoke"]
# Section, what of a row is looked at, of which rows, and between what it has to be: multiples of what plain
# ddtrace has in the same round. Far beyond noise: what leaves these bounds has changed its nature.
BOUNDS = [
    ("latency", "p50", lambda _: True, (0, 4)),
    ("latency", "busy_p50", lambda _: True, (0, 6)),
    ("throughput", "shares", lambda row: row.concurrency > 1, (0.5, 2)),
    ("cold_start", "times", lambda _: True, (0, 1.5)),
    ("cold_start", "rss", lambda _: True, (0, 1.2)),
    ("growth", "ratios", lambda _: True, (0, 5)),
    ("memory", "ratio", lambda _: True, (0, 1.15)),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the suite; give its data, its page, and where both are."""
    folder = tmp_path_factory.mktemp("benchmarks")
    output, data = folder / "benchmarks.md", folder / "data.json"
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--output", output, "--data", data]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return results.load(data), output.read_text("utf-8"), folder


def test_every_section_has_its_approaches(run):
    """Nothing was left out but what cannot run here, and why is told."""
    found, text, _ = run
    assert found.missing == {one.name: one.obstacle for one in APPROACHES.values() if one.obstacle}
    expected = set(APPROACHES) - set(found.missing)
    assert {(row.approach, row.app) for row in found.correctness} == {
        (name, app) for name in expected for app in SMOKE.apps
    }
    assert {(row.approach, row.agent) for row in found.latency} == {
        (name, state) for name in SMOKE.timed for state in SMOKE.states
    }
    assert {row.approach for row in found.cold_start} == set(SMOKE.timed)
    assert {row.approach for row in found.throughput} >= {PLAIN, HOLD}
    assert {row.concurrency for row in found.throughput} == {1, 16, 64}
    assert {row.work for row in found.growth} == {"spans", "body", "chunks"}
    assert {row.approach for row in found.growth} >= {PLAIN, *OURS}
    assert {row.approach for row in found.memory} == set(OURS)
    assert all(f"| {one.label} |" in text for one in APPROACHES.values())


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("app", SMOKE.apps)
def test_with_ddlwa_every_invocation_is_right_and_in_time(run, name, app):
    """All of them, or the build fails."""
    (row,) = (row for row in run[0].correctness if (row.approach, row.app) == (name, app))
    assert row.invocations >= 25
    assert (row.right, row.timed, row.delivered) == (row.invocations,) * 3
    assert row.faults == {}


def test_without_ddlwa_they_are_not(run):
    """Else the sandbox would prove nothing."""
    rows = [row for row in run[0].correctness if row.approach == PLAIN]
    assert rows
    assert all(row.right < row.invocations / 10 for row in rows)


@pytest.mark.parametrize(("section", "quantity", "applies", "bounds"), BOUNDS)
def test_no_ratio_leaves_its_bounds(run, section, quantity, applies, bounds):
    """Noise does not move what ddlwa is measured to do that far; a slip of the code does."""
    rows = [row for row in getattr(run[0], section) if row.approach in OURS and applies(row)]
    assert rows
    for row in rows:
        values = getattr(row, quantity)
        value = statistics.median(values) if isinstance(values, list) else values
        assert bounds[0] < value < bounds[1], row


def test_the_page_is_that_of_the_data(run):
    """Rendering and drawing are functions of the numbers alone; each plot that is shown is there."""
    found, text, folder = run
    assert page.render(found) == text
    plots.draw(found, folder / "again")
    shown = set(re.findall(r"\(benchmarks/(.*)\)", text))
    assert {file.name for file in (folder / "again").iterdir()} == shown
    for name in shown:
        assert (folder / "again" / name).read_bytes() == (folder / "benchmarks" / name).read_bytes()
