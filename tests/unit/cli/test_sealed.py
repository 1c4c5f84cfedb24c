"""A log's files that are longer than any log, or say so: told in words, in little memory."""

import asyncio
import os
from concurrent.futures import Executor, Future
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import SignerKey
from sharegate.audit.tiles import WIDTH, bundles_of
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.cli.audit import sealed
from sharegate.cli.audit.sealed import Files, NotRight, published_hashes, verify_files
from sharegate.consortium.sealer import Sealer

KEY = SignerKey("log.example", Ed25519PrivateKey.from_private_bytes(b"l" * 32))


def verified(place, processes=1):
    return verify_files(Files(place, KEY.verifier), lambda *_: None, processes)


def signed(place, size, root=bytes(32)):
    (place / "checkpoint").write_bytes(sign(Checkpoint(KEY.name, size, root), KEY))


def endless(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    os.truncate(file, 2**40)


def hashes(place):
    return published_hashes(place, KEY.verifier)


@pytest.mark.parametrize(
    ("read", "name"),
    [(verified, "checkpoint"), (verified, "tile/entries/000.p/1"),
     (hashes, "checkpoint"), (hashes, "tile/0/000.p/1")],
)  # fmt: skip
def test_a_file_without_end_is_not_right(tmp_path, read, name):
    signed(tmp_path, 1)
    endless(tmp_path / name)
    with pytest.raises(NotRight, match=r"has more than [0-9]+ bytes"):
        read(tmp_path)


def test_a_quorum_file_without_end_is_not_right(tmp_path):
    signed(tmp_path, 0, Frontier.empty().root())
    assert verified(tmp_path) == 0
    endless(tmp_path / "quorum")
    with pytest.raises(NotRight, match="has more than 1000000 bytes"):
        verify_files(Files(tmp_path, KEY.verifier, tmp_path / "quorum"), lambda *_: None, 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_checkpoint_of_more_entries_than_any_log_has_is_not_right(
    tmp_path, monkeypatch, processes
):
    """What to read is not listed before it is read: the list would be longer than the memory."""
    listed = []

    def noted(size):
        for tile in bundles_of(size):
            listed.append(tile)
            assert len(listed) < 1000
            yield tile

    monkeypatch.setattr(sealed, "bundles_of", noted)
    signed(tmp_path, 2**62)
    with pytest.raises(NotRight, match="tile/entries/000: No such file"):
        verified(tmp_path, processes)


class Slow(Executor):
    """Does what it was given when somebody waits for it, and counts what is waiting."""

    def __init__(self, _processes):
        self.waiting = self.most = 0

    def submit(self, do, part):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        later = Future()
        later.result = partial(self._done, do, part)
        return later

    def _done(self, do, part):
        self.waiting -= 1
        return do(part)


class Leaves:
    """Entries for a sealer."""

    def __init__(self, leaves):
        self._leaves = leaves

    async def leaves(self, first, most):
        return self._leaves[first : first + most]


def test_no_more_parts_are_dealt_out_than_are_soon_read(tmp_path, monkeypatch):
    """And they come back in order."""
    size = 20 * WIDTH
    leaves, prev = [], GENESIS
    for n in range(size):
        leaves.append(encode_leaf(n, prev, b"{}"))
        prev = leaf_hash(leaves[-1])
    root = Frontier.empty().extend([*map(leaf_hash, leaves)]).root()
    note = sign(Checkpoint(KEY.name, size, root), KEY)
    asyncio.run(Sealer(tmp_path, KEY.verifier, Leaves(leaves)).seal(note))
    pools = []
    monkeypatch.setattr(sealed, "_PART", 1)
    monkeypatch.setattr(sealed, "pool_of", lambda n: pools.append(Slow(n)) or pools[-1])
    assert verified(tmp_path, 3) == size
    assert pools[0].most == 6
    assert pools[0].waiting == 0
