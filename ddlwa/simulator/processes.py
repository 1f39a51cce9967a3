"""The family of a process: its group and its descendants, as the system lists them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Family", "Process", "list_processes"]

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table.

    Args:
        pid: Its process id.
        parent: Its parent's process id.
        group: Its process group.
        state: The letter that ps shows: ``T`` is stopped, ``Z`` a zombie.
        started: When it started, in a form that tells apart two processes that had the same id.
    """

    pid: int
    parent: int
    group: int
    state: str
    started: str

    @property
    def alive(self) -> bool:
        """Whether it is more than an exit code that waits to be collected."""
        return self.state not in "ZX"

    @property
    def stopped(self) -> bool:
        """Whether it cannot run: each of its threads is stopped, or it is dead."""
        return not self.alive or (self.state == "T" and _threads_stopped(self.pid))


def list_processes() -> dict[int, Process]:
    """Return every process of this machine by its id."""
    return _from_proc() if (_PROC / "self/stat").exists() else _from_ps()


class Family:
    """The processes that a leader started: its group, its descendants, and orphans that carry its mark.

    A descendant that was seen once stays in the family when its parent dies and init adopts it. One
    that was not, such as a daemon, is known by a variable that it inherited, where the system shows it.

    Args:
        leader: The process id of the leader.
        mark: A ``NAME=value`` that is in the leader's environment and nobody else's.
        list_processes: Reads the process table.
    """

    def __init__(
        self,
        leader: int,
        *,
        mark: str,
        list_processes: Callable[[], dict[int, Process]] = list_processes,
    ) -> None:
        self.ever: set[int] = {leader}
        """The ids of all that were ever members."""
        self._leader = leader
        self._mark = mark.encode()
        self._list_processes = list_processes
        self._members: set[tuple[int, str]] = set()
        self._strangers: set[tuple[int, str]] = set()

    def refresh(self) -> tuple[Process, ...]:
        """Return the members of now, zombies included, parents before their children."""
        table = self._list_processes()
        roots = {pid for pid, one in table.items() if self._is_root(one)}
        children: dict[int, list[int]] = {}
        for one in table.values():
            children.setdefault(one.parent, []).append(one.pid)
        # A root whose parent is a member comes after it, and the leader comes first.
        pending = sorted(roots, key=lambda pid: (table[pid].parent in roots, pid != self._leader, pid))
        members: dict[int, Process] = {}
        while pending:
            pid = pending.pop(0)
            if pid not in members:
                members[pid] = table[pid]
                pending.extend(children.get(pid, ()))
        self._members = {(one.pid, one.started) for one in members.values()}
        self._strangers = {(one.pid, one.started) for one in table.values()} - self._members
        self.ever |= members.keys()
        return tuple(members.values())

    def _is_root(self, one: Process) -> bool:
        identity = (one.pid, one.started)
        if one.group == self._leader or identity in self._members:
            return True
        # Looked at once only: a stranger does not become a member.
        return identity not in self._strangers and self._mark in _environment(one.pid)


def _from_proc() -> dict[int, Process]:
    table = {}
    for name in os.listdir(_PROC):  # noqa: PTH208 -- on the hot path; iterdir makes a Path of each name
        if name.isdigit():
            fields = _stat(f"/proc/{name}/stat")
            if fields:
                pid = int(name)
                table[pid] = Process(pid, int(fields[1]), int(fields[2]), fields[0], fields[19])
    return table


def _stat(path: str) -> list[str]:
    """Return the fields of a stat file from the state on (proc(5), number 3), none if it is gone."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- on the hot path
            content = file.read()
    except OSError:
        return []
    # The second field is the command in brackets, and may hold brackets itself.
    return content.rpartition(b")")[2].decode("ascii").split()


def _environment(pid: int) -> list[bytes]:
    """Return the environment that a process started with, nothing if the system does not show it."""
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _threads_stopped(pid: int) -> bool:
    """Return whether every thread is stopped: the state of a process is that of its first thread."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 -- as in _from_proc
    except OSError:
        return True  # no such table on this system, or the process is gone
    states = [_stat(f"/proc/{pid}/task/{thread}/stat")[:1] for thread in threads]
    return all(state in ([], ["T"], ["Z"], ["X"]) for state in states)


def _from_ps() -> dict[int, Process]:
    listing = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,pgid=,state=,lstart="],  # noqa: S607 -- where ps is differs by system
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    table = {}
    for line in listing.stdout.splitlines():
        pid, parent, group, state, started = line.split(None, 4)
        table[int(pid)] = Process(int(pid), int(parent), int(group), state[0], started)
    return table
