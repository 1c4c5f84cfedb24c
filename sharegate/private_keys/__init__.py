"""Private keys: in files, or in tokens that never give them out."""

from sharegate.private_keys.files import (
    load_cosigner_key,
    load_ed25519,
    load_x25519,
    seed_of,
)

__all__ = ["load_cosigner_key", "load_ed25519", "load_x25519", "seed_of"]
