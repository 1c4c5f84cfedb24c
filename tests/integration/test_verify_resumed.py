"""`audit verify --resume` reads what is new, and finds what it would from the beginning."""

import asyncio
import random

import pytest

from sharegate.cli.audit import verify
from sharegate.cli.main import main
from sharegate.consortium.memory import SignerMemory
from sharegate.record.reader import PostgresReader
from tests.integration.searchable import ORIGIN, invented, searchable


@pytest.fixture
async def log_of(database, tmp_path, monkeypatch):
    """A log that grows, read eight entries at a time, and what was read of it."""
    monkeypatch.setattr(verify, "_AT_ONCE", 8)
    made = await searchable(database)
    read, leaves = [], PostgresReader.leaves

    async def noted(self, first, most):
        found = await leaves(self, first, most)
        read.extend(range(first, first + len(found)))
        return found

    monkeypatch.setattr(PostgresReader, "leaves", noted)
    made.read, made.config, made.size = read, made.settings(tmp_path), 0

    async def grow(size):
        if size == made.size:
            return
        await made.append(*(invented(random.Random(n), n) for n in range(made.size, size)))
        made.size = size
        await made.sign()

    made.grow = grow
    return made


async def verified(made, resume=None):
    made.read.clear()
    more = [] if resume is None else ["--resume", str(resume)]
    return await asyncio.to_thread(main, ["audit", "verify", "--config", str(made.config), *more])


async def test_only_what_is_new_is_read(log_of, tmp_path, capsys):
    resume = tmp_path / "verified"
    await log_of.grow(20)
    assert await verified(log_of, resume) == 0
    assert log_of.read == [*range(20)]
    assert await verified(log_of, resume) == 0
    assert log_of.read == []
    await log_of.grow(50)
    assert await verified(log_of, resume) == 0
    assert log_of.read == [*range(20, 50)]
    assert capsys.readouterr().out.count("50 entries, every hash and every checkpoint agree") == 1
    assert await verified(log_of) == 0  # without: from the beginning
    assert log_of.read == [*range(50)]


async def test_a_run_that_was_broken_off_goes_on(log_of, tmp_path, monkeypatch):
    resume = tmp_path / "verified"
    await log_of.grow(17)
    await log_of.grow(50)
    leaves = PostgresReader.leaves

    async def breaking(self, first, most):
        if first >= 24:
            raise OSError
        return await leaves(self, first, most)

    with monkeypatch.context() as broken:
        broken.setattr(PostgresReader, "leaves", breaking)
        assert await verified(log_of, resume) == 1
    assert await verified(log_of, resume) == 0
    assert log_of.read == [*range(17, 50)]  # from the last checkpoint that it came to


@pytest.mark.parametrize("index", [20, 21, 30, 49])
@pytest.mark.parametrize("signed", [20, 33, 41])
async def test_what_is_wrong_in_what_is_new_is_found(log_of, tmp_path, capsys, index, signed):
    resume = tmp_path / "verified"
    await log_of.grow(20)
    assert await verified(log_of, resume) == 0
    await log_of.grow(signed)
    await log_of.grow(50)
    await log_of.alter(
        "update sharegate.entry set leaf = set_byte(leaf, 60, get_byte(leaf, 60) # 1)"
        " where seq = $1",
        index,
    )
    capsys.readouterr()
    for _ in range(2):  # and it is not forgotten the second time
        assert await verified(log_of, resume) == 1
        said = capsys.readouterr().out
        where = f"entry {index}:" if index < 49 else f"entries {signed} to 49"
        assert where in said
    await log_of.alter(
        "update sharegate.entry set leaf = set_byte(leaf, 60, get_byte(leaf, 60) # 1)"
        " where seq = $1",
        index,
    )
    assert await verified(log_of, resume) == 0  # brought back byte for byte


async def test_what_was_found_right_and_is_gone_is_missed(log_of, tmp_path, capsys):
    resume = tmp_path / "verified"
    await log_of.grow(20)
    assert await verified(log_of, resume) == 0
    await log_of.alter("delete from sharegate.entry where seq >= 15")
    await log_of.alter("delete from sharegate.checkpoint")
    await log_of.alter("update sharegate.head set size = 15")
    assert await verified(log_of, resume) == 1
    assert "20 entries were found right before" in capsys.readouterr().err


async def test_another_history_since_is_not_gone_on_from(log_of, tmp_path, capsys):
    resume = tmp_path / "verified"
    await log_of.grow(20)
    assert await verified(log_of, resume) == 0
    await log_of.alter("update sharegate.entry set leaf = set_byte(leaf, 60, 1) where seq = 19")
    await log_of.grow(21)
    assert await verified(log_of) == 1
    assert await verified(log_of, resume) == 1
    assert "entry 1" in capsys.readouterr().out


async def test_what_is_remembered_is_of_this_log_whole_and_used_by_one(log_of, tmp_path, capsys):
    resume = tmp_path / "verified"
    await log_of.grow(20)
    assert await verified(log_of, resume) == 0
    whole = resume.read_bytes()
    resume.write_bytes(b"\x00" * len(whole))
    assert await verified(log_of, resume) == 1
    assert "is damaged" in capsys.readouterr().err
    resume.write_bytes(whole)
    used = SignerMemory(resume, ORIGIN)
    assert used.seize()
    assert await verified(log_of, resume) == 1
    assert "is used by another run" in capsys.readouterr().err
    used.release()
    assert await verified(log_of, tmp_path / "no" / "verified") == 1
    assert await verified(log_of, resume) == 0
