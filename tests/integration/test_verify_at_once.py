"""`audit verify --config --processes N` finds what one process finds, entry by entry."""

import asyncio
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from sharegate.cli.audit import verify
from sharegate.cli.main import main
from sharegate.record import hashed
from sharegate.record.reader import PostgresReader
from tests.integration.searchable import invented, searchable

FLIP = "update sharegate.entry set leaf = set_byte(leaf, $2, get_byte(leaf, $2) # 1) where seq = $1"


class Here(ThreadPoolExecutor):
    """Processes that are none, so that a test sees into them."""

    def __init__(self, _processes):
        super().__init__(1)

    def shutdown(self, **given):
        self.submit(_end).result()
        super().shutdown(**given)


def _end():
    """What the end of a process ends."""
    while hashed._own:
        own = hashed._own.pop()
        own.runner.run(own.reader.close())
        own.runner.close()


@pytest.fixture
async def log_of(database, tmp_path, monkeypatch):
    """A log of 60 entries, signed at 20, 33 and 50 and at its end, read by eights."""
    monkeypatch.setattr(verify, "_AT_ONCE", 8)
    monkeypatch.setattr(verify, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(verify, "pool_of", Here)
    made = await searchable(database)
    made.config = made.settings(tmp_path)
    at = 0
    for size in (20, 33, 50, 60):
        await made.append(*(invented(random.Random(n), n) for n in range(at, size)))
        await made.sign()
        at = size
    return made


async def verified(made, processes, *more):
    asked = ["audit", "verify", "--config", str(made.config), "--processes", str(processes), *more]
    return await asyncio.to_thread(main, asked)


@pytest.fixture
def singly(monkeypatch):
    """Which entries were fed one by one."""
    fed, feed = [], verify.Verifier.feed

    def noted(self, leaves):
        fed.extend(leaves)
        return feed(self, leaves)

    monkeypatch.setattr(verify.Verifier, "feed", noted)
    return fed


async def test_what_is_right_is_only_joined(log_of, capsys, singly):
    assert await verified(log_of, 2) == 0
    assert "60 entries, every hash and every checkpoint agree" in capsys.readouterr().out
    assert singly == []
    assert await verified(log_of, 1) == 0
    assert len(singly) == 60


@pytest.mark.parametrize("byte", [0, 11, 20, 60])  # its kind, its number, the hash before it, more
@pytest.mark.parametrize("index", [0, 7, 8, 19, 20, 40, 59])
async def test_the_same_is_found_as_entry_by_entry(log_of, capsys, index, byte):
    await log_of.alter(FLIP, index, byte)
    assert await verified(log_of, 1) == 1
    said = capsys.readouterr().out
    assert "NOT RIGHT" in said
    assert await verified(log_of, 3) == 1
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    "change",
    [
        "delete from sharegate.entry where seq = 30",
        "delete from sharegate.entry where seq >= 55",
        "update sharegate.entry set wrapped = null where seq = 30",
    ],
)
async def test_what_is_missing_is_missed(log_of, capsys, change):
    await log_of.alter(change)
    assert await verified(log_of, 1) == 1
    said = capsys.readouterr()
    assert await verified(log_of, 2) == 1
    assert capsys.readouterr() == said


async def test_it_goes_on_from_where_it_was_broken_off(log_of, tmp_path, capsys, monkeypatch):
    resume, leaves, read = tmp_path / "verified", PostgresReader.leaves, []

    async def noted(self, first, most):
        if first >= 40 and breaks:
            raise OSError
        read.append(first)
        return await leaves(self, first, most)

    monkeypatch.setattr(PostgresReader, "leaves", noted)
    breaks = True
    assert await verified(log_of, 2, "--resume", str(resume)) == 1
    assert "cannot be read" in capsys.readouterr().err
    breaks = False
    read.clear()
    assert await verified(log_of, 2, "--resume", str(resume)) == 0
    assert min(read) == 33  # the last checkpoint that it came to


@pytest.mark.parametrize("when", ["asked", "answering"])
async def test_where_a_process_dies_the_rest_is_read_here(log_of, monkeypatch, singly, when):
    def dies(*_):
        raise BrokenProcessPool

    if when == "asked":
        monkeypatch.setattr(Here, "submit", dies)
        monkeypatch.setattr(Here, "shutdown", ThreadPoolExecutor.shutdown)
    else:
        monkeypatch.setattr(verify, "look", dies)
    assert await verified(log_of, 2) == 0
    assert len(singly) == 60


async def test_with_processes(log_of):
    """As it is run: the log is long enough for them, and each reads over its own connection."""
    code = (
        "from sharegate.cli.audit import verify; from sharegate.cli.main import main; import sys;"
        "verify._AT_ONCE, verify._WORTH_PROCESSES = 8, 1;"
        "verify.Verifier.feed = lambda *_: 1 / 0;"
        "sys.exit(main(sys.argv[1:]))"
    )
    for processes in ("2", "3"):
        asked = ["audit", "verify", "--config", str(log_of.config), "--processes", processes]
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code, *asked], capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "60 entries, every hash and every checkpoint agree" in done.stdout
