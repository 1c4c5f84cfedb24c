"""The signer's memory: it survives any one torn write, and one process at a time has it."""

import os
import subprocess
import sys
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharegate.audit.tree import Frontier
from sharegate.consortium import memory as remembering
from sharegate.consortium.memory import LogState, SignerMemory
from sharegate.errors import LogDiverged

ORIGIN = "audit.sharegate.example"
SLOT = 4096


def state(size):
    hashes = [sha256(b"%d" % n).digest() for n in range(size)]
    return LogState(Frontier.empty().extend(hashes), hashes[-1] if hashes else bytes(32))


def seized(path, origin=ORIGIN):
    memory = SignerMemory(path, origin)
    assert memory.seize()
    memory.recall()
    return memory


def recalled(path):
    return SignerMemory(path, ORIGIN).recall()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "signer.memory"


def remember(path, *sizes):
    memory = seized(path)
    for size in sizes:
        memory.remember(state(size))
    memory.release()


def test_where_nothing_was_remembered_there_is_nothing(path):
    assert recalled(path) is None
    remember(path)
    assert path.exists()
    assert recalled(path) is None
    assert path.stat().st_mode & 0o077 == 0


def test_the_newest_state_is_recalled_each_time_and_by_the_next_process(path):
    memory = seized(path)
    for size in (0, 1, 2, 3, 255, 256, 257, 1000):
        memory.remember(state(size))
        assert recalled(path) == state(size)
    memory.release()
    remember(path, 1001)
    assert recalled(path) == state(1001)
    assert path.stat().st_size == 2 * SLOT


def test_a_state_of_any_likely_size_fits_its_slot(path):
    memory = seized(path, "o" * 255)
    full = Frontier(2**52 - 1, (b"\xff" * 32,) * 52)
    memory.remember(LogState(full, b"\xff" * 32))
    memory.remember(LogState(full, b"\xff" * 32))
    assert SignerMemory(path, "o" * 255).recall().frontier == full


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 5),
    st.integers(0, SLOT),
    st.sampled_from(["old bytes", "zeros", "rubbish"]),
)
def test_a_write_torn_by_a_power_cut_leaves_the_state_before_it(tmp_path_factory, n, kept, rest):
    path = tmp_path_factory.mktemp("memory") / "m"
    remember(path, *range(n))
    before = path.read_bytes()
    memory = seized(path)
    memory.remember(state(n))
    memory.release()
    after = path.read_bytes()
    (at,) = [
        at for at in (0, SLOT) if before[at : at + SLOT].ljust(SLOT, b"\0") != after[at : at + SLOT]
    ]
    new, old = after[at : at + SLOT], before[at : at + SLOT].ljust(SLOT, b"\0")
    filler = {"old bytes": old, "zeros": bytes(SLOT), "rubbish": b"\x5a" * SLOT}[rest]
    torn = new[:kept] + filler[kept:]
    path.write_bytes(after[:at] + torn + after[at + SLOT :])
    assert recalled(path) == state(n if torn == new else n - 1)
    # And from there it goes on: the next write spoils the torn slot, never the good one.
    if torn != new:
        memory = seized(path)
        memory.remember(state(n + 10))
        memory.release()
        good = path.read_bytes()
        path.write_bytes(good[:at] + b"\x5a" * SLOT + good[at + SLOT :])
        assert recalled(path) == state(n - 1)


def test_if_nothing_is_whole_it_refuses_rather_than_begin_anew(path):
    remember(path, 1, 2)
    path.write_bytes(bytes(2 * SLOT))
    with pytest.raises(LogDiverged, match="damaged"):
        recalled(path)
    path.write_bytes(b"x")
    with pytest.raises(LogDiverged, match="damaged"):
        recalled(path)


def test_any_flipped_bit_is_seen(path):
    remember(path, 1, 2)
    whole = path.read_bytes()
    used = [at for at in range(len(whole)) if whole[at] not in (0, 10)]
    for at in used[:: len(used) // 60]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        # Turn 1 is in the second slot, turn 2 in the first: spoilt, it is as if it never was.
        assert recalled(path) == state(1 if at < SLOT else 2)


def test_the_memory_of_another_log_is_refused(path):
    remember(path, 1)
    with pytest.raises(LogDiverged, match="another log"):
        SignerMemory(path, "other.example").recall()


@pytest.mark.parametrize("broken", ["pwrite", "fdatasync", "short"])
def test_writes_that_fail_never_spoil_the_state_before_them(path, broken, monkeypatch):
    memory = seized(path)
    memory.remember(state(1))
    memory.remember(state(2))
    pwrite = os.pwrite

    def torn(file, slot, at):
        pwrite(file, b"\x5a" * 100, at)
        if broken == "pwrite":
            raise OSError(5, "EIO")
        return 100 if broken == "short" else pwrite(file, slot, at)

    def unsynced(_file):
        raise OSError(5, "EIO")

    for size in (3, 4, 5):  # however often it is tried
        with monkeypatch.context() as patch:
            patch.setattr(remembering.os, "pwrite", torn)
            if broken == "fdatasync":
                patch.setattr(remembering.os, "fdatasync", unsynced)
            with pytest.raises(OSError):
                memory.remember(state(size))
        data = path.read_bytes()
        at = SLOT if data[:SLOT].find(b'"size":2') > 0 else 0  # the slot that was being written
        path.write_bytes(data[:at] + b"\x5a" * SLOT + data[at + SLOT :])
        assert recalled(path) == state(2)
    memory.remember(state(6))
    assert recalled(path) == state(6)


def test_it_is_on_the_disk_before_remember_returns(path, monkeypatch):
    done = []
    fdatasync, pwrite = os.fdatasync, os.pwrite
    monkeypatch.setattr(remembering.os, "pwrite", lambda *a: done.append("written") or pwrite(*a))
    monkeypatch.setattr(
        remembering.os, "fdatasync", lambda f: done.append("durable") or fdatasync(f)
    )
    memory = seized(path)
    memory.remember(state(1))
    assert done == ["written", "durable"]


def test_nobody_remembers_without_holding_the_file(path):
    with pytest.raises(AssertionError):
        SignerMemory(path, ORIGIN).remember(state(1))


# --- one process at a time --------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from sharegate.consortium.memory import SignerMemory
memory = SignerMemory(Path(sys.argv[1]), sys.argv[2])
print(memory.seize(), flush=True)
sys.stdin.read()
"""


def test_another_process_holds_it_until_it_ends_however_it_ends(path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), ORIGIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout.readline() == "True\n"
        mine = SignerMemory(path, ORIGIN)
        assert not mine.seize()
        other.kill()
    assert mine.seize()
    assert not SignerMemory(path, ORIGIN).seize()
    mine.release()
    assert SignerMemory(path, ORIGIN).seize()


def test_a_program_it_starts_does_not_inherit_the_hold(path):
    memory = seized(path)
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    with child:
        child.stdout.readline()  # it runs: whatever is closed at its start is closed
        memory.release()
        assert SignerMemory(path, ORIGIN).seize()
        child.kill()
