"""``sharegate stamp``: have a time-stamping authority say that the log was so long by now."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from cryptography import x509

from sharegate.audit.checkpoint import open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.options import Verbs
from sharegate.cli.until import repeated
from sharegate.cli.verify import load_log_key
from sharegate.consortium.reading import read_file
from sharegate.consortium.remote import asking
from sharegate.consortium.stamps import NotStamped, ask_for_stamp, keep_stamp, read_roots

_HOUR: Final = 3600.0


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("stamp", help="time-stamp a log's checkpoint (RFC 3161), hourly")
    parser.add_argument("files", type=Path, metavar="DIR", help="the log's files")
    parser.add_argument("--log-key", required=True, metavar="KEY",
                        help="the log's verifier key, or a file of it")  # fmt: skip
    parser.add_argument("--authority", required=True, metavar="URL")
    parser.add_argument("--roots", type=Path, required=True, metavar="FILE",
                        help="the certificates by which it is trusted (PEM)")  # fmt: skip
    parser.add_argument("--hours", type=int, choices=range(1, 169), metavar="N", default=1,
                        help="how often; default 1, 24 is daily")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="once, and end")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    key = load_log_key(chosen.log_key, chosen.files)
    roots = read_roots(chosen.roots)
    if chosen.once:
        print(asyncio.run(stamp(chosen.files, key, chosen.authority, roots)))
    else:

        async def one() -> None:
            try:
                print(await stamp(chosen.files, key, chosen.authority, roots), flush=True)
            except NotStamped as error:
                print(f"sharegate: {error}", file=sys.stderr)

        asyncio.run(repeated(one, chosen.hours * _HOUR))
    return 0


async def stamp(
    files: Path, key: VerifierKey, authority: str, roots: tuple[x509.Certificate, ...]
) -> str:
    """Have the checkpoint of the files stamped, and keep that; say what came of it.

    Raises:
        NotStamped: The authority gives none, or there is no checkpoint of this log.
    """
    try:
        note = read_file(files / "checkpoint")
        size = open_checkpoint(note, [key], key.name).size
        async with asking() as session:
            response, at = await ask_for_stamp(session, authority, note, roots)
        await asyncio.to_thread(keep_stamp, files, note, size, response)
    except OSError as error:
        raise NotStamped(f"{error.filename or authority} {error.strerror or error}") from error
    except (Malformed, Unproven) as error:
        raise NotStamped(f"{files / 'checkpoint'}: {error}") from error
    return f"{size} entries of {key.name}, stamped at {at.isoformat()}"
