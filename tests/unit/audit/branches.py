"""Small trees, and others that begin like them and go another way."""

from collections.abc import Sequence

from sharegate.audit.tree import EMPTY_ROOT, Frontier, leaf_hash


def branch(size: int, fork: int | None = None) -> list[bytes]:
    """Leaf hashes; from `fork` on they are others."""
    return [
        leaf_hash(b"entry %d%s" % (n, b"" if fork is None or n < fork else b" otherwise"))
        for n in range(size)
    ]


def root_of(leaves: Sequence[bytes], size: int) -> bytes:
    return Frontier.empty().extend(leaves[:size]).root() if size else EMPTY_ROOT


def fetched(leaves: Sequence[bytes]):
    """What `proof.consistency_path` reads complete subtrees from."""

    def fetch(level, n):
        return root_of(leaves[n << level : (n + 1) << level], 1 << level)

    return fetch
