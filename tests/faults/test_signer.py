"""The signer never signs a second history, nor bytes that are not those that were appended.

A database or a memory that was put back refuses to start (C3); a flipped bit freezes the log
(C5); a memory that cannot be written signs nothing and recovers (A3).
"""

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import asyncpg
import pytest

from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.audit.checkpoint import open_checkpoint
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.proof import verify_inclusion
from sharegate.audit.tree import leaf_hash
from sharegate.cli.audit import verify_log
from sharegate.cli.call import prepare, send
from sharegate.cli.demo.stage import ORIGIN
from sharegate.cli.keys import new_signing_key
from sharegate.consortium import signer as signer_module
from sharegate.consortium import stored as stored_module
from sharegate.consortium.coverage import Coverage, extend
from sharegate.consortium.memory import LogState, SignerMemory
from sharegate.consortium.signer import Signer
from sharegate.errors import AuditLogUnavailable, LogDiverged, Unavailable
from sharegate.record.audit_log import Lent
from sharegate.record.reader import Tail
from sharegate.settings import load_settings
from tests.faults.callers import PATIENCE_SECONDS, asking, assert_kept, assert_refused
from tests.site import AT_START

SLOT = 4096


async def asked(site, times=1):
    """So many exchanges, each answered."""
    for _ in range(times):
        reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
        assert reply.status == 200, reply.body


async def as_superuser(site, script):
    connection = await asyncpg.connect(site.audit_dsn())
    try:
        await connection.execute(script)
    finally:
        await connection.close()


def memory_of(site):
    return site.place / "state" / "signer.memory"


def refuses_to_start(gateway):
    """Run the gateway, which must end by itself; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "sharegate", "serve", "--config", str(gateway.config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 1, (done.returncode, done.stderr)
    return done.stderr


async def until_frozen(gateway):
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        status, said = await asyncio.to_thread(gateway.readiness)
        if status == 503 and json.loads(said)["reason"] == "frozen":
            return json.loads(said)["detail"]
        await asyncio.sleep(0.02)
    raise AssertionError(f"never frozen; last seen: {status} {said}")


# --- a database that was put back ---------------------------------------------------------------


async def put_back(server, copy):
    """Let the server go on from an older copy of its files."""
    await server.stop("fast")
    data = server.directory / "data"
    shutil.rmtree(data)
    subprocess.run(["cp", "-a", copy, data], check=True)
    await server.start()


async def copied(server):
    """A base backup: the files of the stopped server."""
    await server.stop("fast")
    copy = server.directory / "data.copy"
    subprocess.run(["cp", "-a", server.directory / "data", copy], check=True)
    await server.start()
    return copy


async def test_a_restored_database_is_refused_at_the_start(apart):
    gateway = apart.gateway()
    gateway.start()
    await asked(apart, 3)
    assert gateway.stop() == 0
    copy = await copied(apart.server)
    gateway.start()
    await asked(apart, 2)
    assert gateway.stop() == 0
    await put_back(apart.server, copy)
    behind = f"the database is behind: {AT_START + 3} entries, but {AT_START + 5} were signed"
    assert behind in refuses_to_start(gateway)


async def test_a_database_restored_under_a_running_gateway_freezes_it(apart):
    """The new entries would get places that other entries have under a checkpoint."""
    gateway = apart.gateway()
    gateway.start()
    await asked(apart, 3)
    copy = await copied(apart.server)
    await asyncio.to_thread(gateway.wait_until_ready)
    async with asking(apart.caller("civil-affairs"), apart.properties) as load:
        await load.until_answered(40)
        await apart.server.stop("immediate")
        await asyncio.sleep(0.1)
        gone = time.monotonic()
        await put_back(apart.server, copy)
        said = await until_frozen(gateway)
        await asyncio.sleep(0.5)
    assert "entr" in said
    assert load.released()
    assert load.since(gone)
    assert_refused([one for one in load.since(gone) if one.ended > one.began], [])


# --- the signer's memory ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed_log(module_apart):
    """A stopped gateway's log of three entries; its memory now, and after the first of them."""
    gateway = module_apart.gateways[0]
    gateway.start()
    asyncio.run(asked(module_apart))
    older = memory_of(module_apart).read_bytes()
    asyncio.run(asked(module_apart, 2))
    assert gateway.stop() == 0
    return module_apart, older, memory_of(module_apart).read_bytes()


def newest_slot(memory):
    """Where the newest slot begins: the one that, torn, would take the memory back."""
    turns = [
        json.loads(memory[at + 32 : at + SLOT].strip(b"\n\0") or b'{"turn": 0}')["turn"]
        for at in (0, SLOT)
    ]
    return SLOT * turns.index(max(turns))


def torn(memory, at):
    """A slot of which only the first half was written."""
    return memory[: at + 100] + bytes(SLOT - 100) + memory[at + SLOT :]


def test_a_torn_slot_leaves_the_state_before_it(signed_log):
    site, _, memory = signed_log
    other = SLOT - newest_slot(memory)
    memory_of(site).write_bytes(torn(memory, other))
    gateway = site.gateways[0]
    gateway.start()
    asyncio.run(asked(site))
    assert gateway.stop() == 0
    verified = asyncio.run(verify_log(load_settings(gateway.config).audit_log))
    assert isinstance(verified, int), verified


@pytest.mark.parametrize(
    ("memory_now", "said"),
    [
        (lambda older, now: None, "and the signer's memory is missing"),
        (lambda older, now: b"", "and the signer's memory is missing"),
        (
            lambda older, now: older,
            f"the signer's memory is behind: it ends at {AT_START + 1}, but a checkpoint",
        ),
        (lambda older, now: torn(now, newest_slot(now)), "the signer's memory is behind"),
        (lambda older, now: torn(torn(now, 0), SLOT), "is damaged"),
        (lambda older, now: bytes(2 * SLOT), "is damaged"),
        (lambda older, now: now[:64], "is damaged"),
    ],
    ids=["missing", "empty", "older", "newest-torn", "both-torn", "zeros", "cut"],
)
def test_a_memory_that_is_not_the_last_one_is_refused(signed_log, memory_now, said):
    site, older, _ = signed_log
    memory = memory_of(site)
    now = memory.read_bytes()
    changed = memory_now(older, now)
    try:
        if changed is None:
            memory.unlink()
        else:
            memory.write_bytes(changed)
        assert said in refuses_to_start(site.gateways[0])
    finally:
        memory.write_bytes(now)


# --- bytes that changed after they were appended ------------------------------------------------


FLIPS = {
    "magic": "new.leaf := set_byte(new.leaf, 0, get_byte(new.leaf, 0) # 1)",
    "number": "new.leaf := set_byte(new.leaf, 11, get_byte(new.leaf, 11) # 1)",
    "link": "new.leaf := set_byte(new.leaf, 20, get_byte(new.leaf, 20) # 1)",
    "core": "new.leaf := set_byte(new.leaf, 44, get_byte(new.leaf, 44) # 1)",
    "last-byte": "new.leaf := set_byte(new.leaf, length(new.leaf) - 1, 0)",
    "cut": "new.leaf := substring(new.leaf for length(new.leaf) - 1)",
}


@pytest.mark.parametrize("flip", FLIPS)
async def test_a_bit_that_flips_before_it_is_signed_is_never_signed(running, flip):
    """The exchange whose entry it is gets no answer, and nobody gets one any more."""
    gateway = running.gateways[0]
    await asked(running)
    before = SignerMemory(memory_of(running), ORIGIN).recall()
    await as_superuser(
        running,
        "create table public.original as select seq, leaf from sharegate.entry limit 0;"
        "create function public.flip() returns trigger language plpgsql security definer as"
        " $$ begin insert into public.original values (new.seq, new.leaf);"
        f" {FLIPS[flip]}; return new; end $$;"
        "create trigger flip before insert on sharegate.entry"
        " for each row execute function public.flip()",
    )
    # One caller, so that the entry stands alone: in a batch the next one would tell on it.
    async with asking(running.caller("civil-affairs"), running.properties, callers=1) as load:
        await until_frozen(gateway)
        await asyncio.sleep(0.2)
    assert load.released() == {}
    assert_refused(load.asked, [])
    assert SignerMemory(memory_of(running), ORIGIN).recall() == before
    gateway.kill()
    assert "entr" in refuses_to_start(gateway)
    await as_superuser(
        running,
        "set session_replication_role = replica;"
        "update sharegate.entry e set leaf = o.leaf from public.original o where o.seq = e.seq;"
        "set session_replication_role = origin;"
        "drop trigger flip on sharegate.entry; drop function public.flip();"
        "drop table public.original",
    )
    gateway.start()
    await asked(running)
    await assert_kept(running, load)


async def test_a_flipped_hash_in_the_head_freezes_an_idle_signer(running):
    """The next entry would be linked to what never was."""
    gateway = running.gateways[0]
    await asked(running)
    flip = "update sharegate.head set last = set_byte(last, 7, get_byte(last, 7) # 1)"
    await as_superuser(running, flip)
    said = await until_frozen(gateway)
    assert "is not the one that was appended" in said
    await as_superuser(running, flip)
    gateway.kill()


# --- a memory that cannot be written ------------------------------------------------------------


class StoredLog:
    """What the signer needs of a reader, and of what keeps its checkpoints."""

    announce = doubtful = False

    def __init__(self):
        self.stored = []

    def append(self, core=b"{}"):
        prev = leaf_hash(self.stored[-1]) if self.stored else GENESIS
        self.stored.append(encode_leaf(len(self.stored), prev, core))

    async def listen(self, channel, heard):
        pass

    async def head(self):
        return ORIGIN, len(self.stored), leaf_hash(self.stored[-1]) if self.stored else GENESIS

    async def leaves(self, first, most):
        return self.stored[first : first + most]

    async def tail(self, first, most):
        _, size, last = await self.head()
        return Tail(size, last, 1, await self.leaves(first, most))

    async def archived(self):
        return 0, GENESIS, b""

    async def checkpoint(self):
        return None

    async def subtrees(self, ranges):
        return {}

    async def stored_subtrees(self, level):
        return 0

    async def take_signing(self, holder, seconds):
        return Lent(1, None, datetime.min.replace(tzinfo=UTC))

    async def renew_signing(self, fence, seconds):
        return True

    async def keep_checkpoint(self, fence, size, note, subtrees):
        pass


class Signing:
    """A signer in this process over a log in memory; every checkpoint it signed is in `signed`."""

    def __init__(self, place, monkeypatch):
        self.stored = StoredLog()
        self.memory = place / "memory"
        self.coverage = Coverage(self.stored)
        self.key = SignerKey(ORIGIN, new_signing_key(place / "log.pem"))
        self.signed, self.too_early = [], []
        sign = signer_module.sign

        def sign_what_is_remembered(checkpoint, key):
            remembered = SignerMemory(self.memory, ORIGIN).recall().frontier
            if (remembered.size, remembered.root()) != (checkpoint.size, checkpoint.root):
                self.too_early.append(checkpoint.size)
            self.signed.append(checkpoint.size)
            return sign(checkpoint, key)

        monkeypatch.setattr(signer_module, "sign", sign_what_is_remembered)
        self.signer = Signer(
            self.key,
            SignerMemory(self.memory, ORIGIN),
            self.stored,
            self.coverage,
            self.stored,
            lambda seen: None,
        )

    async def __aenter__(self):
        await self.signer.start()
        return self

    async def __aexit__(self, *error):
        await self.signer.stop()
        assert not self.too_early, "signed before it was remembered"

    def size(self):
        key = VerifierKey.parse(self.key.vkey)
        return open_checkpoint(self.coverage.checkpoint, [key], ORIGIN).size


def raising(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


FAILURES = [
    ("pwrite", raising(errno.ENOSPC)),
    ("pwrite", raising(errno.EIO)),
    ("pwrite", lambda file, data, at: 100),
    ("fdatasync", raising(errno.EIO)),
]


@pytest.mark.parametrize(("call", "failing"), FAILURES, ids=["full", "eio", "short", "sync-eio"])
async def test_what_cannot_be_remembered_is_not_signed(tmp_path, monkeypatch, call, failing):
    async with Signing(tmp_path, monkeypatch) as signing:
        signing.stored.append()
        await signing.coverage.covered(0)
        with monkeypatch.context() as broken:
            broken.setattr(os, call, failing)
            for index in (1, 2):
                signing.stored.append()
                with pytest.raises(AuditLogUnavailable):
                    await signing.coverage.covered(index)
                with pytest.raises(AuditLogUnavailable):
                    signing.coverage.require_usable()
        assert signing.size() == 1
        assert max(signing.signed) == 1
        async with asyncio.timeout(PATIENCE_SECONDS):
            while signing.size() < 3:
                await asyncio.sleep(0.01)
        signing.coverage.require_usable()
        assert (await signing.coverage.covered(1)).index == 1
    assert SignerMemory(signing.memory, ORIGIN).recall().frontier.size == 3


async def test_the_loop_waits_for_a_disk_only_once_it_was_fast_for_long(tmp_path, monkeypatch):
    """A disk that begins to take its time holds the event loop up once, and never again."""
    now, takes, on_the_loop = 0.0, 0.0, []
    monkeypatch.setattr(signer_module, "perf_counter", lambda: now)
    remember = SignerMemory.remember

    def slow(self, state):
        nonlocal now
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        now += takes
        remember(self, state)

    monkeypatch.setattr(SignerMemory, "remember", slow)
    async with Signing(tmp_path, monkeypatch) as signing:

        async def sign(count):
            on_the_loop.clear()
            for _ in range(count):
                signing.stored.append()
                await signing.coverage.covered(len(signing.stored.stored) - 1)
            return on_the_loop[:count]

        await sign(signer_module._FAST_TIMES)
        assert await sign(4) == [True] * 4
        takes = 0.002
        assert await sign(3) == [True, False, False]
        takes = 0.0
        assert await sign(signer_module._FAST_TIMES) == [False] * signer_module._FAST_TIMES
        assert await sign(2) == [True] * 2
        with monkeypatch.context() as broken:  # what fails was not fast
            broken.setattr(os, "fdatasync", raising(errno.EIO))
            signing.stored.append()
            with pytest.raises(AuditLogUnavailable):
                await signing.coverage.covered(len(signing.stored.stored) - 1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while signing.size() < len(signing.stored.stored):
                await asyncio.sleep(0.01)
        assert await sign(1) == [False]


async def test_a_signer_that_signs_before_it_remembers_is_found(tmp_path, monkeypatch):
    """The mutant of the test above."""
    async with Signing(tmp_path, monkeypatch) as signing:
        signing.stored.append()
        await signing.coverage.covered(0)
        monkeypatch.setattr(SignerMemory, "remember", lambda self, state: None)
        signing.stored.append()
        await signing.coverage.covered(1)
        assert signing.too_early == [2]
        signing.too_early.clear()


async def test_a_drivers_slip_on_a_dying_connection_ends_no_signer(tmp_path, monkeypatch):
    """As asyncpg has it where a connection is cut under a statement: an AttributeError."""
    async with Signing(tmp_path, monkeypatch) as signing:
        signing.stored.append()
        await signing.coverage.covered(0)
        real, slips = signing.stored.tail, [AttributeError("'NoneType' object has no attribute")]

        async def tail(first, most):
            if slips:
                raise slips.pop()
            return await real(first, most)

        monkeypatch.setattr(signing.stored, "tail", tail)
        signing.stored.append()
        with pytest.raises(AuditLogUnavailable):
            await signing.coverage.covered(1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while signing.size() < 2:
                await asyncio.sleep(0.01)
        await signing.coverage.covered(1)


# --- a witness that says, at any moment, that the log was signed otherwise ----------------------


MOMENTS = {
    "reading": lambda signing: (signing.stored, "tail"),
    "lent": lambda signing: (signing.signer.lease, "continues"),
    "remembering": lambda _: (SignerMemory, "remember"),
    "signing": lambda _: (signer_module, "sign"),
}


async def frozen_while(signing, monkeypatch, moment):
    """Freeze it at this moment of signing a second entry, and let it go on as it was going to."""
    signing.stored.append()
    await signing.coverage.covered(0)
    loop, came = asyncio.get_running_loop(), asyncio.Event()

    async def freeze():
        if len(signing.stored.stored) > 1 and not came.is_set():
            signing.signer.freeze("a witness holds another checkpoint")
            came.set()

    def in_its_thread(*arguments):
        asyncio.run_coroutine_threadsafe(freeze(), loop).result(PATIENCE_SECONDS)
        return work(*arguments)

    async def in_the_loop(*arguments):
        await freeze()
        return await work(*arguments)

    where, name = MOMENTS[moment](signing)
    work = getattr(where, name)
    first = in_the_loop if asyncio.iscoroutinefunction(work) else in_its_thread
    monkeypatch.setattr(where, name, first)
    signing.stored.append()
    signing.coverage.wanted.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await came.wait()
        await signing.signer._tasks[0]


def assert_frozen(signing):
    with pytest.raises(AuditLogUnavailable, match="a witness holds another") as refused:
        signing.coverage.require_usable()
    assert refused.value.reason is Unavailable.FROZEN
    assert signing.size() == 1


@pytest.mark.parametrize("moment", MOMENTS)
async def test_frozen_while_it_signs_it_stays_frozen(tmp_path, monkeypatch, moment):
    """Whatever was under way, nobody is shown a checkpoint from then on; but for the one just being
    signed, none is signed either."""
    async with Signing(tmp_path, monkeypatch) as signing:
        await frozen_while(signing, monkeypatch, moment)
        assert_frozen(signing)
        assert signing.signed[-1] == (2 if moment == "signing" else 1)
        assert not signing.signer.signs
        for _ in range(3):
            signing.stored.append()
        with pytest.raises(AuditLogUnavailable):
            await signing.coverage.covered(1)
    assert_frozen(signing)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_freeze_that_does_not_last_is_found(tmp_path, monkeypatch, moment):
    """The mutant of the test above: what was under way ends as if nothing had been said."""
    monkeypatch.setattr(Coverage, "_is_frozen", False)
    monkeypatch.setattr(Signer, "_require_unfrozen", lambda self: None)
    async with Signing(tmp_path, monkeypatch) as signing:
        await frozen_while(signing, monkeypatch, moment)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            assert_frozen(signing)


@pytest.mark.parametrize("changed", range(9))
async def test_a_backlog_is_signed_only_as_far_as_it_is_vouched_for(tmp_path, monkeypatch, changed):
    """More entries than are read at once: the last of each lot has its witness in the next."""
    monkeypatch.setattr(signer_module, "MOST", 4)
    monkeypatch.setattr(stored_module, "MOST", 4)
    signing = Signing(tmp_path, monkeypatch)
    for _ in range(9):
        signing.stored.append()
    good = list(signing.stored.stored)
    last = leaf_hash(good[-1])
    signing.stored.stored[changed] = good[changed][:-1] + b"!"

    async def head():
        return ORIGIN, len(good), last

    signing.stored.head = head
    signing.memory.write_bytes(memory_of_an_empty_log(tmp_path))
    with pytest.raises(LogDiverged):
        await signing.signer.start()
    assert max(signing.signed) <= changed
    await signing.signer.stop()


async def test_an_entry_signed_by_a_process_that_died_is_proven_after_the_takeover(
    tmp_path, monkeypatch
):
    """Neither among the batches followed before, nor signed since: it is read back."""
    signing = Signing(tmp_path, monkeypatch)
    for _ in range(3):
        signing.stored.append()
    followed = extend(LogState.empty(), signing.stored.stored[:1])
    signing.coverage.publish(followed, b"a checkpoint of size 1")
    known = extend(LogState.empty(), signing.stored.stored)
    signing.coverage.resume(known.after, b"a checkpoint of size 3")
    for index in range(3):
        covered = await signing.coverage.covered(index)
        assert covered.leaf == signing.stored.stored[index]
        if index:
            path, root = covered.paths.path(index), known.after.frontier.root()
            verify_inclusion(index, 3, leaf_hash(covered.leaf), path, root)


async def test_a_follower_without_a_checkpoint_covers_nothing(tmp_path, monkeypatch):
    """What the memory knows is not yet signed by anything one could hand out."""
    signing = Signing(tmp_path, monkeypatch)
    for _ in range(3):
        signing.stored.append()
    signing.coverage.resume(LogState.empty(), b"a checkpoint of size 0")
    known = extend(LogState.empty(), signing.stored.stored)
    signing.coverage.resume(known.after, b"")
    for index in range(4):
        with pytest.raises(AuditLogUnavailable):
            await signing.coverage.covered(index)


def memory_of_an_empty_log(place):
    memory = SignerMemory(place / "empty", ORIGIN)
    assert memory.seize()
    memory.remember(LogState.empty())
    memory.release()
    return (place / "empty").read_bytes()
