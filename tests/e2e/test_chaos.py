"""Chaos: whatever agent, freezes and responses do, the guarantees of ddlwa hold."""

import asyncio
import bisect
import math
import os
import secrets
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import chaos
import pytest
from canary import canary
from chaos import GONE, MS, Setting, accounted
from modes import frozen_ns

from benchmarks.faulty_agent import FaultyAgent
from ddlwa.simulator import FreezeMoment

INVOCATIONS = int(os.environ.get("DDLWA_CHAOS_INVOCATIONS", "2000"))
SEED = os.environ.get("DDLWA_CHAOS_SEED") or secrets.token_hex(4)
SETTINGS = [
    Setting("hold", FreezeMoment.ADVERSARIAL, lossy=False, outage=0.1),
    Setting("hold", FreezeMoment.FAITHFUL, lossy=True, outage=0.1),
    # An agent that hangs costs more time here, if not the client's.
    Setting("extension", FreezeMoment.ADVERSARIAL, lossy=True, outage=0.05),
    Setting("extension", FreezeMoment.FAITHFUL, lossy=False, outage=0.05),
]
PARTS = math.ceil(INVOCATIONS / len(SETTINGS) / 250)  # each in a sandbox of its own
HOLD_MS, FLUSH_MS = 100, 200
# On a machine that does other things, too: for each response, and for all but a few of them.
ALLOWANCE_MS, USUAL_ALLOWANCE_MS, FEW = 1000, 60, 0.02
LONGEST_SPAN_NS = 2_000 * MS
# How exact the ledger is, for each freeze; and what it may take for a process that is busy.
LEDGER_NS, MISSED_NS = 20 * MS, 500 * MS
# How many times may be misread, and how near such a one is to when the test made the invocation.
MISREAD, SOON_NS = 0.03, 500 * MS


@dataclass
class Arrived:
    """A trace that the agent has taken, once."""

    key: str
    spans: list
    ns: int


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_guarantees(setting, part, tmp_path):
    """Each client has its answer in time, each trace arrives with right times and in order, or is counted."""
    count = math.ceil(INVOCATIONS / len(SETTINGS) / PARTS)
    print(f"DDLWA_CHAOS_SEED={SEED} DDLWA_CHAOS_INVOCATIONS={INVOCATIONS} {setting}")  # noqa: T201 - to repeat it
    rng = chaos.random_of(SEED, setting, part)

    async def main():
        with FaultyAgent(accepts_silently=rng.random() < 0.5) as agent, canary() as bird:
            async with chaos.sandbox(agent, setting, rng=rng, file=tmp_path / "file") as box:
                run = chaos.Run(agent, box)
                try:
                    for step in chaos.plan(rng, setting, count):
                        judge_answer(run, await run.carry_out(step), step, setting)
                    made = await run.settle()
                    judge(run, setting, made, starved_ns=2 * bird.late_ns)
                except Exception as error:
                    raise AssertionError(
                        f"seed {SEED}, {setting}, part {part}: {error!r}\n{run.report()}"
                    ) from error
            return run

    run = asyncio.run(main())
    assert run.agent.malformed == 0


def judge_answer(run, invocation, step, setting):
    """Transparent, and live: as the app said it, and in time."""
    assert invocation.error is None, f"{step.kind}: {invocation.error}"
    answer = invocation.response.status, invocation.response.body
    assert answer == step.answer, f"{step.kind}: {str(answer)[:200]}"
    took_ms = (invocation.responded_ns - invocation.started_ns) / MS
    assert took_ms < step.works_ms + held_ms(step, setting) + ALLOWANCE_MS, (
        f"{step.kind} took {took_ms:.0f} ms"
    )


def held_ms(step, setting):
    """Say how long a response may wait: its own request's budgets, and those of one beside it."""
    budgets = HOLD_MS + FLUSH_MS if setting.mode == "hold" else 0
    return budgets * (2 if step.kind == "beside" else 1)


def judge(run, setting, made, *, starved_ns):
    """Hold the whole run against the guarantees."""
    delivery = run.stats["delivery"]
    assert delivery["breaker"] == "closed", "the breaker is not closed though the agent is well"
    assert delivery["retained_traces"] == 0, "retained traces are not sent though the agent is well"
    arrived = arrived_traces(run)
    assert accounted(run.stats) == len(made), (
        f"{len(made)} traces were made, {accounted(run.stats)} are accounted for; of those that arrived: "
        f"{describe(arrived, made)}"
    )
    judge_latencies(run, setting)
    judge_delivery(run, setting, arrived, made)
    judge_order(run, arrived)
    judge_times(run, setting, arrived, starved_ns)


def judge_latencies(run, setting):
    """Live: all but a few responses keep to the budgets closely, and while the breaker is open none waits."""
    alone = [one for one in run.served if one.step.number in run.seen and one.step.kind != "beside"]
    slow, waited = [], []
    for one in alone:
        seen = run.seen[one.step.number]
        late_ms = seen["ms"] - one.step.works_ms - USUAL_ALLOWANCE_MS
        if late_ms > held_ms(one.step, setting):
            slow.append(seen)
        if late_ms > 0 and seen["breaker"] != "closed" and not seen["closed"]:
            waited.append(seen)
    assert len(slow) <= FEW * len(alone), f"slow: {slow}"
    assert len(waited) <= FEW * len(alone), f"waited though the breaker is open: {waited}"


def arrived_traces(run):
    """Give what the agent has taken, in its order; each trace by what made it."""
    return [
        Arrived(key_of(chunk), [vars(span) for span in chunk], request.arrived_ns)
        for request in run.agent.requests
        if request.accepted
        for chunk in request.chunks
    ]


def key_of(chunk):
    for span in chunk:
        if span.name == "fastapi.request":
            return f"request {span.trace_id}"
        if "chaos.of" in span.meta:
            return span.meta["chaos.of"]
    raise AssertionError(f"nobody made this trace: {chunk}")


def describe(arrived, made):
    """Say which traces did not arrive once."""
    times = Counter(one.key for one in arrived)
    return {key: f"{times[key]} times" for key in sorted({*made, *times}) if times[key] != 1}


def judge_delivery(run, setting, arrived, made):
    """Delivered or counted: each trace came whole and once, or was dropped; what came twice was repeated."""
    delivery, dropped = run.stats["delivery"], dict(run.stats["delivery"]["dropped"])
    assert dropped.pop("readiness") == run.readiness
    times = Counter(one.key for one in arrived)
    assert times.keys() - made <= {f"request {run.served[-1].step.number}"}
    missing = made - times.keys()
    assert len(missing) <= sum(dropped.values()), f"lost: {sorted(missing)}, {dropped} are counted"
    again = sum(times.values()) - len(times)
    assert again <= delivery["repeated"], f"{again} arrived again, {delivery['repeated']} are counted"
    wholes = {}
    for one in arrived:
        spans = {span["span_id"] for span in one.spans}
        assert wholes.setdefault(one.key, spans) == spans, f"{one.key} arrived in parts"
    assert dropped["full"] == dropped["shutdown"] == 0
    assert setting.lossy or not any(dropped.values()), dropped
    assert run.stats["work"]["failed"] == run.stats["work"]["abandoned"] == 0


def judge_order(run, arrived):
    """Order: with an agent that is well, the first trace to arrive in an invocation is its request's.

    And in time: if it was well before, and the breaker is closed, that trace arrives before the next one.
    """
    arrivals = [one.ns for one in arrived]
    judged = 0
    before = None
    for one, following in pairwise(run.served):
        first, end = (bisect.bisect_left(arrivals, each.begun_ns) for each in (one, following))
        keys = [other.key for other in arrived[first:end]]
        own = one.step.traces[0]
        if one.healthy and one.step.kind != "beside":
            seen = run.seen.get(one.step.number, {})
            if keys:
                judged += 1
                assert keys[0] == own, f"{keys} came in {one.step}"
            if before and before.healthy and seen.get("breaker") == "closed":
                assert keys, f"nothing came in {one.step}, {seen}"
        before = one
    assert judged > len(run.served) / 20, f"only {judged} invocations had an agent that was well"


def judge_times(run, setting, arrived, starved_ns):
    """No frozen time, and right start times, on the timeline of the simulator."""
    timeline = run.box.timeline()
    served = {one.step.number: one for one in run.served}
    misread = 0
    for one in arrived:
        kind, number = one.key.split()
        made_by = served[int(number) % GONE]
        for span in one.spans:
            problem = problem_of_times(span, kind, made_by.invocation, setting, timeline, starved_ns)
            if problem and is_misread(span, made_by, run.served):
                misread += 1
            else:
                assert not problem, f"{one.key}: {span['name']} {problem}; {times_of(span, timeline)}"
    assert misread <= MISREAD * len(arrived), f"{misread} times are misread"


def problem_of_times(span, kind, invocation, setting, timeline, starved_ns):  # noqa: PLR0913, PLR0917 - all count
    """Say what is wrong with the times of a span, if anything is.

    An app that a busy machine did not let run for a while, though idle, was frozen as far as it can know.
    """
    taken_off_ns = round(span["metrics"].get("ddlwa.frozen_ms", 0) * MS)
    end_ns = span["start"] + span["duration"] + taken_off_ns
    if span["start"] < invocation.started_ns:
        return "starts before its invocation"
    if not 0 <= span["duration"] < LONGEST_SPAN_NS:
        return "has frozen time in it, or less than none"
    if kind in {"request", "critical"} or setting.mode == "extension":
        if end_ns > invocation.frozen_ns:
            return "ends after the freeze began"
        return "is not as long as it took" if taken_off_ns > starved_ns else None
    freezes_ns = [
        window.end_ns - window.start_ns
        for window in timeline
        if window.frozen and span["start"] < window.end_ns and window.start_ns < end_ns
    ]
    wrong_ns = abs(frozen_ns(span, timeline) - taken_off_ns)
    may_be_ns = sum(one if one < MISSED_NS else LEDGER_NS for one in freezes_ns)
    return f"is {wrong_ns / MS} ms wrong" if wrong_ns > may_be_ns + LEDGER_NS + starved_ns else None


def times_of(span, timeline):
    """Give a span's times beside the freezes about it, in milliseconds from its start."""
    duration_ms, frozen_ms = span["duration"] / MS, span["metrics"].get("ddlwa.frozen_ms", 0)
    freezes = [
        ((window.start_ns - span["start"]) / MS, (window.end_ns - span["start"]) / MS)
        for window in timeline
        if window.frozen
    ]
    near = [one for one in freezes if one[1] > -100 and one[0] < duration_ms + frozen_ms + 100]
    return f"{duration_ms=} {frozen_ms=} freezes={near}"


def is_misread(span, made_by, served):
    """Say whether a time of a span is as if the clock had not been moved, or not yet.

    libfaketime, which moves it, is not for threads (3.0, libfaketime.c): those that look at the clock at once
    fill the same buffer with its file's name, so that one of them finds no such file, and one that was
    stopped while it looked sets the clock back for another's next look.
    """
    taken_off_ns = round(span["metrics"].get("ddlwa.frozen_ms", 0) * MS)
    ends_ns = span["start"], span["start"] + span["duration"] + taken_off_ns
    moved_ns = [0, *(one.moved_ns for one in served)]
    before_ns = [one for one in moved_ns if one < made_by.moved_ns - SOON_NS]
    return any(abs(end - made_by.begun_ns - other) < SOON_NS for end in ends_ns for other in before_ns)
