"""A witness follows one branch of each log, whatever it is sent, whenever it is killed."""

import asyncio
import os
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from sharegate import durable
from sharegate.audit import checkpoint, fork, note
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.cosignature import Cosigner, cosigned_at
from sharegate.audit.note import Note, Signature, SignerKey, open_note
from sharegate.audit.proof import consistency_path
from sharegate.audit.witnessing import Refused, Status, Submission, encode
from sharegate.consortium.witness import Witness
from sharegate.consortium.witness_memory import Forgotten, WitnessMemory, origin_hash
from sharegate.errors import Misconfigured
from sharegate.observe import WitnessAnswered, WitnessState
from tests.unit.audit.branches import branch, fetched, root_of

ORIGIN = "tax.example/log"
LOG = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
NEW_KEY = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"n" * 32))
OTHER = SignerKey("housing.example/log", Ed25519PrivateKey.from_private_bytes(b"h" * 32))
NAME = "civil-affairs.example/witness"
COSIGNERS = (
    Cosigner(NAME, Ed25519PrivateKey.from_private_bytes(b"w" * 32)),
    Cosigner(NAME, MLDSA44PrivateKey.from_seed_bytes(b"w" * 32)),
)
NOW = 1_795_190_400


class Place:
    """A witness's directory, and witnesses over it, one after the other."""

    def __init__(self, directory):
        self.memory = WitnessMemory(directory)
        self.memory.seize()
        self.seen = []
        self.now = NOW

    def witness(self, logs=(LOG, OTHER)):
        keys = [each.verifier for each in logs]
        return Witness(COSIGNERS, keys, self.memory, lambda: self.now, self.seen.append)


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path / "witness")
    found.memory.begin(ORIGIN)
    found.memory.begin(OTHER.name)
    yield found
    found.memory.release()


def sent(old, size, leaves=None, key=LOG, path=None, more=()):
    leaves = leaves or branch(40)
    if path is None:
        path = consistency_path(old, size, fetched(leaves)) if old else ()
    state = Checkpoint(key.name, size, root_of(leaves, size))
    text = checkpoint.encode(state)
    return encode(Submission(old, path, note.encode(Note(text, (key.sign(text), *more)))))


async def status(witness, body):
    try:
        await witness.add_checkpoint(body)
    except Refused as refused:
        return refused.status
    return Status.COSIGNED


def size_of(memory, origin=ORIGIN):
    remembered = memory.recall(origin)
    return 0 if remembered is None else open_checkpoint(remembered, [LOG.verifier], ORIGIN).size


async def test_what_adds_is_cosigned_by_every_key_and_remembered_with_both_signers(place):
    witness = place.witness()
    lines = await witness.add_checkpoint(sent(0, 5))
    kept = witness.newest(origin_hash(ORIGIN))
    assert kept.endswith(lines)
    opened = open_note(kept, [LOG.verifier, *(each.verifier for each in COSIGNERS)])
    assert set(opened.signers) == {LOG.verifier, *(each.verifier for each in COSIGNERS)}
    assert {cosigned_at(line) for line in opened.note.signatures[1:]} == {NOW}
    assert await status(witness, sent(5, 9)) is Status.COSIGNED
    assert size_of(place.memory) == 9
    assert place.memory.recall(OTHER.name) is None
    assert [each.status for each in place.seen] == [200, 200]


async def test_the_same_again_refreshes_the_time(place):
    witness = place.witness()
    await witness.add_checkpoint(sent(0, 5))
    place.now += 60
    (first, _) = (await witness.add_checkpoint(sent(5, 5, path=()))).decode().splitlines()
    assert cosigned_at(Signature.parse(first)) == NOW + 60


async def test_each_wrong_question_has_its_answer_and_changes_nothing(place):
    witness = place.witness()
    await witness.add_checkpoint(sent(0, 9))
    before = place.memory.recall(ORIGIN)
    stranger = SignerKey("nobody.example", LOG.private_key)
    posing = SignerKey(ORIGIN, OTHER.private_key)
    forked = branch(40, fork=3)
    for body, answer in (
        (b"", 400), (b"old 9\n\nnothing", 400), (sent(12, 10, path=()), 400),
        (sent(0, 12, key=stranger), 404), (sent(9, 12, key=posing), 403),
        (sent(0, 12), 409), (sent(5, 12), 409), (sent(10, 12), 409),
        (sent(9, 12, path=()), 422), (sent(9, 12, leaves=forked), 422),
        (sent(9, 9, leaves=forked, path=()), 422),
    ):  # fmt: skip
        assert await status(witness, body) == answer
        assert place.memory.recall(ORIGIN) == before
    with pytest.raises(Refused) as stale:
        await witness.add_checkpoint(sent(0, 12))
    assert stale.value.size == 9


async def test_two_roots_of_one_size_are_kept_as_a_proof_that_anyone_can_check(place):
    witness = place.witness()
    await witness.add_checkpoint(sent(0, 9))
    await status(witness, sent(9, 9, leaves=branch(40, fork=3), path=()))
    (file,) = place.memory.directory.glob("evidence/*/*.fork.json")
    found = fork.verify(fork.parse(file.read_bytes()), [LOG.verifier], ORIGIN)
    assert found.first.size == found.second.size == 9
    assert [each.detail for each in place.seen if isinstance(each, WitnessState)] == [
        f"{ORIGIN} signed two roots of size 9"
    ]


async def test_evidence_is_kept_and_does_not_fill_the_disk(place):
    witness = place.witness()
    await witness.add_checkpoint(sent(0, 9))
    for number in range(70):
        await status(
            witness, sent(9, 10 + number % 30, leaves=branch(40, fork=number % 9), path=())
        )
    kept = list(place.memory.directory.glob("evidence/*/*"))
    assert 0 < len(kept) <= 64
    await status(witness, sent(9, 9, leaves=branch(40, fork=1), path=()))
    assert len(list(place.memory.directory.glob("evidence/*/*"))) <= 64


async def test_of_many_at_once_one_goes_on_and_the_rest_come_too_late(place):
    witness = place.witness()
    await witness.add_checkpoint(sent(0, 3))
    answers = await asyncio.gather(*(status(witness, sent(3, size)) for size in range(4, 24)))
    assert answers.count(Status.COSIGNED) == 1
    assert answers.count(Status.STALE) == 19


async def test_a_caller_who_is_gone_lets_nobody_in_half_way(place, monkeypatch):
    """Killed while the disk works: the next one is judged by what that writes, not before."""
    witness = place.witness()
    await witness.add_checkpoint(sent(0, 3))
    entered, go_on = threading.Event(), threading.Event()
    replace = durable.replace

    def slow(file, data):
        entered.set()
        assert go_on.wait(10)
        replace(file, data)

    monkeypatch.setattr(durable, "replace", slow)
    first = asyncio.create_task(witness.add_checkpoint(sent(3, 9)))
    await asyncio.to_thread(entered.wait, 10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(status(witness, sent(3, 5)))
    await asyncio.sleep(0.05)
    assert not second.done()
    go_on.set()
    assert await second is Status.STALE
    assert size_of(place.memory) == 9


async def test_what_may_not_be_on_disk_is_not_cosigned(place, monkeypatch):
    witness = place.witness()
    await witness.add_checkpoint(sent(0, 3))
    synced = []

    def full(handle):
        synced.append(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        await witness.add_checkpoint(sent(3, 5))
    monkeypatch.undo()
    assert synced
    assert size_of(place.memory) == 3
    assert await status(witness, sent(3, 5)) is Status.COSIGNED


async def test_it_is_on_disk_before_its_cosignature_is_given_away(place, monkeypatch):
    order = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), fsync(handle)))
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (order.append("rename"), rename(self, to))[1]
    )
    await place.witness().add_checkpoint(sent(0, 3))
    assert order == ["fsync", "rename", "fsync"]


async def test_a_restarted_witness_goes_on_where_it_was(place):
    await place.witness().add_checkpoint(sent(0, 9))
    again = place.witness()
    again.look_back()
    assert await status(again, sent(0, 12)) is Status.STALE
    assert await status(again, sent(9, 12)) is Status.COSIGNED
    assert [each for each in place.seen if isinstance(each, WitnessState)] == []


@pytest.mark.parametrize("loss", ["gone", "cut off", "of another log", "no longer the log's key"])
async def test_a_witness_that_lost_its_memory_cosigns_nothing(place, loss):
    await place.witness().add_checkpoint(sent(0, 9))
    file = place.memory.directory / f"{origin_hash(ORIGIN)}.note"
    logs = (LOG, OTHER)
    if loss == "gone":
        file.unlink()
    elif loss == "cut off":
        file.write_bytes(file.read_bytes()[:40])
    elif loss == "of another log":
        state = Checkpoint(OTHER.name, 9, root_of(branch(9), 9))
        file.write_bytes(checkpoint.sign(state, OTHER))
    else:
        logs = (NEW_KEY, OTHER)
    witness = place.witness(logs)
    witness.look_back()
    assert [each.usable for each in place.seen if isinstance(each, WitnessState)] == [False]
    key = NEW_KEY if loss == "no longer the log's key" else LOG
    for body in (sent(0, 9, key=key), sent(0, 40, key=key), sent(9, 12, key=key)):
        with pytest.raises(Forgotten):
            await witness.add_checkpoint(body)
    assert await status(witness, sent(0, 4, key=OTHER)) is Status.COSIGNED  # the others it does


async def test_a_logs_key_is_changed_with_overlap(place):
    await place.witness().add_checkpoint(sent(0, 9))
    both = place.witness((LOG, NEW_KEY, OTHER))
    assert await status(both, sent(9, 12, key=NEW_KEY)) is Status.COSIGNED
    assert await status(place.witness((NEW_KEY, OTHER)), sent(12, 13, key=NEW_KEY)) is (
        Status.COSIGNED
    )


async def test_a_stranger_adds_no_line_to_what_is_kept(place):
    text = checkpoint.encode(Checkpoint(ORIGIN, 5, root_of(branch(5), 5)))
    await place.witness().add_checkpoint(sent(0, 5, more=(OTHER.sign(text),)))
    names = [line.name for line in note.parse(place.memory.recall(ORIGIN)).signatures]
    assert names == [ORIGIN, NAME, NAME]


def test_a_log_is_begun_once(place):
    with pytest.raises(Misconfigured, match="has begun"):
        place.memory.begin(ORIGIN)


def test_one_process_at_a_time(place):
    other = WitnessMemory(place.memory.directory)
    with pytest.raises(Misconfigured, match="another witness"):
        other.seize()
    place.memory.release()
    other.seize()
    other.release()


async def test_nobody_is_told_of_a_log_that_was_never_cosigned(place):
    witness = place.witness()
    assert witness.newest(origin_hash(ORIGIN)) is None
    assert witness.newest(origin_hash("nobody.example")) is None
    await status(witness, b"")
    assert place.seen == [WitnessAnswered(Status.MALFORMED)]


async def test_sizes_only_grow_whatever_is_sent(place):
    """Cosigned sizes in the order they were cosigned, over branches, races and restarts."""
    grown = []
    await place.witness().add_checkpoint(sent(0, 5))  # past the fork: it belongs to one branch now
    for turn in range(6):
        witness = place.witness()
        leaves = branch(40, fork=None if turn % 2 == 0 else 2)
        known = size_of(place.memory)
        bodies = [sent(known, size, leaves=leaves) for size in range(known, known + 6)]
        await asyncio.gather(*(status(witness, body) for body in bodies))
        grown.append(size_of(place.memory))
    assert all(one <= other for one, other in pairwise(grown))
    final = open_checkpoint(place.memory.recall(ORIGIN), [LOG.verifier], ORIGIN)
    assert final.root == root_of(branch(40), final.size)
