"""``sharegate seal``: write the log as files for any web server, beside the gateway."""

import argparse
import asyncio
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sharegate.app import audit_log_logins, load_signing_key
from sharegate.audit import note as notes
from sharegate.audit.note import Note, Signature, VerifierKey
from sharegate.audit.sm2 import Sm2Key
from sharegate.audit.verdict import Malformed
from sharegate.cli.keys import load_sm2
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.until import repeated
from sharegate.consortium.sealer import CHECKPOINT, Sealer
from sharegate.consortium.witnessed import FILE
from sharegate.errors import Misconfigured, ShareGateError
from sharegate.private_keys.program import sign_by
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import AuditLogSettings, load_settings

_PAUSE_SECONDS: Final = 5.0
_SIGN_SECONDS: Final = 10.0


class NotSealed(ShareGateError):
    """The files cannot be written."""


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("seal", help="write the log as files, until SIGTERM or Ctrl-C")
    config_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where they go")
    parser.add_argument("--once", action="store_true", help="end when all that is signed is there")
    parser.add_argument("--sm2-key", type=Path, metavar="FILE", help="an SM2 public key (PEM) that "
                        "vouches for what is published, too")  # fmt: skip
    parser.add_argument("--sm2-command", metavar="COMMAND", help="a program that signs with it: "
                        "the text on its input, the signature (DER) on its output")  # fmt: skip
    parser.set_defaults(run=_run)


@dataclass(frozen=True, slots=True)
class Sm2Signer:
    """Has a program put an SM2 line under what is published."""

    key: Sm2Key
    command: Sequence[str]

    def signed(self, note: bytes, published: bytes) -> bytes:
        """A note with the line: the one that is published, where that is under the same text.

        Raises:
            OSError: The program gives no signature, or one that does not hold.
        """
        parsed = notes.parse(note)
        line = self._line_of(published, parsed.text)
        if line is None:
            message = parsed.text.encode()
            signature = sign_by(self.command, message, _SIGN_SECONDS)
            if not self.key.accepts(message, signature):
                raise OSError(f"{self.command[0]} gives a signature that does not hold")
            line = Signature(self.key.name, self.key.key_id, signature)
        return notes.encode(Note(parsed.text, (*parsed.signatures, line)))

    def _line_of(self, published: bytes, text: str) -> Signature | None:
        before = notes.parse(published) if published else None
        if before is None or before.text != text:
            return None
        own, message = (self.key.name, self.key.key_id), text.encode()
        for one in before.signatures:
            if (one.name, one.key_id) == own and self.key.accepts(message, one.signature):
                return one
        return None


async def seal(settings: AuditLogSettings, directory: Path, sm2: Sm2Signer | None = None) -> int:
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
            published, archived = sealer.published(), (await reader.archived())[0]
            if (0 if published is None else published.size) < archived:
                raise NotSealed(f"the first {archived} entries left for an archive: begin with its "
                                f"files in {directory}")  # fmt: skip
            if sm2 is None:
                return await sealer.seal(note)
            return await sealer.seal(note, partial(_with_line, sm2, directory / CHECKPOINT))
        except Broken as error:  # OSError is one of them
            raise NotSealed(f"the files cannot be written: {type(error).__name__}") from error
        finally:
            await reader.close()


async def _newest(settings: AuditLogSettings, reader: PostgresReader) -> bytes | None:
    if settings.quorum is None:
        return await reader.checkpoint()
    file = settings.state / FILE
    return file.read_bytes() if file.exists() else None


def _with_line(sm2: Sm2Signer, published: Path, note: bytes) -> bytes:
    try:
        return sm2.signed(note, published.read_bytes() if published.exists() else b"")
    except (OSError, Malformed) as error:
        raise NotSealed(f"the SM2 line cannot be made: {error}") from error


def _sm2(chosen: argparse.Namespace, origin: str) -> Sm2Signer | None:
    if (chosen.sm2_key is None) != (chosen.sm2_command is None):
        raise Misconfigured("seal", "--sm2-key and --sm2-command go together")
    if chosen.sm2_key is None:
        return None
    try:
        command = shlex.split(chosen.sm2_command)
    except ValueError as error:
        raise Misconfigured("--sm2-command", str(error)) from error
    if not command:
        raise Misconfigured("--sm2-command", "names no program")
    return Sm2Signer(load_sm2(chosen.sm2_key, origin), command)


def _run(chosen: argparse.Namespace) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    settings = load_settings(chosen.config).audit_log
    sm2 = _sm2(chosen, settings.origin)
    if chosen.once:
        size = asyncio.run(seal(settings, chosen.out, sm2))
        print(f"{size} entries of {settings.origin} are published in {chosen.out}")
    else:

        async def one() -> None:
            try:
                await seal(settings, chosen.out, sm2)
            except NotSealed as error:
                logging.getLogger("sharegate").warning("%s", error)

        asyncio.run(repeated(one, _PAUSE_SECONDS))
    return 0
