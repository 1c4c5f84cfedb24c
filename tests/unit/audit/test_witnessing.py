"""What a witness is asked, and what it agrees to: nothing that could be a fork."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit import checkpoint, note
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.note import Note, Signature, SignerKey
from sharegate.audit.proof import consistency_path
from sharegate.audit.text import write_base64
from sharegate.audit.tree import EMPTY_ROOT
from sharegate.audit.verdict import Malformed
from sharegate.audit.witnessing import (
    Refused,
    Status,
    Submission,
    encode,
    origin_of,
    parse,
    require_consistent,
    require_signed,
)
from tests.unit.audit.branches import branch, fetched, root_of

ORIGIN = "tax.example/log"
LOG = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
STRANGER = SignerKey("other.example", Ed25519PrivateKey.from_private_bytes(b"o" * 32))
BODY = (
    b"old 3\n" + write_base64(b"1" * 32).encode() + b"\n\n"
    + checkpoint.sign(Checkpoint(ORIGIN, 5, b"r" * 32), LOG)
)  # fmt: skip


def state(leaves, size):
    return Checkpoint(ORIGIN, size, root_of(leaves, size))


def submission(leaves, old, size, path=None):
    if path is None:
        path = consistency_path(old, size, fetched(leaves)) if old else ()
    return Submission(old, path, checkpoint.sign(state(leaves, size), LOG))


def refused(call, *values):
    with pytest.raises(Refused) as caught:
        call(*values)
    return caught.value.status


def test_a_submission_is_read_and_written_back():
    read = parse(BODY)
    assert (read.old, read.path) == (3, (b"1" * 32,))
    assert encode(read) == BODY
    assert origin_of(read) == ORIGIN
    assert require_signed(read, [LOG.verifier]).size == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"old 3", b"old 03"), (b"old 3", b"old +3"), (b"old 3", b"old"), (b"old 3", b"Old 3"),
        (b"old 3", b"old 3 "), (b"old 3", b"old -1"), (b"old 3\n", b""), (b"\n\n", b"\n"),
        (b"old 3", b"old 9223372036854775808"), (b"MTEx", b"MTE="), (b"MTEx", b"\xff\xff\xff\xff"),
        (b"old 3\n", b"old 3\n" + b"A" * 43 + b"=\n" + (b"B" * 43 + b"=\n") * 63),
        (b"old 3\n", b"old 3\nAAAA\n"),
    ],
)  # fmt: skip
def test_what_is_no_submission_is_malformed(old, new):
    assert old in BODY
    with pytest.raises(Malformed):
        parse(BODY.replace(old, new, 1))


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data):
    for body in (data, b"old 1\n\n" + data, b"old 1\n" + data):
        try:
            read = parse(body)
            origin_of(read)
            require_signed(read, [LOG.verifier])
        except (Malformed, Refused):
            pass


def test_sixty_three_hashes_are_read():
    read = Submission(1, (bytes(32),) * 63, BODY.partition(b"\n\n")[2])
    assert parse(encode(read)) == read
    with pytest.raises(Malformed):
        Submission(1, (bytes(32),) * 64, b"")
    with pytest.raises(Malformed):
        Submission(1, (bytes(31),), b"")


def test_only_what_its_log_signed_is_looked_at():
    text = checkpoint.encode(Checkpoint(ORIGIN, 5, b"r" * 32))
    by = {
        "a stranger": note.encode(Note(text, (STRANGER.sign(text),))),
        "the log, wrongly": note.encode(
            Note(text, (Signature(ORIGIN, LOG.verifier.key_id, bytes(64)),))
        ),
    }
    for data in by.values():
        assert refused(require_signed, Submission(0, (), data), [LOG.verifier]) is Status.UNSIGNED
    both = note.encode(Note(text, (STRANGER.sign(text), LOG.sign(text))))
    assert require_signed(Submission(0, (), both), [LOG.verifier]).size == 5


def test_signed_nonsense_is_malformed_and_an_empty_tree_with_a_root_is_inconsistent():
    def status(text, old=0):
        data = note.encode(Note(text, (LOG.sign(text),)))
        return refused(require_signed, Submission(old, (), data), [LOG.verifier])

    assert status("nonsense\n") is Status.MALFORMED
    assert status(f"{ORIGIN}\n5\n{write_base64(b'r' * 31)}\n") is Status.MALFORMED
    assert status(f"{ORIGIN}\n0\n{write_base64(b'r' * 32)}\n") is Status.INCONSISTENT
    assert status(f"{ORIGIN}\n5\n{write_base64(b'r' * 32)}\n", old=6) is Status.MALFORMED
    empty = checkpoint.sign(Checkpoint(ORIGIN, 0, EMPTY_ROOT), LOG)
    assert require_signed(Submission(0, (), empty), [LOG.verifier]).size == 0


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_a_witness_follows_one_tree_and_only_from_where_it_is(known, old, size):
    leaves = branch(40)
    latest = state(leaves, known) if known else None
    if old > size:
        return
    sent = submission(leaves, old, size)
    new = require_signed(sent, [LOG.verifier])
    if old == known:
        require_consistent(sent, new, latest)
    else:
        assert refused(require_consistent, sent, new, latest) is Status.STALE


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 39))
def test_no_branch_is_ever_followed(known, size, fork):
    """Whatever proof is offered: another tree, the right one, none."""
    ours, theirs = branch(40), branch(40, fork=fork)
    if fork >= known or size < known:
        return
    latest = state(ours, known)
    paths = [(), (bytes(32),), consistency_path(known, size, fetched(theirs)),
             consistency_path(known, size, fetched(ours))]  # fmt: skip
    for path in paths:
        sent = submission(theirs, known, size, path)
        new = require_signed(sent, [LOG.verifier])
        assert refused(require_consistent, sent, new, latest) is Status.INCONSISTENT


def test_the_same_again_refreshes_and_another_root_does_not():
    ours, theirs = branch(5), branch(5, fork=4)
    sent = submission(ours, 5, 5, ())
    require_consistent(sent, require_signed(sent, [LOG.verifier]), state(ours, 5))
    sent = submission(theirs, 5, 5, ())
    new = require_signed(sent, [LOG.verifier])
    assert refused(require_consistent, sent, new, state(ours, 5)) is Status.INCONSISTENT


def test_nothing_is_proven_of_an_empty_log():
    sent = submission(branch(5), 0, 5, (bytes(32),))
    new = require_signed(sent, [LOG.verifier])
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    for latest in (None, empty):
        assert refused(require_consistent, sent, new, latest) is Status.INCONSISTENT
        require_consistent(submission(branch(5), 0, 5), new, latest)
