"""Where an application listens."""

import ssl
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from sharegate.errors import Misconfigured
from sharegate.web.peers import peer_logger

_SHUTDOWN_SECONDS: Final = 10.0
_LINGER_SECONDS: Final = 2.0  # for the rest of a body that was answered before it was read


async def listen(
    application: web.Application,
    address: str,
    stack: AsyncExitStack,
    tls: ssl.SSLContext | None = None,
) -> tuple[str, int]:
    """Serve an application at host:port; port 0 takes a free one."""
    host, _, port = address.rpartition(":")
    # auto_decompress off: the digest is of the bytes as sent, and no body expands in memory.
    runner = web.AppRunner(
        application,
        access_log=None,
        auto_decompress=False,
        logger=peer_logger(),
        shutdown_timeout=_SHUTDOWN_SECONDS,
        lingering_time=_LINGER_SECONDS,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=tls).start()
    except OSError as error:
        raise Misconfigured(f"listen {address}", error.strerror or "cannot listen") from error
    bound: tuple[str, int] = runner.addresses[0][:2]
    return bound
