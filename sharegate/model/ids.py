"""Exchange ids: UUIDv7 (RFC 9562 5.7), so that they rise with time."""

import os
from functools import lru_cache
from uuid import UUID

_RANDOM_BYTES = 10
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


def exchange_id(at: int, random: bytes) -> UUID:
    """Make an exchange id.

    Args:
        at: Milliseconds of Unix time.
        random: 10 random bytes, of which 74 bits are used.
    """
    noise = int.from_bytes(random)
    rand_a = noise >> 68
    rand_b = noise & ((1 << 62) - 1)
    return UUID(int=(at & ((1 << 48) - 1)) << 80 | _VERSION | rand_a << 64 | _VARIANT | rand_b)


def new_id(at: int) -> UUID:
    """Make an id that nobody else has, for a moment in milliseconds of Unix time."""
    return exchange_id(at, os.urandom(_RANDOM_BYTES))


@lru_cache(maxsize=1024)
def text(of: UUID) -> str:
    """Write an id as RFC 9562 4 does: once, for the rooms that each need it."""
    return str(of)
