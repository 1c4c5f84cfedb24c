"""What the HTTP library says of its peers, without anything a peer sent.

Left to itself aiohttp writes a traceback, with the bytes at fault in it, for whatever is not HTTP
and for every peer that hangs up: anybody could fill the operator's log, and forge lines in it.
"""

import logging
import traceback
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError

_PEERS_OWN: Final = (HttpProcessingError, ConnectionError)


def peer_logger() -> logging.Logger:
    """The logger to give to aiohttp's server."""
    logger = logging.getLogger("sharegate.web.peers")
    if not any(isinstance(each, _WithoutInput) for each in logger.filters):
        logger.addFilter(_WithoutInput())
    return logger


class _WithoutInput(logging.Filter):
    """Drops what is a peer's own fault, and keeps of the rest where it was, not with what."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, _PEERS_OWN):
            return False
        if error is not None:
            place = "".join(traceback.format_tb(error.__traceback__))
            record.msg, record.args = "%s at\n%s", (type(error).__name__, place)
            record.exc_info = record.exc_text = None
        return True
