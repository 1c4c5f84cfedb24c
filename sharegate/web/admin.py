"""Health and metrics, on their own listener."""

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from sharegate.errors import AuditLogUnavailable

_encode: Final = msgspec.json.Encoder().encode


class AdminRoutes:
    """What operators and their machines ask."""

    def __init__(self, require_usable: Callable[[], None], metrics: CollectorRegistry) -> None:
        """Put the routes together.

        Args:
            require_usable: Raises AuditLogUnavailable while nothing can be recorded.
            metrics: What `/metrics` shows.
        """
        self.closed: str | None = None
        """Why it does not ask to be sent anybody, whatever could be recorded."""
        self._require_usable = require_usable
        self._metrics = metrics

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application()
        application.router.add_get("/livez", self.livez)
        application.router.add_get("/readyz", self.readyz)
        application.router.add_get("/metrics", self.metrics)
        return application

    async def livez(self, _request: web.Request) -> web.Response:
        """200 while the process runs its loop."""
        return _said(200, alive=True)

    async def readyz(self, _request: web.Request) -> web.Response:
        """200 while an exchange could be recorded; else 503 and the reason."""
        if self.closed is not None:
            return _said(503, ready=False, reason=self.closed)
        try:
            self._require_usable()
        except AuditLogUnavailable as unusable:
            return _said(503, ready=False, reason=unusable.reason, detail=str(unusable))
        return _said(200, ready=True)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Prometheus text exposition."""
        return web.Response(
            body=generate_latest(self._metrics), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )


def _said(status: int, **members: bool | str) -> web.Response:
    return web.Response(body=_encode(members), status=status, content_type="application/json")
