"""Ports that stay what they were from one run of the demo to the next."""

import socket
from pathlib import Path


def kept_port(file: Path) -> int:
    """The port used last time, if it is still free; else a free one."""
    wanted = int(file.read_text(encoding="ascii")) if file.exists() else 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.close()
            file.unlink()
            return kept_port(file)
        port: int = probe.getsockname()[1]
    file.write_text(str(port), encoding="ascii")
    return port
