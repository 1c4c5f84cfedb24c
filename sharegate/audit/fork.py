"""Proof that a log contradicted itself: two checkpoints that it signed and no one tree has. Pure.

Of one size they contradict each other when their roots differ. Of two sizes, a path is needed that
leads to the later root and, for the earlier size, to another root than the earlier checkpoint's: by
the later checkpoint the log then had other entries among the first ones. (RFC 9162 section 2.1.4.2,
read the other way round: it computes both roots.) Whoever holds the log's public key can check a
proof; who made it does not matter.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.proof import verify_consistency
from sharegate.audit.text import read_base64, write_base64
from sharegate.audit.tree import HASH_BYTES
from sharegate.audit.verdict import Malformed, Unproven

FORM: Final = "sharegate-fork/v1"
MAX_PATH: Final = 64
_MEMBERS: Final = {"form", "first", "second", "root", "path"}


@dataclass(frozen=True, slots=True)
class ForkProof:
    """Two checkpoint notes and what shows that they contradict each other; not judged.

    Attributes:
        first: The note of the smaller checkpoint.
        second: That of the larger one, or of one as large.
        root: The root that the second tree has at the first size; None for checkpoints of one size.
        path: The consistency path from that root to the second root.
    """

    first: bytes
    second: bytes
    root: bytes | None = None
    path: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Fork:
    """Two checkpoints, both signed by the log of their origin, that no one tree has."""

    first: Checkpoint
    second: Checkpoint


def verify(proof: ForkProof, verifiers: Iterable[VerifierKey], origin: str) -> Fork:
    """Check that a log contradicted itself.

    Args:
        proof: What is offered.
        verifiers: The keys one trusts, the log's among them.
        origin: The log.

    Raises:
        Malformed: A note is no checkpoint.
        Unproven: The log did not sign both, or they may be of one tree.
    """
    keys = tuple(verifiers)
    first, second = (open_checkpoint(data, keys, origin) for data in (proof.first, proof.second))
    if first.size > second.size:
        raise Unproven("the first checkpoint is the later one")
    if first.size == second.size:
        if first.root == second.root:
            raise Unproven("both are of one tree")
        return Fork(first, second)
    if proof.root is None or proof.root == first.root:
        raise Unproven("it is not shown that the second tree began otherwise")
    verify_consistency(first.size, second.size, proof.root, second.root, proof.path)
    return Fork(first, second)


def prove(
    notes: Sequence[bytes],
    verifiers: Iterable[VerifierKey],
    origin: str,
    *,
    root: bytes | None = None,
    path: tuple[bytes, ...] = (),
) -> ForkProof:
    """Make a proof of two contradicting checkpoints, in either order.

    Args:
        notes: The two.
        verifiers: The keys one trusts, the log's among them.
        origin: The log.
        root: The root of the later checkpoint's tree at the earlier size, if the sizes differ.
        path: The consistency path from it.

    Raises:
        Malformed: A note is no checkpoint.
        Unproven: They do not contradict each other, or it is not shown.
    """
    keys = tuple(verifiers)
    one, other = notes
    if open_checkpoint(one, keys, origin).size > open_checkpoint(other, keys, origin).size:
        one, other = other, one
    proof = ForkProof(one, other, root, path)
    verify(proof, keys, origin)
    return proof


def encode(proof: ForkProof) -> bytes:
    """Write a proof as a JSON document of one line."""
    said = {
        "form": FORM,
        "first": proof.first.decode(),
        "second": proof.second.decode(),
        "root": None if proof.root is None else write_base64(proof.root),
        "path": [write_base64(each) for each in proof.path],
    }
    return json.dumps(said, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def parse(data: bytes) -> ForkProof:
    """Read a proof without judging it.

    Raises:
        Malformed: Not one.
    """
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):  # a number of thousands of digits is a plain ValueError
        raise Malformed("not a proof: no JSON") from None
    try:
        if set(said) != _MEMBERS or said["form"] != FORM:
            raise Malformed(f"a proof has the form {FORM} and its members alone")
        root = None if said["root"] is None else read_base64(said["root"])
        path = tuple(read_base64(each) for each in said["path"])
        proof = ForkProof(said["first"].encode(), said["second"].encode(), root, path)
    except (TypeError, AttributeError, UnicodeError) as error:
        raise Malformed(f"not a proof: {type(error).__name__}") from error
    hashes = path if root is None else (root, *path)
    if len(path) > MAX_PATH or any(len(each) != HASH_BYTES for each in hashes):
        raise Malformed(f"a proof has at most {MAX_PATH} hashes of {HASH_BYTES} bytes")
    return proof
