"""A rewritten log is convicted by what it signed before, also by a program that knows us not."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.cli.main import main
from tests.integration.searchable import KEY, invented, searchable

STRANGER = Path(__file__).with_name("fork_checker.mjs")
SIZE = 33


@pytest.fixture
async def rewritten(database, tmp_path):
    """A log of 33 entries; whoever asks for a note gets one of it, or of another history."""
    made = await searchable(database)
    await made.append(*(invented(Random(n), n) for n in range(SIZE)))
    hashes = [leaf_hash(leaf) for leaf in await made.database.leaves()]
    config = made.settings(tmp_path)

    def note(size, fork=None, name="note"):
        own = [each if fork is None or n < fork else bytes(32) for n, each in enumerate(hashes)]
        root = Frontier.empty().extend(own[:size]).root()
        file = tmp_path / name
        file.write_bytes(sign(Checkpoint(KEY.name, size, root), KEY))
        return str(file)

    return note, config, tmp_path / "proof.json"


def strangely(proof, key=KEY.vkey):
    """What Node's own crypto says."""
    if shutil.which("node") is None:
        if os.environ.get("CI"):
            pytest.fail("node is needed here")
        pytest.skip("SKIPPED ALOUD: no node, so no second program checked the proof")
    done = subprocess.run(
        ["node", STRANGER, proof, key], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def checked(proof, key=KEY.vkey):
    return main(["audit", "check-fork", str(proof), "--log-key", key])


@pytest.mark.parametrize(("size", "fork"), [(20, 7), (32, 31), (16, 0), (1, 0), (31, 3), (8, 7)])
async def test_a_log_that_was_rewritten_is_convicted(rewritten, capsys, size, fork):
    note, config, proof = rewritten
    before, after = note(size, fork, "before"), note(SIZE, name="after")
    arguments = ["--log-key", KEY.vkey, "--config", str(config), "--out", str(proof)]
    # In a thread: it runs an event loop of its own.
    code = await asyncio.to_thread(main, ["audit", "prove-fork", after, before, *arguments])
    assert code == 0
    assert f"FORK  {KEY.name} signed a checkpoint of {size} entries" in capsys.readouterr().out
    assert checked(proof) == 0
    assert f"one of {SIZE} entries" in capsys.readouterr().out
    assert strangely(proof) == (0, f"FORK {size} {SIZE}")


async def test_two_roots_of_one_size_need_no_database(rewritten, capsys):
    note, _, proof = rewritten
    notes = note(20, name="one"), note(20, 3, name="other")
    assert main(["audit", "prove-fork", *notes, "--log-key", KEY.vkey]) == 0
    proof.write_text(capsys.readouterr().out)
    assert checked(proof) == 0
    assert strangely(proof) == (0, "FORK 20 20")


async def test_an_honest_log_is_not_convicted(rewritten, capsys):
    note, config, proof = rewritten
    one, other = note(20, name="one"), note(SIZE, name="other")
    arguments = ["--log-key", KEY.vkey, "--config", str(config), "--out", str(proof)]
    assert await asyncio.to_thread(main, ["audit", "prove-fork", one, other, *arguments]) == 1
    assert "not shown" in capsys.readouterr().err
    assert main(["audit", "prove-fork", one, one, "--log-key", KEY.vkey]) == 1
    assert "of one tree" in capsys.readouterr().err
    assert main(["audit", "prove-fork", one, other, "--log-key", KEY.vkey]) == 1
    assert "give --files or --config" in capsys.readouterr().err
    assert not proof.exists()


async def test_another_log_than_that_of_the_larger_checkpoint_shows_nothing(rewritten, capsys):
    note, config, _ = rewritten
    one, other = note(20, name="one"), note(SIZE, 3, name="other")
    arguments = ["--log-key", KEY.vkey, "--config", str(config)]
    assert await asyncio.to_thread(main, ["audit", "prove-fork", one, other, *arguments]) == 1
    assert "not the one that the larger checkpoint is of" in capsys.readouterr().err


async def test_every_altered_proof_is_refused_by_both(rewritten, capsys):
    note, config, proof = rewritten
    before, after = note(20, 7, "before"), note(SIZE, name="after")
    arguments = ["--log-key", KEY.vkey, "--config", str(config), "--out", str(proof)]
    assert await asyncio.to_thread(main, ["audit", "prove-fork", before, after, *arguments]) == 0
    good = proof.read_bytes()
    chance = Random(3)
    for _ in range(40):
        at = chance.randrange(len(good))
        altered = good[:at] + bytes([good[at] ^ 1 << chance.randrange(7)]) + good[at + 1 :]
        proof.write_bytes(altered)
        if checked(proof) == 0:  # white space, or a member's order
            pytest.fail(f"byte {at} may be another: {altered}")
    proof.write_bytes(good.replace(b"sharegate-fork/v1", b"sharegate-fork/v2"))
    assert checked(proof) == 1
    assert strangely(proof)[0] == 1
    capsys.readouterr()
    proof.write_bytes(good)
    other = KEY.vkey.replace(KEY.name, "another.example")
    assert checked(proof, other) == 1
    assert "key id" in capsys.readouterr().err
