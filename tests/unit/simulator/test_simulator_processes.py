from __future__ import annotations

import os
import subprocess
import sys

from ddlwa.simulator import processes
from ddlwa.simulator.processes import Family, Process, list_processes


def family_of(leader, *tables):
    """Return a family that sees one table after the other, each a list of (pid, parent, group, started)."""
    states = iter(
        [{row[0]: Process(row[0], row[1], row[2], "S", row[3]) for row in table} for table in tables]
    )
    return Family(leader, mark="NO=MARK", list_processes=lambda: next(states))


def pids(family):
    return [one.pid for one in family.refresh()]


def test_has_the_group_and_all_descendants_parents_first():
    """Members are the group and the descendants in any group, and no one comes before its parent."""
    table = [
        (1, 0, 1, "a"),
        (99, 1, 99, "a"),
        (20, 30, 20, "c"),  # a session of its own, with a lower pid than its parent
        (30, 10, 10, "b"),
        (10, 99, 10, "b"),
        (21, 20, 21, "d"),
        (40, 1, 10, "b"),  # adopted by init, but still of the group
    ]
    assert pids(family_of(10, table)) == [10, 40, 30, 20, 21]


def test_remembers_a_member_that_was_adopted():
    """A descendant that was seen stays a member after its parent's death, with its children."""
    before = [(10, 1, 10, "a"), (11, 10, 10, "a"), (20, 11, 20, "b")]
    after = [(10, 1, 10, "a"), (20, 1, 20, "b"), (21, 20, 21, "c")]
    family = family_of(10, before, after)
    assert pids(family) == [10, 11, 20]
    assert pids(family) == [10, 20, 21]
    assert family.ever == {10, 11, 20, 21}


def test_does_not_take_a_recycled_id_for_a_member():
    """A new process with the id of a former member is a stranger."""
    family = family_of(10, [(10, 1, 10, "a"), (20, 10, 20, "b")], [(10, 1, 10, "a"), (20, 1, 20, "z")])
    assert pids(family) == [10, 20]
    assert pids(family) == [10]


def test_finds_this_process_and_its_parent():
    """The process table has this very process, running and not stopped."""
    table = list_processes()
    me = table[os.getpid()]
    assert me.parent == os.getppid()
    assert me.group == os.getpgrp()
    assert me.alive
    assert not me.stopped


def test_ps_says_the_same(monkeypatch):
    """Where there is no /proc, ps gives the same table."""
    from_proc = list_processes()
    monkeypatch.setattr(processes, "_PROC", processes._PROC / "no-such-folder")
    from_ps = list_processes()
    me = os.getpid()
    assert (from_ps[me].parent, from_ps[me].group) == (from_proc[me].parent, from_proc[me].group)
    assert from_ps[me].started == list_processes()[me].started
    assert not from_ps[me].stopped


def test_a_mark_makes_an_orphan_a_member():
    """A process outside the group that carries the mark is a member, and one without it is not."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    children = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"MARK": mark},
            start_new_session=True,
        )
        for mark in ("mine", "other")
    ]
    try:
        for child in children:
            child.stdout.readline()
        assert pids(Family(2**22 + 1, mark="MARK=mine")) == [children[0].pid]
    finally:
        for child in children:
            child.communicate()
