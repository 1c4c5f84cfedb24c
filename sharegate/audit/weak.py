"""Ed25519 keys under which anyone can sign."""

from typing import Final

# The y coordinates of the points of small order (and p, p+1, which spell 0 and 1 anew). Under
# such a key one signature fits many messages; a key of zeros left as a placeholder is one.
SMALL_ORDER: Final = frozenset(
    bytes.fromhex(y)
    for y in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


def is_weak(public: bytes) -> bool:
    """Whether a raw Ed25519 public key of 32 bytes is one of them (RFC 8032, 5.1.7)."""
    return public[:31] + bytes([public[31] & 0x7F]) in SMALL_ORDER
