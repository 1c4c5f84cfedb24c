"""The processes of an embedded PostgreSQL, to be killed and frozen from outside."""

import os
import signal
from pathlib import Path

from sharegate.embedded import EmbeddedPostgres


def every_process(server: EmbeddedPostgres) -> list[int]:
    """The postmaster and its children; each child leads a process group of its own."""
    parent = server.pid
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == parent:
            children.append(int(stat.parent.name))
    return [parent, *children]


def kill_postmaster(server: EmbeddedPostgres) -> None:
    """``kill -9`` of the first process alone: its children notice and end by themselves."""
    os.kill(server.pid, signal.SIGKILL)


def kill_every_process(server: EmbeddedPostgres) -> None:
    """``kill -9`` of all at once: what was in shared memory and not on disk is gone."""
    send(server, signal.SIGKILL)


def freeze(server: EmbeddedPostgres) -> None:
    """Stop all of it where it stands; connections stay open and answer nothing."""
    send(server, signal.SIGSTOP)


def thaw(server: EmbeddedPostgres) -> None:
    """Let it go on."""
    send(server, signal.SIGCONT)


def send(server: EmbeddedPostgres, number: signal.Signals) -> None:
    """Signal the postmaster, then its children: none is forked in between."""
    for pid in every_process(server):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
