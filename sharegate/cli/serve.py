"""``sharegate serve`` and ``sharegate migrate``: run the gateway; prepare its database."""

import argparse
import asyncio
import logging
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import uvloop

from sharegate.app import running
from sharegate.cli import service
from sharegate.cli.asking import asking
from sharegate.cli.doctor.finding import BROKEN, unreachable
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.until import signalled
from sharegate.cli.witness import witnessing
from sharegate.consortium.asking_settings import AskingSettings, load_asking_settings
from sharegate.consortium.witness_settings import WitnessSettings, load_witness_settings
from sharegate.errors import Misconfigured
from sharegate.observe import LogLines
from sharegate.record.migrate import migrate
from sharegate.settings import Settings, load_settings


def add_to(verbs: Verbs) -> None:
    """Add the verbs."""
    parser = verbs.add_parser("serve", help="run the gateway until SIGTERM or Ctrl-C")
    config_argument(parser)
    parser.add_argument("--witness", type=Path, metavar="FILE", help="run a witness in this "
                        "process too, by these settings")  # fmt: skip
    parser.add_argument("--asking", type=Path, metavar="FILE", help="pass this department's own "
                        "questions on to other gateways, by these settings")  # fmt: skip
    parser.set_defaults(run=_serve)
    parser = verbs.add_parser("migrate", help="prepare the audit log's database, as its owner")
    config_argument(parser)
    parser.add_argument("--dsn", required=True, help="its database, as a role that may create")
    parser.set_defaults(run=_migrate)


def _serve(chosen: argparse.Namespace) -> int:
    config: Path = chosen.config
    # Libraries speak up only when something is wrong; our own lines are what an operator reads.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("sharegate").setLevel(logging.INFO)
    settings = load_settings(config)
    witness = None if chosen.witness is None else load_witness_settings(chosen.witness)
    asks = None if chosen.asking is None else load_asking_settings(chosen.asking)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, witness, asks))
    return 0


async def serve(
    settings: Settings,
    witness: WitnessSettings | None = None,
    asks: AskingSettings | None = None,
) -> None:
    """Run the gateway until a signal, then drain: not ready first, the listener closed after.

    A witness beside it listens first and stops last: others count on it, this gateway does not.
    """
    stop = signalled()
    lines = LogLines(logging.getLogger("sharegate"))
    async with AsyncExitStack() as stack:
        tell = await stack.enter_async_context(service.manager())
        if witness is not None:
            await stack.enter_async_context(witnessing(witness, lines))
        gateway = await stack.enter_async_context(running(settings, lines))
        if asks is not None:
            await stack.enter_async_context(asking(asks, gateway, settings.limits, lines))
        tell(service.READY)
        await stop.wait()
        tell(service.STOPPING)
        gateway.admin.closed = "draining"
        await asyncio.sleep(settings.limits.drain_seconds)


def _migrate(chosen: argparse.Namespace) -> int:
    settings = load_settings(chosen.config)
    applied = asyncio.run(_apply(chosen.dsn, settings.audit_log.origin))
    for name in applied:
        print(f"applied {name}")
    print(f"the audit log {settings.audit_log.origin} is at this version's schema")
    return 0


async def _apply(dsn: str, origin: str) -> list[str]:
    try:
        connection = await asyncpg.connect(dsn)
        try:
            return await migrate(connection, origin)
        finally:
            await connection.close()
    except BROKEN as error:
        raise Misconfigured("--dsn", unreachable(dsn, error)) from error
