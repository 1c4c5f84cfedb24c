"""The signer over a real audit log: what it signs, who takes over, and what it refuses."""

import asyncio
import contextlib
import shutil
from dataclasses import dataclass

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.chain import encode_leaf
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint, sign
from sharegate.audit.note import SignerKey
from sharegate.audit.proof import verify_inclusion
from sharegate.audit.tree import Frontier, leaf_hash, range_root
from sharegate.consortium.coverage import Coverage, computed
from sharegate.consortium.memory import SignerMemory
from sharegate.consortium.signer import Signer
from sharegate.errors import AuditLogUnavailable, LogDiverged, Unavailable
from sharegate.observe import AuditLogState, Signed, SignerState
from sharegate.record.audit_log import Appended
from sharegate.record.reader import PostgresReader
from tests.integration.audit_database import ORIGIN, draft, make, until, until_usable

KEY = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))


@dataclass
class Member:
    """One gateway's audit log with its signer."""

    audit_log: object
    coverage: Coverage
    signer: Signer
    reader: PostgresReader
    seen: list

    async def usable(self):
        """Wait until exchanges may be recorded here: a follower first needs a checkpoint."""
        await until_usable(self.audit_log, self.coverage)

    async def record(self, *texts):
        """Append entries and wait until each is covered, as an exchange does."""

        async def one(text):
            fate = await self.audit_log.append(draft(text))
            assert isinstance(fate, Appended)
            async with asyncio.timeout(60):
                return await self.coverage.covered(fate.index)

        return await asyncio.gather(*(one(text) for text in texts))


class Place:
    """An audit log, and where its signer's memory is."""

    def __init__(self, database, path):
        self.database = database
        self.path = path

    @contextlib.asynccontextmanager
    async def member(self, *, key=KEY, path=None):
        seen = []
        async with self.database.gateway(observe=seen.append) as audit_log:
            reader = PostgresReader(self.database.read)
            coverage = Coverage(reader)
            memory = SignerMemory(path or self.path, key.name)
            signer = Signer(key, memory, reader, coverage, audit_log, seen.append)
            try:
                await signer.start()
                yield Member(audit_log, coverage, signer, reader, seen)
            finally:
                await signer.stop()
                await reader.close()

    async def fill(self, count):
        """Append entries that nobody waits for, a batch of them at a time."""
        async with self.database.gateway() as audit_log:
            await asyncio.gather(*(audit_log.append(draft(b"%d" % n)) for n in range(count)))

    async def subtrees(self):
        rows = await self.database.ask("select level, n, hash from sharegate.subtree order by 1, 2")
        return {(row["level"], row["n"]): row["hash"] for row in rows}

    async def refusal(self, **changes):
        """What it says when it refuses to start."""
        with pytest.raises(LogDiverged) as refused:
            async with self.member(**changes):
                pass
        return str(refused.value)

    def remembered(self):
        return SignerMemory(self.path, ORIGIN).recall()

    async def alter(self, statement, *values):
        """Change what only grows, as someone with every right in the database could."""
        connection = await asyncpg.connect(self.database.owner)
        await connection.execute("set session_replication_role = replica")
        await connection.execute(statement, *values)
        await connection.close()


@pytest.fixture
async def place(database, tmp_path):
    return Place(await make(database), tmp_path / "signer.memory")


def proven(covered, leaves):
    """Check a proof against the signed checkpoint, and that against the whole log."""
    checkpoint = open_checkpoint(covered.checkpoint, [KEY.verifier], ORIGIN)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    assert Frontier.empty().extend(hashes[: checkpoint.size]).root() == checkpoint.root
    assert leaves[covered.index] == covered.leaf
    path = covered.paths.path(covered.index)
    verify_inclusion(covered.index, checkpoint.size, hashes[covered.index], path, checkpoint.root)
    return checkpoint


def whole_subtrees(leaves):
    """The subtrees that must be stored, from the definition."""
    return {
        (level, n): Frontier.empty()
        .extend([leaf_hash(leaf) for leaf in leaves[n << level : n + 1 << level]])
        .root()
        for level in (8, 16)
        for n in range(len(leaves) >> level)
    }


# --- signing ----------------------------------------------------------------------------------


async def test_every_exchange_gets_a_proof_under_a_signed_checkpoint(place):
    async with place.member() as member:
        made = await member.record(b"1") + await member.record(*(b"%d" % n for n in range(40)))
        leaves = await place.database.leaves()
        sizes = {proven(covered, leaves).size for covered in made}
        assert place.remembered().frontier.size == 41
    assert max(sizes) == 41
    assert [seen.size for seen in member.seen if isinstance(seen, Signed)] == sorted(sizes)
    assert len(sizes) < 10, "one checkpoint covers a whole batch"
    # On stopping, the newest checkpoint is kept for whoever comes next.
    (row,) = await place.database.ask(
        "select note from sharegate.checkpoint order by size desc limit 1"
    )
    assert open_checkpoint(row["note"], [KEY.verifier], ORIGIN).size == 41


async def test_what_was_appended_while_nobody_signed_is_signed_at_the_start(place):
    async with place.member():
        pass
    await place.fill(700)
    async with place.member() as member:
        member.coverage.require_usable()
        leaves = await place.database.leaves()
        assert proven(await member.coverage.covered(3), leaves).size == 700
        assert place.remembered().frontier.size == 700


async def test_what_no_standby_may_have_is_not_signed_until_a_commit_goes_well(place):
    async with place.member() as member:
        await member.record(b"one")
        member.audit_log.doubtful = True
        await place.fill(1)  # as seen here after a commit that was cancelled while it waited
        member.coverage.wanted.set()
        await asyncio.sleep(0.6)
        assert place.remembered().frontier.size == 1
        await member.record(b"two")
        assert not member.audit_log.doubtful
        assert place.remembered().frontier.size == 3


async def test_the_state_is_remembered_before_it_is_signed(place, monkeypatch):
    async with place.member() as member:
        await member.record(b"1")

        def full(_state):
            raise OSError(28, "no space")

        with monkeypatch.context() as patch:
            patch.setattr(member.signer._memory, "remember", full)
            with pytest.raises(AuditLogUnavailable):
                await member.record(b"2")
            assert open_checkpoint(member.coverage.checkpoint, [KEY.verifier], ORIGIN).size == 1
            with pytest.raises(AuditLogUnavailable):
                member.coverage.require_usable()

        async def usable():
            return open_checkpoint(member.coverage.checkpoint, [KEY.verifier], ORIGIN).size == 2

        await until(usable)
        member.coverage.require_usable()
        assert [covered.index for covered in await member.record(b"3")] == [2]


async def test_complete_subtrees_are_stored_and_old_proofs_made_of_them(place):
    async with place.member() as member:
        await place.fill(800)
        await member.record(b"last")
    leaves = await place.database.leaves()
    assert await place.subtrees() == whole_subtrees(leaves)
    async with place.member() as member:
        for index in (0, 255, 256, 700, 800):
            assert proven(await member.coverage.covered(index), leaves).size == 801


async def test_subtrees_that_were_lost_are_hashed_again_at_the_start(place):
    async with place.member() as member:
        await place.fill(1100)
        await member.record(b"last")
    leaves = await place.database.leaves()
    for loss in ("true", "n >= 2", "n = 1", "n = 0"):
        await place.database.ask(f"delete from sharegate.subtree where {loss}")
        async with place.member():
            pass
        assert await place.subtrees() == whole_subtrees(leaves), loss


async def test_a_signer_whose_connection_was_cut_still_hears_of_other_gateways(place):
    async with place.member() as first, place.member() as second:
        await second.usable()
        await second.record(b"1")
        # The connection on which it listens for others; it has nothing of its own to read.
        pid = first.reader._connection.get_server_pid()
        await place.database.ask("select pg_terminate_backend($1)", pid)
        assert first.signer.signs
        assert [covered.index for covered in await second.record(b"2")] == [1]


async def grown(place, size):
    return await place.database.size() == size


async def test_between_two_batches_who_signs_waits_and_who_follows_does_not(place, monkeypatch):
    async with place.member() as first, place.member() as second:
        await second.usable()
        fate = await first.audit_log.append(draft(b"1"))
        assert first.coverage.state.frontier.size == fate.index + 1  # signed by now
        sign_new, held = Signer._sign_new, asyncio.Event()

        async def held_up(signer):
            await held.wait()
            await sign_new(signer)

        monkeypatch.setattr(Signer, "_sign_new", held_up)
        waits = asyncio.create_task(first.audit_log.append(draft(b"2")))
        await until(lambda: grown(place, 2))
        behind = asyncio.create_task(first.audit_log.append(draft(b"3")))
        assert (await second.audit_log.append(draft(b"4"))).index == 2
        assert (await second.audit_log.append(draft(b"5"))).index == 3
        assert not waits.done()
        held.set()
        assert [(await each).index for each in (waits, behind)] == [1, 4]


# --- following and taking over ----------------------------------------------------------------


async def test_a_follower_covers_its_own_exchanges_with_the_signers_checkpoints(place):
    async with place.member() as first, place.member() as second:
        await second.usable()
        made = await second.record(b"a", b"b")
        assert (first.signer.signs, second.signer.signs) == (True, False)
        made += (await asyncio.gather(first.record(b"c", b"d"), second.record(b"e", b"f")))[1]
        leaves = await place.database.leaves()
        for covered in made:
            proven(covered, leaves)
        assert not [seen for seen in second.seen if isinstance(seen, Signed)]
    assert place.remembered().frontier.size == 6


async def test_a_follower_takes_over_where_the_signer_ended(place):
    async with contextlib.AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(contextlib.AsyncExitStack())
        first = await leaving.enter_async_context(place.member())
        second = await stack.enter_async_context(place.member())
        await second.usable()
        await second.record(b"1", b"2")
        await first.record(*(b"%d" % n for n in range(30)))
        await leaving.aclose()

        async def signs():
            return second.signer.signs

        await until(signs)
        made = await second.record(b"after")
        made += [await second.coverage.covered(index) for index in range(33)]
        leaves = await place.database.leaves()
        for covered in made:
            proven(covered, leaves)
        assert place.remembered().frontier.size == 33
    assert await place.subtrees() == {}


async def test_a_follower_believes_no_checkpoint_but_the_logs(place):
    async with place.member() as first, place.member() as second:
        await second.usable()
        await second.record(b"1")
        forged = sign(Checkpoint(ORIGIN, 2, b"\x01" * 32), KEY)  # with the stolen key, even
        await place.fill(1)
        first.signer._tasks[1].cancel()  # it keeps no more checkpoints
        await place.database.ask(
            "insert into sharegate.checkpoint values (2, $1) "
            "on conflict (size) do update set note = excluded.note",
            forged,
        )

        async def frozen():
            try:
                second.coverage.require_usable()
            except AuditLogUnavailable as refused:
                return refused.reason is Unavailable.FROZEN
            return False

        await until(frozen)
        assert any(
            isinstance(seen, AuditLogState) and "frozen" in seen.detail for seen in second.seen
        )


# --- several hosts ------------------------------------------------------------------------------


def elsewhere(place):
    """The memory of a second host."""
    return place.path.with_name("elsewhere")


def begins_to_sign(member):
    async def condition():
        return member.signer.signs

    return condition


async def test_of_two_hosts_one_signs_and_the_other_follows_from_the_beginning(place, monkeypatch):
    monkeypatch.setattr("sharegate.consortium.stored.MOST", 4)
    monkeypatch.setattr("sharegate.consortium.signer.MOST", 4)
    await filled(place, 11)
    async with place.member() as first, place.member(path=elsewhere(place)) as second:
        await second.usable()
        made = await second.record(b"a", b"b")
        made += (await asyncio.gather(first.record(b"c", b"d"), second.record(b"e", b"f")))[1]
        assert (first.signer.signs, second.signer.signs) == (True, False)
        leaves = await place.database.leaves()
        for covered in [*made, await second.coverage.covered(0)]:
            proven(covered, leaves)

        async def remembers():
            known = SignerMemory(elsewhere(place), ORIGIN).recall()
            return known is not None and known.frontier.size >= 11

        await until(remembers)
    assert not [seen for seen in second.seen if isinstance(seen, Signed)]


async def test_what_is_left_when_the_oldest_entries_went_is_followed_and_proven(place):
    await filled(place, 700)

    async def stored():
        (row,) = await place.database.ask("select count(*) from sharegate.subtree where level = 8")
        return row[0] == 2

    async with place.member() as first:
        await until(stored)
        gone = await place.database.archive(512)
        assert len(await place.database.leaves()) == 700 - 512
        async with place.member(path=elsewhere(place)) as second:
            await second.usable()
            made = [*await first.record(b"a", b"b"), *await second.record(b"c")]
            leaves = [*gone, *await place.database.leaves()]
            for member in (first, second):
                made += [await member.coverage.covered(index) for index in (512, 600, 699)]
            for covered in made:
                proven(covered, leaves)
            with pytest.raises(AuditLogUnavailable):
                await second.coverage.covered(300)
            second.coverage.require_usable()
        tree = Frontier.empty().extend([leaf_hash(leaf) for leaf in leaves[:512]])
        assert await computed(first.reader, lambda each: range_root(0, 512, each)) == tree.root()
        # Where a witness fell that far behind, no root is made up from other leaves.
        with pytest.raises(AuditLogUnavailable):
            await computed(first.reader, lambda each: range_root(0, 300, each))
    async with place.member() as again:
        proven(await again.coverage.covered(699), leaves)


async def test_who_knows_less_than_what_went_does_not_go_on(place):
    """It could be another log: what lies between is not there to tell."""
    await filled(place, 300)
    shutil.copy(place.path, elsewhere(place))
    await filled(place, 400)
    await place.database.archive(512)
    await place.database.ask("update sharegate.signing set until = '-infinity'")
    with pytest.raises(LogDiverged):
        async with place.member(path=elsewhere(place)):
            pass


async def test_a_host_takes_over_from_another_that_stops_and_gives_back(place):
    sizes = []
    async with contextlib.AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(contextlib.AsyncExitStack())
        first = await leaving.enter_async_context(place.member())
        second = await stack.enter_async_context(place.member(path=elsewhere(place)))
        await second.usable()
        await first.record(*(b"%d" % n for n in range(30)))
        await until(lambda: reached(elsewhere(place), 1))
        await leaving.aclose()
        await until(begins_to_sign(second))
        sizes += [proven(each, await place.database.leaves()).size for each in
                  await second.record(*(b"%d" % n for n in range(300)))]  # fmt: skip
        # The first comes back with a memory of before, which another host's checkpoints continue.
        assert place.remembered().frontier.size == 30
        back = await stack.enter_async_context(place.member())
        await back.usable()
        await back.record(b"here again")
        assert (back.signer.signs, second.signer.signs) == (False, True)
    async with place.member() as member:
        leaves = await place.database.leaves()
        assert member.signer.signs
        assert proven(await member.coverage.covered(0), leaves).size == 331
        assert max(sizes) == 330
    assert await place.subtrees() == whole_subtrees(leaves)


@pytest.mark.parametrize("at_work", [True, False])
async def test_who_took_over_from_a_host_at_work_tells_it_of_what_is_signed(place, at_work):
    """It may come back and append before it learns that it no longer signs."""
    async with contextlib.AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(contextlib.AsyncExitStack())
        await leaving.enter_async_context(place.member())
        second = await stack.enter_async_context(place.member(path=elsewhere(place)))
        second.signer.lease.others_live = at_work
        second.signer._memory.remember(second.coverage.state)
        await leaving.aclose()
        await until(begins_to_sign(second))
        assert second.audit_log.announce is at_work


async def reached(path, size):
    known = SignerMemory(path, ORIGIN).recall()
    return known is not None and known.frontier.size >= size


async def test_a_signer_whose_right_was_taken_signs_nothing_more(place):
    """As after a long sleep: its own clock is not asked, the database says so."""
    async with place.member() as member:
        await member.record(b"1")
        await place.database.ask(
            "update sharegate.signing set fence = fence + 1, holder = $1,"
            " until = now() + interval '1 hour'",
            b"o" * 16,
        )

        async def follows():
            return not member.signer.signs

        await until(follows)
        assert member.audit_log.announce
        await member.audit_log.append(draft(b"2"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await member.coverage.covered(1)
        assert place.remembered().frontier.size == 1
        with pytest.raises(asyncpg.PostgresError) as refused:
            await member.audit_log.keep_checkpoint(1, 2, b"late", [])
        assert refused.value.sqlstate == "SG003"
        with pytest.raises(asyncpg.PostgresError) as refused:
            await member.audit_log.keep_cosigned(1, b"late")
        assert refused.value.sqlstate == "SG003"
        await place.database.ask("update sharegate.signing set until = now()")
        assert proven(await member.coverage.covered(1), await place.database.leaves()).size == 2
        assert member.signer.signs
    turns = [seen.signs for seen in member.seen if isinstance(seen, SignerState)]
    assert turns == [True, False, True]


async def test_what_ran_out_while_it_was_being_remembered_is_not_signed(place, monkeypatch):
    async with place.member() as member:
        await member.record(b"1")
        monkeypatch.setattr(member.signer.lease, "runs", lambda: False)
        with pytest.raises(AuditLogUnavailable):
            await member.audit_log.append(draft(b"2"))
        assert open_checkpoint(member.coverage.checkpoint, [KEY.verifier], ORIGIN).size == 1
        monkeypatch.undo()
        await member.usable()
        assert (await member.coverage.covered(1)).index == 1


async def test_a_host_without_a_memory_does_not_take_over_from_a_dead_one(place):
    """The lease of one that died is no sign of life; nor may it be a log that was rolled back."""
    await filled(place)
    await place.database.ask(
        "update sharegate.signing set until = now() + interval '3 seconds', holder = $1", b"o" * 16
    )
    async with place.member(path=elsewhere(place)) as member:
        assert not member.signer.signs

        async def frozen():
            try:
                member.coverage.require_usable()
            except AuditLogUnavailable as refused:
                return refused.reason is Unavailable.FROZEN
            return False

        await until(frozen)
        with pytest.raises(AuditLogUnavailable, match="memory is missing"):
            member.coverage.require_usable()


async def test_a_host_refuses_what_another_signed_over_other_entries(place):
    """It remembers five entries; in their place another host's signer found and signed others."""
    await filled(place)
    leaves = await place.database.leaves()
    altered = encode_leaf(4, leaf_hash(leaves[3]), b"{}")
    more = encode_leaf(5, leaf_hash(altered), b"{}")
    root = (
        Frontier.empty().extend([leaf_hash(leaf) for leaf in [*leaves[:4], altered, more]]).root()
    )
    forged = sign(Checkpoint(ORIGIN, 6, root), KEY)
    await place.alter("update sharegate.entry set leaf = $1 where seq = 4", altered)
    await place.alter("insert into sharegate.entry values (5, gen_random_uuid(), $1, '', '')", more)
    await place.alter("update sharegate.head set size = 6, last = $1", leaf_hash(more))
    await place.alter("insert into sharegate.checkpoint values (6, $1, $2)", forged, b"o" * 16)
    assert "does not follow" in await place.refusal()


async def test_a_copy_of_a_memory_is_refused_once_the_other_has_signed_more(place):
    await filled(place)
    copy = elsewhere(place)
    copy.write_bytes(place.path.read_bytes())
    await filled(place, 3)
    assert "memory is behind" in await place.refusal(path=copy)


# --- refusing ---------------------------------------------------------------------------------


async def filled(place, count=5):
    async with place.member() as member:
        await member.record(*(b"%d" % n for n in range(count)))


async def test_it_refuses_a_database_that_is_behind_its_memory(place):
    await filled(place)
    leaves = await place.database.leaves()
    await place.alter("delete from sharegate.entry where seq = 4")
    await place.alter("update sharegate.head set size = 4, last = $1", leaf_hash(leaves[3]))
    assert "behind" in await place.refusal()


async def test_it_refuses_to_begin_anew_without_its_memory(place):
    await filled(place)
    place.path.unlink()
    assert "missing" in await place.refusal()
    # Nor with one that was emptied, nor when the entries went with it.
    place.path.write_bytes(b"")
    assert "missing" in await place.refusal()
    await place.alter("delete from sharegate.entry")
    await place.alter("update sharegate.head set size = 0, last = $1", bytes(32))
    assert "missing" in await place.refusal()


async def test_it_refuses_a_memory_from_before_the_last_checkpoint(place):
    await filled(place)
    backup = place.path.read_bytes()
    await filled(place, 3)
    place.path.write_bytes(backup)
    assert "memory is behind" in await place.refusal()


async def test_it_refuses_the_log_of_another_origin(place):
    await filled(place)
    other = SignerKey("other.example", KEY.private_key)
    assert "other.example" in await place.refusal(key=other, path=place.path.with_name("other"))


async def test_it_refuses_a_memory_of_another_log(place):
    other = SignerMemory(place.path.with_name("other"), "other.example")
    other.seize()
    async with place.member() as member:
        await member.record(b"1")
        other.remember(place.remembered())
    other.release()
    assert "another log" in await place.refusal(path=place.path.with_name("other"))


async def test_it_refuses_when_the_last_signed_entry_was_altered(place):
    await filled(place)
    leaves = await place.database.leaves()
    altered = encode_leaf(4, leaf_hash(leaves[3]), b"{}")
    await place.alter("update sharegate.entry set leaf = $1 where seq = 4", altered)
    assert "entry 4" in await place.refusal()
    await place.alter("update sharegate.head set last = $1", leaf_hash(altered))
    assert "entry 4" in await place.refusal()
    await place.alter("delete from sharegate.entry where seq = 4")
    assert "entry 4" in await place.refusal()


async def test_it_refuses_a_head_that_is_not_that_of_its_last_entry(place):
    await filled(place)
    await place.alter("update sharegate.head set last = $1", b"\x01" * 32)
    assert "head" in await place.refusal()


async def test_it_refuses_a_second_history_signed_with_the_same_key(place):
    await filled(place)
    forged = sign(Checkpoint(ORIGIN, 5, b"\x01" * 32), KEY)
    await place.alter("update sharegate.checkpoint set note = $1 where size = 5", forged)
    assert "two checkpoints of size 5" in await place.refusal()


async def test_it_refuses_a_checkpoint_that_is_not_the_logs(place):
    await filled(place)
    stranger = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"\x08" * 32))
    forged = sign(Checkpoint(ORIGIN, 5, b"\x01" * 32), stranger)
    await place.alter("update sharegate.checkpoint set note = $1 where size = 5", forged)
    assert "not this log's" in await place.refusal()


async def test_having_refused_it_lets_go_of_its_memory(place):
    await filled(place)
    (head,) = await place.database.ask("select last from sharegate.head")
    await place.alter("update sharegate.head set last = $1", b"\x01" * 32)
    await place.refusal()
    await place.alter("update sharegate.head set last = $1", head["last"])
    await filled(place, 2)
    assert place.remembered().frontier.size == 7


@pytest.mark.parametrize("what", ["an altered entry", "a rewritten link", "a lost entry"])
async def test_running_it_freezes_at_once_and_signs_nothing_more(place, what):
    async with place.member() as member:
        await member.record(b"1", b"2", b"3")
        signed = member.coverage.checkpoint
        leaves = await place.database.leaves()
        forged = {
            "an altered entry": encode_leaf(3, leaf_hash(leaves[2]), b"{}"),
            "a rewritten link": encode_leaf(3, b"\x01" * 32, b"{}"),
            "a lost entry": encode_leaf(4, leaf_hash(leaves[2]), b"{}"),
        }[what]
        await place.alter(
            "with h as (update sharegate.head set size = 4) "
            "insert into sharegate.entry values (3, gen_random_uuid(), $1, '', '')",
            forged,
        )
        with pytest.raises(AuditLogUnavailable) as refused:
            async with asyncio.timeout(60):
                await member.coverage.covered(3)
        assert refused.value.reason is Unavailable.FROZEN
        with pytest.raises(AuditLogUnavailable):
            await member.coverage.covered(0)
        assert member.coverage.checkpoint == signed
        assert place.remembered().frontier.size == 3
    assert any(
        isinstance(seen, AuditLogState) and seen.detail.startswith("frozen") for seen in member.seen
    )


@pytest.mark.parametrize("slip", [OSError("gone"), AttributeError("a driver's slip"), TypeError()])
async def test_checkpoints_are_kept_again_after_whatever_kept_them_from_it(
    place, slip, monkeypatch
):
    monkeypatch.setattr("sharegate.consortium.signer._KEEP_SECONDS", 0.01)
    async with place.member() as member:
        keep, tries = member.audit_log.keep_checkpoint, []

        async def slips(*given):
            tries.append(given)
            if len(tries) < 8:
                raise slip
            await keep(*given)

        member.audit_log.keep_checkpoint = slips
        await member.record(b"1")

        async def kept():
            return await place.database.ask("select from sharegate.checkpoint where size = 1") != []

        await until(kept)
    told = [seen for seen in member.seen if isinstance(seen, AuditLogState) and not seen.usable]
    assert [type(slip).__name__ in seen.detail for seen in told[:1]] == [True]
