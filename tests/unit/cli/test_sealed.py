"""A log's files that are longer than any log, or say so: told in words, in little memory."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import SignerKey
from sharegate.audit.tree import Frontier
from sharegate.cli.audit.sealed import Files, NotRight, published_hashes, verify_files

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
