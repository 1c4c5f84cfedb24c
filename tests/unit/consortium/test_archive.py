"""An archive of a log that holds anything: an entry counts where it is spelt as it must be."""

from hashlib import sha256

import msgspec
import pytest

from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.audit.tiles import WIDTH, bundles_of, encode_bundle
from sharegate.audit.tree import leaf_hash
from sharegate.consortium.archive import Archive, NotWhole
from sharegate.record.entry import b64
from sharegate.record.search import Stored

SAYS = b'{"facts":{"to":256},"kind":"archive"}'
SPELT_OTHERWISE = b'{ "facts":{"entry":0,"to":256},"kind":"archive"}'
SEALED = b"sealed"


def entry_id(n):
    return n.to_bytes(16)


def with_detail(n):
    said = {"algorithm": "A256GCM", "ciphertext": b64(sha256(SEALED).digest())}
    core = {"detail": said, "id": b64(entry_id(n)), "kind": "release"}
    return msgspec.json.Encoder(order="sorted").encode(core)


def archived(place, cores):
    """The archive of a log with these cores, and its leaves."""
    leaves, prev = [], GENESIS
    for n, core in enumerate(cores):
        leaves.append(encode_leaf(n, prev, core))
        prev = leaf_hash(leaves[-1])
    for tile in bundles_of(len(leaves)):
        file = place / tile.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_bundle(leaves[tile.n * WIDTH : tile.n * WIDTH + tile.width]))
    return Archive(place, place / "details", len(leaves)), leaves


@pytest.mark.parametrize("core", [SPELT_OTHERWISE, b'"kind":"archive"', b"[" * 600 + SAYS])
def test_an_entry_that_is_not_canonical_says_nothing_of_archives(tmp_path, core):
    archive, _ = archived(tmp_path, [b"{}", core, b"{}"])
    with pytest.raises(NotWhole, match="no entry says that any left"):
        archive.told()
    archive, _ = archived(tmp_path / "more", [b"{}", core, SAYS])
    assert archive.told() == 256


def test_a_detail_is_not_erased_by_an_entry_that_is_not_canonical(tmp_path):
    archive, leaves = archived(tmp_path, [*map(with_detail, range(WIDTH)), SPELT_OTHERWISE])
    rows = [
        Stored(entry_id=entry_id(n), leaf=leaf, sealed=SEALED, wrapped=b"key", blind=None,
               erased_by=None)
        for n, leaf in enumerate(leaves[:WIDTH])
    ]  # fmt: skip
    archive.write(0, rows)
    assert archive.hold(WIDTH).frontier.size == WIDTH
    rows[0] = msgspec.structs.replace(rows[0], wrapped=None, erased_by=WIDTH)
    archive.write(0, rows)
    with pytest.raises(NotWhole, match="entry 0: its detail is gone, and no entry says why"):
        archive.hold(WIDTH)
