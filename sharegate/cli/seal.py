"""``sharegate seal``: write the log as files for any web server, beside the gateway."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

from sharegate.app import audit_log_logins, load_signing_key
from sharegate.audit.note import VerifierKey
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.until import repeated
from sharegate.consortium.sealer import Sealer
from sharegate.consortium.witnessed import FILE
from sharegate.errors import ShareGateError
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import AuditLogSettings, load_settings

_PAUSE_SECONDS: Final = 5.0


class NotSealed(ShareGateError):
    """The files cannot be written."""


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("seal", help="write the log as files, until SIGTERM or Ctrl-C")
    config_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where they go")
    parser.add_argument("--once", action="store_true", help="end when all that is signed is there")
    parser.set_defaults(run=_run)


async def seal(settings: AuditLogSettings, directory: Path) -> int:
    """Write what is new; give how many entries are published.

    Where the log has witnesses, only what a quorum of them has cosigned is published.

    Raises:
        LogDiverged: The log is not what was signed, or is published otherwise.
        NotSealed: The database gives no answer, or a file may not be durable.
    """
    key = VerifierKey.parse(load_signing_key(settings).vkey)
    async with audit_log_logins(settings) as (_, read_dsn):
        reader = PostgresReader(read_dsn)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            sealer = Sealer(directory, key, reader)
            note = await _newest(settings, reader)
            if note is None:
                return 0
            return await sealer.seal(note)
        except Broken as error:  # OSError is one of them
            raise NotSealed(f"the files cannot be written: {type(error).__name__}") from error
        finally:
            await reader.close()


async def _newest(settings: AuditLogSettings, reader: PostgresReader) -> bytes | None:
    if settings.quorum is None:
        return await reader.checkpoint()
    file = settings.state / FILE
    return file.read_bytes() if file.exists() else None


def _run(chosen: argparse.Namespace) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    settings = load_settings(chosen.config).audit_log
    if chosen.once:
        size = asyncio.run(seal(settings, chosen.out))
        print(f"{size} entries of {settings.origin} are published in {chosen.out}")
    else:

        async def one() -> None:
            try:
                await seal(settings, chosen.out)
            except NotSealed as error:
                logging.getLogger("sharegate").warning("%s", error)

        asyncio.run(repeated(one, _PAUSE_SECONDS))
    return 0
