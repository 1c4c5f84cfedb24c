"""Checks of the log that is stored: its name, its newest checkpoint, the signer's memory of it."""

from sharegate.audit.checkpoint import open_checkpoint
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.tree import leaf_hash
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.doctor.finding import BROKEN, Finding, ok, unreachable, warn, wrong
from sharegate.consortium.memory import LogState, SignerMemory
from sharegate.consortium.signed_log import MEMORY_FILE
from sharegate.errors import LogDiverged
from sharegate.record.reader import PostgresReader
from sharegate.settings import AuditLogSettings


async def check_stored_log(
    settings: AuditLogSettings, key: SignerKey | None, read_dsn: str
) -> list[Finding]:
    """The log's name, its newest checkpoint and the signer's memory agree with each other."""
    found: list[Finding] = []
    reader = PostgresReader(read_dsn)
    memory = SignerMemory(settings.state / MEMORY_FILE, settings.origin)
    try:
        origin, size, last = await reader.head()
        if origin != settings.origin:
            detail = f"the database holds the log {origin!r}, not {settings.origin!r}"
            return [wrong("origin", f"{detail}; correct audit_log.origin or the DSNs")]
        found.append(ok("origin", f"{origin}, {size} entries"))
        # In this order a gateway at work makes each at least as long as the one before.
        note = await reader.checkpoint()
        remembered = memory.recall()
        abroad = await reader.newest_signer() not in {None, memory.holder}
        _, size, last = await reader.head()
        signed = 0
        if key is not None:
            finding, signed = _signed_by(key, note, remembered)
            found.append(finding)
        if remembered is None and abroad and await reader.signer_lives():
            detail = "none yet; start this gateway while the other host's one signs"
            return [*found, warn("signer's memory", detail)]
        behind = None if abroad and remembered is not None else signed
        return [*found, await _memory(reader, remembered, size, last, behind)]
    except LogDiverged as error:
        return [
            *found,
            wrong("signer's memory", f"{error}; do not delete it: find out what happened"),
        ]
    except PermissionError:
        return [*found, wrong("signer's memory", f"{settings.state / MEMORY_FILE} cannot be read")]
    except BROKEN as error:
        return [*found, wrong("audit log", f"cannot be read: {unreachable(read_dsn, error)}")]
    finally:
        await reader.close()


def check_memory_alone(settings: AuditLogSettings) -> list[Finding]:
    """What can be said of the signer's memory while the log it belongs to cannot be read."""
    what = "signer's memory"
    try:
        remembered = SignerMemory(settings.state / MEMORY_FILE, settings.origin).recall()
    except LogDiverged as error:
        return [wrong(what, f"{error}; do not delete it: find out what happened")]
    except OSError as error:
        return [wrong(what, f"{settings.state / MEMORY_FILE}: {error.strerror}")]
    if remembered is None:
        return []
    size = remembered.frontier.size
    return [warn(what, f"{size} entries signed; not compared, as the log cannot be read now")]


def _signed_by(
    key: SignerKey, note: bytes | None, remembered: LogState | None
) -> tuple[Finding, int]:
    """Whether this key signed the newest kept checkpoint, and that one's size."""
    what = "checkpoint"
    if note is None:
        return ok(what, "none is kept yet"), 0
    try:
        newest = open_checkpoint(note, [VerifierKey.parse(key.vkey)], key.name)
    except (Malformed, Unproven) as error:
        advice = "put back the log's own key; another key is another log"
        return wrong(what, f"not signed by this signing key ({error}); {advice}"), 0
    known = None if remembered is None else remembered.frontier
    if known is not None and known.size == newest.size and known.root() != newest.root:
        return wrong(what, f"of size {newest.size} is not what the signer signed"), newest.size
    return ok(what, f"of size {newest.size}, signed by this signing key"), newest.size


async def _memory(
    reader: PostgresReader, remembered: LogState | None, size: int, last: bytes, signed: int | None
) -> Finding:
    """The comparison the signer makes before it signs anything, with what to do about it.

    `signed` is how far this host's own signer has signed; None where another host's is further.
    """
    if remembered is None:
        remembered, place = LogState.empty(), "the file is missing"
    else:
        place = "the file was rolled back"
    known = remembered.frontier.size
    leaves = await reader.leaves(known - 1, 1) if 0 < known <= size else []
    fault = None
    if size < known:
        fault = (
            f"{known} entries were signed, the database has {size}: it was rolled back or is "
            "another; bring the missing entries back"
        )
    elif signed is not None and (signed > known or (known == 0 and size)):
        fault = (
            f"ends at {known}, but the log has {size} entries and a checkpoint of {signed}: "
            f"{place}; put back the one that was last in use, or close this log and begin another"
        )
    elif known and (not leaves or leaf_hash(leaves[0]) != remembered.last):
        fault = (
            f"entry {known - 1} is not the one that was signed; change nothing, call the auditor"
        )
    elif size == known and last != remembered.last:
        fault = f"the head is not that signed at {known}; change nothing, call the auditor"
    if fault is not None:
        return wrong("signer's memory", f"{fault}; the gateway will not start")
    return ok("signer's memory", f"agrees with the database: {known} of {size} entries signed")
