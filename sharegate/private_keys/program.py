"""A key that somebody else's program uses: it is given bytes, and gives their signature."""

import subprocess
from collections.abc import Sequence
from typing import Final

_MOST_BYTES: Final = 16_384


def sign_by(command: Sequence[str], data: bytes, seconds: float) -> bytes:
    """Have a program sign: the bytes on its standard input, the signature on its output. Blocks.

    Args:
        command: The program and its arguments; no shell reads them.
        data: What is to be signed.
        seconds: How long it may take.

    Raises:
        OSError: It gave no signature; says why, without what it printed.
    """
    try:
        done = subprocess.run(  # noqa: S603  what the operator chose; no shell
            command, input=data, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} does not end") from error
    if done.returncode != 0:
        raise OSError(f"{command[0]} ends with {done.returncode}")
    if not 0 < len(done.stdout) <= _MOST_BYTES:
        raise OSError(f"{command[0]} gives no signature")
    return done.stdout
