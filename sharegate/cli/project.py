"""``sharegate project``: fill the projection that auditors search, beside the gateway."""

import argparse
import asyncio
import logging
import sys

from sharegate.app import audit_log_logins, load_signing_key, projection_logins
from sharegate.audit.note import VerifierKey
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.until import cut_off
from sharegate.consortium.projection import ProjectionFollower
from sharegate.errors import Misconfigured, ShareGateError
from sharegate.observe import LogLines
from sharegate.record.projected import PostgresProjection
from sharegate.record.reader import Broken
from sharegate.settings import Settings, load_settings


class NotProjected(ShareGateError):
    """The projection cannot be filled."""


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("project", help="fill what auditors search, until SIGTERM or Ctrl-C")
    config_argument(parser)
    parser.add_argument("--rebuild", action="store_true", help="forget it first, and begin anew")
    parser.add_argument("--once", action="store_true", help="end when all that is signed is in it")
    parser.set_defaults(run=_run)


async def project(settings: Settings, *, rebuild: bool, once: bool) -> int:
    """Fill the projection; give its size where it ends by itself.

    Raises:
        LogDiverged: The log is not what was signed.
        Misconfigured: The settings name no projection.
        NotProjected: Its database gives no answer.
    """
    key = VerifierKey.parse(load_signing_key(settings.audit_log).vkey)
    async with audit_log_logins(settings.audit_log), projection_logins(settings) as (dsn, _):
        if dsn is None:
            raise Misconfigured("projection.dsn", "is needed to fill the projection")
        projection = PostgresProjection(dsn)
        follower = ProjectionFollower(key, projection, LogLines(logging.getLogger("sharegate")))
        try:
            if rebuild:
                await follower.rebuild()
            if once:
                return await follower.catch_up()
            await cut_off(follower.run())
        except Broken as error:
            raise NotProjected(f"the database gives no answer: {type(error).__name__}") from error
        finally:
            await projection.close()
        return 0


def _run(chosen: argparse.Namespace) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("sharegate").setLevel(logging.INFO)
    settings = load_settings(chosen.config)
    size = asyncio.run(project(settings, rebuild=chosen.rebuild, once=chosen.once))
    if chosen.once:
        print(f"{size} entries of {settings.audit_log.origin} can be searched")
    return 0
