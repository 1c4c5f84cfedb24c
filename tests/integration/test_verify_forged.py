"""`audit verify --config`, where whoever owns the database says other things than were signed."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharegate.audit.chain import encode_leaf
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.cli.audit import verify
from sharegate.cli.main import main
from sharegate.consortium.memory import LogState, SignerMemory
from sharegate.consortium.signed_log import MEMORY_FILE
from sharegate.record import reader
from tests.integration.searchable import ORIGIN, invented, searchable

SAY = """update sharegate.head set size = $1, archived = $2, archived_last = $3,
                                   archived_frontier = $4, last = $5"""


@pytest.fixture
async def log_of(database, tmp_path):
    """A log of 60 entries, signed at 20, 40 and at its end."""
    made = await searchable(database)
    made.config = made.settings(tmp_path)
    for first in (0, 20, 40):
        await made.append(*(invented(random.Random(n), n) for n in range(first, first + 20)))
        await made.sign()
    hashes = [leaf_hash(leaf) for leaf in await made.database.leaves()]
    (tmp_path / "state").mkdir()
    memory = SignerMemory(tmp_path / "state" / MEMORY_FILE, ORIGIN)
    assert memory.seize()
    memory.remember(LogState(Frontier.empty().extend(hashes), hashes[-1]))
    memory.release()
    return made


async def verified(made, *more):
    return await asyncio.to_thread(main, ["audit", "verify", "--config", str(made.config), *more])


@pytest.mark.parametrize("resumed", [False, True])
async def test_archived_entries_that_nothing_signed_vouches_for_are_not_believed(
    log_of, capsys, tmp_path, resumed
):
    more = ["--resume", str(tmp_path / "verified")] if resumed else []
    if resumed:
        assert await verified(log_of, *more) == 0
    await log_of.alter("delete from sharegate.entry where seq >= 5")
    await log_of.alter("delete from sharegate.checkpoint")
    last = prev = b"y" * 32
    for n in range(61, 80):
        leaf = encode_leaf(n, last, b'{"forged":true}')
        await log_of.alter(
            "insert into sharegate.entry (seq, exchange_id, leaf, sealed, wrapped)"
            " values ($1, gen_random_uuid(), $2, 'x', 'x')", n, leaf,
        )  # fmt: skip
        last = leaf_hash(leaf)
    await log_of.alter(SAY, 80, 61, prev, b"x" * 32 * (61).bit_count(), last)
    capsys.readouterr()
    assert await verified(log_of, *more) == 1
    said = capsys.readouterr()
    assert "no checkpoint is known of 61 entries or more" in said.err
    assert "right" not in said.out


@pytest.mark.parametrize("told", [None, 7, 59, 60, -1])
async def test_entries_that_went_although_no_entry_says_so_are_missed(log_of, capsys, told):
    hashes = [leaf_hash(leaf) for leaf in await log_of.database.leaves()]
    edge = Frontier.empty().extend(hashes[:40]).edge
    await log_of.alter("delete from sharegate.entry where seq < 40")
    await log_of.alter(SAY + ", archived_by = $6", 60, 40, hashes[39], edge, hashes[-1], told)
    assert await verified(log_of) == 1
    assert "the first 40 entries are gone, and no entry says why" in capsys.readouterr().err


async def test_a_log_of_which_nothing_is_signed_is_not_right(log_of, capsys):
    await log_of.alter("delete from sharegate.checkpoint")
    assert await verified(log_of) == 0  # the signer's memory still knows it
    (Path(log_of.config).parent / "state" / MEMORY_FILE).unlink()
    assert await verified(log_of) == 1
    assert "no checkpoint is known" in capsys.readouterr().err


async def test_what_the_head_counts_and_is_not_there_is_missed(log_of, capsys):
    await log_of.append(invented(random.Random(60), 60), invented(random.Random(61), 61))
    assert await verified(log_of) == 0
    assert "unsigned   the last 2 entries" in capsys.readouterr().out
    await log_of.alter("delete from sharegate.entry where seq = 61")
    assert await verified(log_of) == 1
    assert "the entries end at 61, but the head says 62" in capsys.readouterr().err


async def test_the_log_is_the_one_of_the_settings(log_of, capsys):
    await log_of.alter("update sharegate.head set origin = 'other.example/log'")
    assert await verified(log_of) == 1
    assert "the database holds the log 'other.example/log'" in capsys.readouterr().err


async def test_checkpoints_are_read_page_by_page(log_of, capsys, monkeypatch):
    monkeypatch.setattr(reader, "_CHECKPOINTS_AT_ONCE", 2)
    monkeypatch.setattr(verify, "_AT_ONCE", 8)
    await log_of.alter("update sharegate.checkpoint set note = note || 'x' where size = 60")
    assert await verified(log_of) == 1
    assert "a note is" in capsys.readouterr().err


async def test_a_checkpoint_kept_under_another_size_is_no_error_of_ours(log_of, capsys, tmp_path):
    resume = ["--resume", str(tmp_path / "verified")]
    assert await verified(log_of, *resume) == 0
    await log_of.alter("update sharegate.checkpoint set size = size + 1000")
    assert await verified(log_of, *resume) == 1
    assert "a checkpoint of 20 entries is kept as one of 60 or more" in capsys.readouterr().err


async def test_an_entry_that_is_null_is_no_entry(log_of, capsys):
    await log_of.alter("alter table sharegate.entry alter leaf drop not null")
    await log_of.alter("update sharegate.entry set leaf = null where seq = 30")
    for processes in "12":
        assert await verified(log_of, "--processes", processes) == 1
        assert "entry 30: the bytes are not an entry" in capsys.readouterr().out


KILLED = """
import os, sys, time
from sharegate.cli.audit import sealed
pool = sealed.pool_of(2)
print(*{pool.submit(os.getpid).result() for _ in range(8)}, flush=True)
pool.submit(time.sleep, 600)
time.sleep(600)
"""


def test_hashing_processes_end_with_the_one_that_is_killed():
    run = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    with run:
        pids = run.stdout.readline().split()
        run.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while time.monotonic() < until and any(_lives(pid) for pid in pids):
        time.sleep(0.02)
    assert pids
    assert not any(_lives(pid) for pid in pids)


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
