"""A log that contradicts itself is convicted by its own signatures, and no honest log ever is."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit import checkpoint, fork
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.note import SignerKey
from sharegate.audit.proof import consistency_path
from sharegate.audit.verdict import Malformed, Unproven
from tests.unit.audit.branches import branch, fetched, root_of

ORIGIN = "tax.example/log"
LOG = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
OTHER = SignerKey("other.example", LOG.private_key)
KEYS = [LOG.verifier]


def signed(leaves, size, key=LOG):
    return checkpoint.sign(Checkpoint(key.name, size, root_of(leaves, size)), key)


def proven(first, second, root=None, path=()):
    return fork.prove((first, second), KEYS, ORIGIN, root=root, path=path)


@given(st.integers(1, 40), st.integers(0, 39))
def test_two_roots_of_one_size_are_a_fork(size, at):
    if at >= size:
        return
    ours, theirs = signed(branch(40), size), signed(branch(40, fork=at), size)
    found = fork.verify(proven(ours, theirs), KEYS, ORIGIN)
    assert found.first.size == found.second.size == size
    assert found.first.root != found.second.root


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 39))
def test_a_later_tree_that_began_otherwise_is_a_fork_in_either_order(first, second, at):
    if first >= second or at >= first:
        return
    ours, theirs = branch(40), branch(40, fork=at)
    path = consistency_path(first, second, fetched(theirs))
    notes = [signed(ours, first), signed(theirs, second)]
    for pair in (notes, notes[::-1]):
        proof = proven(*pair, root_of(theirs, first), path)
        found = fork.verify(fork.parse(fork.encode(proof)), KEYS, ORIGIN)
        assert (found.first.size, found.second.size) == (first, second)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_an_honest_log_is_never_convicted(first, second, data):
    """Whatever root and path anyone makes up."""
    leaves = branch(40)
    one, other = sorted((first, second))
    hashes = st.sampled_from([*leaves, *(root_of(leaves, n) for n in range(1, 41)), bytes(32)])
    root = data.draw(st.none() | hashes)
    path = data.draw(
        st.lists(hashes, max_size=7).map(tuple)
        | st.just(consistency_path(one, other, fetched(leaves)))
    )
    with pytest.raises(Unproven):
        proven(signed(leaves, first), signed(leaves, second), root, path)


def test_only_the_logs_own_signatures_convict_it():
    ours, theirs = branch(5), branch(5, fork=1)
    for first, second in (
        (signed(ours, 5), signed(theirs, 5, OTHER)),
        (signed(ours, 5, OTHER), signed(theirs, 5, OTHER)),
    ):
        with pytest.raises(Unproven):
            proven(first, second)
    stranger = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"s" * 32))
    with pytest.raises(Unproven):
        proven(signed(ours, 5), signed(theirs, 5, stranger))


def test_the_earlier_comes_first():
    ours, theirs = branch(9), branch(9, fork=1)
    path = consistency_path(5, 9, fetched(theirs))
    proof = proven(signed(ours, 5), signed(theirs, 9), root_of(theirs, 5), path)
    turned = fork.ForkProof(proof.second, proof.first, proof.root, proof.path)
    with pytest.raises(Unproven, match="later one"):
        fork.verify(turned, KEYS, ORIGIN)


SAID = json.loads(
    fork.encode(fork.ForkProof(signed(branch(5), 5), signed(branch(9), 9), bytes(32), (bytes(32),)))
)


@pytest.mark.parametrize(
    "change",
    [
        {"form": "sharegate-fork/v2"}, {"more": 1}, {"first": None}, {"first": 1}, {"path": None},
        {"path": "AAAA"}, {"path": [1]}, {"path": ["AAAA"]}, {"root": "AAAA"}, {"root": 1},
        {"path": SAID["path"] * 65}, {"first": "\ud800"},
    ],
)  # fmt: skip
def test_what_is_no_proof_is_malformed(change):
    with pytest.raises(Malformed):
        fork.parse(json.dumps(SAID | change).encode())


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"1", b"\xff", b"[" * 100_000, b'{"form":', b"1" * 5_000]
)
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(Malformed):
        fork.parse(data)
    assert fork.parse(json.dumps(SAID).encode()).root == bytes(32)
