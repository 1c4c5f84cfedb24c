"""The route by which a department's own systems ask others through its gateway."""

from collections.abc import Awaitable
from typing import Final, Protocol

from aiohttp import web

from sharegate.model.asking import NotPassedOn, PassedOn
from sharegate.model.decision import Reason
from sharegate.model.passage import Arrived
from sharegate.observe import Observer
from sharegate.settings import Limits
from sharegate.web import problems
from sharegate.web.arriving import Guard, read_body, take_in

PATH: Final = "/v1/requests"
OWN_ENTRY_HEADER: Final = "ShareGate-Own-Entry"


class Asks(Protocol):
    """What passes questions on."""

    def ask(self, arrived: Arrived) -> Awaitable[PassedOn | NotPassedOn]:
        """Pass one on; raises what leaves a walk."""


class AskingRoutes:
    """Turns requests into questions to others."""

    def __init__(self, asking: Asks, limits: Limits, observe: Observer) -> None:
        """Put the routes together.

        Args:
            asking: Passes questions on.
            limits: What is too large and too many.
            observe: Told of whoever gets no answer.
        """
        self._asking = asking
        self._limits = limits
        self._guard = Guard(limits, observe)

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(client_max_size=self._limits.body_bytes)
        application.router.add_post(PATH, self._guard(self.ask))
        application.router.add_route("*", r"/{anything:[\s\S]*}", self.nothing_here)
        return application

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/requests``: one access request, as ``/v1/exchanges`` of the other takes it."""
        arrived = take_in(request, await read_body(request, self._limits.body_seconds))
        if request.content_type != "application/json" or arrived.query:
            wrong = "Content-Type must be application/json, and there is no query."
            return problems.problem(problems.OF_REASON[Reason.MALFORMED], wrong)
        came = await self._asking.ask(arrived)
        if isinstance(came, PassedOn):
            headers = {**came.headers, OWN_ENTRY_HEADER: str(came.entry)}
            return web.Response(body=came.body, status=came.status, headers=headers)
        members: dict[str, str | int] = {}
        if came.pointer is not None:
            members["pointer"] = came.pointer
        if came.entry is not None:
            members["own_entry"] = came.entry
        return problems.problem(
            problems.OF_REASON[came.reason], came.detail, headers=None, **members
        )

    async def nothing_here(self, request: web.Request) -> web.StreamResponse:
        """Every other path and method."""
        if request.path == PATH:
            headers = {"Allow": "POST"}
            return problems.problem(problems.NOT_ALLOWED, "Use POST.", headers=headers)
        return problems.problem(problems.NOT_FOUND, f"Ask at {PATH}.")
