"""What is compared: the gateway, twice, and the handlers one would write without it.

Each runs as a process of its own until its input ends, so none outlives the bench.

- ``plain``: what everyone writes. aiohttp, `asyncpg.create_pool()`, `fetch`, `json_response`.
- ``best``: what nobody can do without losing something: the first-come-first-served checkout and
  prepared statements of :mod:`sharegate.fetch.checkout`; no authorization, no audit log.
- ``channel``: the gateway on connections whose client certificate is registered: the department
  is known from the connection, not from a signature. The officer's token is still checked. No
  TLS is spoken, as the bare handlers speak none; the certificate's name is put in its place.
- ``signed``: the gateway as `sharegate serve` runs it.
- ``piece``: all that is recorded of an exchange, by one handler without rooms
  (:mod:`tests.load.one_piece`): what ``channel`` could at most come up to.
- ``naive``: all that the gateway does in the obvious way: default pools, stock Casbin over the
  few grants of the repository (at 100,000 each decision takes a third of a second), one INSERT an
  entry, a signature an entry, each request verified (by our own verifier, to its advantage).
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import asyncpg
import casbin
import msgspec
import uvloop
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate import app
from sharegate.fetch.checkout import Checkout, Link
from sharegate.identify.identify import Identify
from sharegate.identify.registry import load_registry
from sharegate.observe import LogLines
from sharegate.settings import Settings, load_settings
from sharegate.web.arriving import take_in
from tests.load.asker import PATH
from tests.load.one_piece import one_piece
from tests.load.sampling import Sampled

COLUMNS = "certificate_no, owner_id_number, address, district, area_m2::text, use, mortgaged"
QUERY = f"select {COLUMNS} from estate.property where owner_id_number = $1 limit 20"
KEEP = "insert into entry (exchange_id, entry, signature) values ($1, $2, $3)"
KEPT = """create table if not exists entry (
    seq bigserial primary key, exchange_id uuid not null unique, entry bytea not null,
    signature bytea not null)"""
CONNECTIONS = 8
THUMBPRINT = "00" * 32
Handle = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Order:
    """What an arm is told.

    Attributes:
        port: Where to listen; the gateway's own is in its settings.
        source: The DSN of the one source that is asked.
        entries: The DSN of the database in which ``naive`` keeps its entries.
        settings: A gateway's settings file.
        grants: The policies of ``naive``.
        profile: Where to put a profile; None to run without one.
    """

    kind: str
    port: int
    source: str
    entries: str
    settings: str
    grants: str
    profile: str | None = None


@asynccontextmanager
async def plain(order: Order) -> AsyncIterator[Handle]:
    async with asyncpg.create_pool(order.source) as pool:

        async def handle(request: web.Request) -> web.Response:
            asked = await request.json()
            rows = await pool.fetch(QUERY, asked["where"]["owner_id_number"])
            return web.json_response({"rows": [dict(row) for row in rows]})

        yield handle


@asynccontextmanager
async def best(order: Order) -> AsyncIterator[Handle]:
    async def connect() -> Link:
        return Link(await asyncpg.connect(order.source))

    checkout = Checkout(connect, CONNECTIONS)
    loop = asyncio.get_running_loop()
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode

    async def handle(request: web.Request) -> web.Response:
        asked = decode(await request.read())
        link = await checkout.take(loop.time() + 5)
        try:
            statement = link.prepared(QUERY) or await link.prepare(QUERY, 5)
            rows = await statement.fetch(asked["where"]["owner_id_number"])
        finally:
            checkout.give(link)
        body = encode({"rows": [dict(row) for row in rows]})
        return web.Response(body=body, content_type="application/json")

    yield handle
    await checkout.close()


@asynccontextmanager
async def naive(order: Order) -> AsyncIterator[Handle]:
    settings = load_settings(Path(order.settings))
    authority = f"127.0.0.1:{order.port}"
    identify = Identify(load_registry(settings.registry), authority=authority, audience=authority)
    enforcer = casbin.Enforcer(str(Path(order.grants) / "model.conf"))
    enforcer.add_policies(stock_rules(Path(order.grants)))
    key = Ed25519PrivateKey.generate()
    async with (
        asyncpg.create_pool(order.source) as source,
        asyncpg.create_pool(order.entries) as entries,
    ):
        await entries.execute(KEPT)

        async def handle(request: web.Request) -> web.Response:
            identified = identify(take_in(request, await request.read(), ()))
            asked = json.loads(identified.body)
            names = [asked[name] for name in ("provider", "resource", "mode", "purpose")]
            if not enforcer.enforce(identified.caller.consumer, "", *names):
                return web.json_response({}, status=403)
            rows = await source.fetch(QUERY, asked["where"]["owner_id_number"])
            answer = json.dumps({"rows": [dict(row) for row in rows]})
            entry = json.dumps(
                {
                    "id": str(identified.exchange_id),
                    "caller": identified.caller.consumer,
                    "request": identified.body_digest.hex(),
                    "answer": sha256(answer.encode()).hexdigest(),
                }
            ).encode()
            await entries.execute(KEEP, identified.exchange_id, entry, key.sign(entry))
            return web.Response(text=answer, content_type="application/json")

        yield handle


def stock_rules(folder: Path) -> list[list[str]]:
    """The grants of a folder as rules of the stock Casbin."""
    rules = []
    for path in sorted(folder.glob("*/grants.csv")):
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            name, effect, consumer, post, resource, mode, purpose, *_ = line.split(",")
            rules.append([name, consumer, post, path.parent.name, resource, mode, purpose, effect])
    return rules


def piece(order: Order) -> AbstractAsyncContextManager[Handle]:
    authority = f"127.0.0.1:{order.port}"
    return one_piece(Path(order.settings), order.source, authority, CONNECTIONS)


BARE = {"plain": plain, "best": best, "piece": piece, "naive": naive}


@asynccontextmanager
async def _bare(order: Order) -> AsyncIterator[None]:
    async with BARE[order.kind](order) as handle:
        application = web.Application()
        application.router.add_post(PATH, handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", order.port).start()
        yield
        await runner.cleanup()


def _gateway(order: Order, settings: Settings) -> AbstractAsyncContextManager[app.Running]:
    if order.kind == "channel":
        # What TLS would say of each connection; the bare handlers speak none either.
        app.no_channel = lambda _: (THUMBPRINT,)  # type: ignore[assignment]
    return app.running(settings, LogLines(logging.getLogger("sharegate")))


async def run(order: Order) -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    profile = Sampled() if order.profile is not None else None
    async with AsyncExitStack() as stack:
        if order.kind in BARE:
            await stack.enter_async_context(_bare(order))
        else:
            settings = load_settings(Path(order.settings))
            running = await stack.enter_async_context(_gateway(order, settings))
            while (await running.admin.readyz(None)).status != 200:  # type: ignore[arg-type]
                await asyncio.sleep(0.01)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        if profile is not None:
            profile.start()
        await over.wait()
        if profile is not None:
            profile.stop(Path(order.profile))


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    uvloop.run(run(Order(**json.loads(sys.argv[1]))))
