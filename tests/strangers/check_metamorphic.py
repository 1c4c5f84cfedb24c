"""Checks a log's files with PyPI ``metamorphic-log`` (Rust): the checkpoint, and every entry in it.

Run by an interpreter that has it and nothing of ours. Arguments: the directory, the verifier key.
"""

import hashlib
import sys
from pathlib import Path

import metamorphic_log


def entries(place: Path, size: int) -> list[bytes]:
    found: list[bytes] = []
    n = 0
    while len(found) < size:
        width = min(256, size - n * 256)
        file = place / "tile" / "entries" / f"{n:03}"
        data = (file if width == 256 else file.with_name(f"{n:03}.p") / str(width)).read_bytes()
        while data:
            length = int.from_bytes(data[:2], "big")
            if len(data) < 2 + length:
                raise ValueError("a bundle is cut off")
            found.append(data[2 : 2 + length])
            data = data[2 + length :]
        n += 1
    if len(found) != size:
        raise ValueError("there are more entries than the checkpoint covers")
    return found


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def tree(hashes: list[bytes], index: int) -> tuple[bytes, list[bytes]]:
    """Root and path, by the recursion of RFC 6962 section 2.1."""
    if len(hashes) == 1:
        return hashes[0], []
    split = 1 << (len(hashes) - 1).bit_length() - 1
    if index < split:
        root, path = tree(hashes[:split], index)
        other, _ = tree(hashes[split:], 0)
        return node(root, other), [*path, other]
    root, path = tree(hashes[split:], index - split)
    other, _ = tree(hashes[:split], 0)
    return node(other, root), [*path, other]


def main() -> int:
    place, vkey = Path(sys.argv[1]), sys.argv[2]
    try:
        note = (place / "checkpoint").read_text(encoding="utf-8")
        head = metamorphic_log.checkpoint_verify(note, [vkey])
        assert head.origin == vkey.partition("+")[0], "a checkpoint of another log"
        hashes = [hashlib.sha256(b"\0" + entry).digest() for entry in entries(place, head.size)]
        for index in sorted({*range(0, head.size, 37), head.size - 1}):
            _, path = tree(hashes, index)
            metamorphic_log.checkpoint_verify_inclusion(note, [vkey], index, hashes[index], path)
    except Exception as error:  # noqa: BLE001  whatever is wrong, it disagrees
        print("DISAGREE", type(error).__name__, error)
        return 1
    print("AGREE", head.size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
