"""What a service manager hears, over a real socket of its protocol."""

import asyncio
import os
import socket
import time

import pytest

from sharegate.cli.service import READY, STOPPING, manager


@pytest.fixture(params=["file", "abstract"])
def listens(request, tmp_path):
    """A manager's socket, and what the environment calls it."""
    name = f"@sharegate-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + name[1:] if name[0] == "@" else name)
        heard.setblocking(False)
        yield heard, name


def said(heard):
    found = []
    try:
        while True:
            found.append(heard.recv(100).decode())
    except BlockingIOError:
        return found


async def test_it_hears_what_it_is_told(listens):
    heard, name = listens
    async with manager({"NOTIFY_SOCKET": name}) as tell:
        tell(READY)
        await asyncio.sleep(0)
        tell(STOPPING)
    assert said(heard) == ["READY=1", "STOPPING=1"]


async def test_it_hears_that_the_loop_turns_and_nothing_while_it_does_not(listens):
    heard, name = listens
    watched = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())}
    async with manager(watched):
        async with asyncio.timeout(30):
            while len(said(heard)) < 1:
                await asyncio.sleep(0.001)
            while len(said(heard)) < 1:  # and again
                await asyncio.sleep(0.001)
        said(heard)
        time.sleep(0.1)  # as a driver that spins
        assert said(heard) == []
        async with asyncio.timeout(30):
            while not said(heard):
                await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "@nobody-listens-here"},
    ],
)
async def test_where_nobody_listens_nothing_happens(environment):
    async with manager(environment) as tell:
        tell(READY)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("other", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": ""}])
async def test_another_process_is_watched_or_none(listens, other):
    heard, name = listens
    async with manager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000"} | other):
        await asyncio.sleep(0.02)
    assert said(heard) == []
