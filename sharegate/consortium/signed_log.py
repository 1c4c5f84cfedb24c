"""The audit log as a gateway has it: appended to, signed or followed, shown to its witnesses."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.consortium.cosigning import Cosigning
from sharegate.consortium.coverage import Coverage
from sharegate.consortium.memory import SignerMemory
from sharegate.consortium.signer import Signer
from sharegate.consortium.witnessed import FILE, Witnessed, load_quorum
from sharegate.observe import Observer
from sharegate.record.postgres import PostgresAuditLog
from sharegate.record.reader import PostgresReader
from sharegate.settings import AuditLogSettings

MEMORY_FILE: Final = "signer.memory"
_EVIDENCE: Final = "evidence"


@dataclass(frozen=True, slots=True)
class SignedLog:
    """One audit log that is open.

    Attributes:
        signer: Signs it, or follows who does.
        witnessed: How far its witnesses have seen it; None where it has none.
    """

    audit_log: PostgresAuditLog
    coverage: Coverage
    signer: Signer
    witnessed: Witnessed | None

    @property
    def checkpoint(self) -> bytes:
        """The newest signed checkpoint."""
        return self.coverage.checkpoint


async def signed_log(
    settings: AuditLogSettings,
    key: SignerKey,
    dsns: tuple[str, str],
    observe: Observer,
    stack: AsyncExitStack,
) -> SignedLog:
    """Connect to the audit log, and begin to sign it or to follow the process that does.

    Args:
        settings: Which log.
        key: Signs it.
        dsns: To append to it, and to read it.
        observe: Told of everything.
        stack: Closes what was opened.

    Raises:
        LogDiverged: The log contradicts the signer's memory, or what its witnesses have seen.
        Misconfigured: The quorum file cannot be used.
    """
    append_dsn, read_dsn = dsns
    finder, reader = PostgresReader(read_dsn), PostgresReader(read_dsn)
    stack.push_async_callback(finder.close)
    stack.push_async_callback(reader.close)
    audit_log = PostgresAuditLog(append_dsn, finder, observe, seconds=settings.record_seconds)
    await audit_log.start()
    stack.push_async_callback(audit_log.stop)
    coverage = Coverage(reader)
    memory = SignerMemory(settings.state / MEMORY_FILE, settings.origin)
    signer = Signer(key, memory, reader, coverage, audit_log, observe)
    witnessed = None
    if settings.quorum is not None:
        verifier = VerifierKey.parse(key.vkey)
        quorum = load_quorum(settings.quorum, verifier)
        witnessed = Witnessed(quorum, settings.state / FILE, coverage, observe, settings.witnesses)
        prover = PostgresReader(read_dsn)
        stack.push_async_callback(prover.close)
        cosigning = Cosigning(
            quorum, verifier, coverage, prover, witnessed,
            settings.state / _EVIDENCE, observe, signer,
        )  # fmt: skip
        signer.compare_abroad = cosigning.compare
        await cosigning.start()
        stack.push_async_callback(cosigning.stop)
    await signer.start()
    stack.push_async_callback(signer.stop)
    return SignedLog(audit_log, coverage, signer, witnessed)
