"""Choosing a TCP port on the loopback interface, and asking whether PostgreSQL answers there."""

import errno
import secrets
import socket
import struct
import time

from sharegate.errors import PostgresUnavailable

HOST = "127.0.0.1"

# Below the ephemeral ranges of Linux (32768) and macOS (49152). In them a client that retries
# against the stopped server can be given that very port, connect to itself, and keep it.
_PORTS = range(15_000, 32_000)
_PATIENCE_SECONDS = 1.0  # a killed server's socket outlives it by a moment
_ANSWER_SECONDS = 1.0
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL protocol 3.0, "SSLRequest"


def choose_port(wanted: int | None, remembered: int | None) -> int:
    """The port asked for, else the one used before if it is free, else any free one.

    Raises:
        PostgresUnavailable: The port asked for is taken, and stays so for a second.
    """
    preferred = remembered if wanted is None else wanted
    if preferred is not None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if _is_free(preferred):
                return preferred
            time.sleep(_PATIENCE_SECONDS / 20)
    if wanted is not None:
        raise PostgresUnavailable(f"port {wanted} on {HOST} is taken")
    while True:
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port


def answers(port: int) -> bool:
    """Whether a PostgreSQL takes connections there now: it replies to the protocol's first word.

    A server that was killed a moment ago still looks alive to the kernel, and its port may still
    take a connection; only a living one replies.
    """
    try:
        with socket.create_connection((HOST, port), timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(_SSL_REQUEST)
            return connection.recv(1) in {b"N", b"S"}
    except OSError:
        return False


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True
