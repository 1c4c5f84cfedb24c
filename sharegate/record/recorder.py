"""Record an outcome: the only maker of `Recorded`."""

from collections.abc import Callable
from hashlib import sha256
from typing import assert_never
from uuid import UUID

from msgspec import structs

from sharegate.audit.chain import core_of
from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.model.act import Act
from sharegate.model.decision import Reason
from sharegate.model.party import DepartmentId, Registry
from sharegate.model.passage import Covered, Disclosure, Fetched, Recorded, Refusal
from sharegate.record.answer import encode_answer
from sharegate.record.audit_log import (
    Appended,
    AuditLog,
    Checkpoints,
    Draft,
    NoWitnesses,
    Replayed,
    Stale,
    Witnesses,
)
from sharegate.record.detail import DetailSealer
from sharegate.record.entry import SALT_BYTES, Salts, act_core, core, read_core, unb64
from sharegate.record.patience import Patience
from sharegate.record.suite import AES, Suite

_SALTS = 6 * SALT_BYTES
_OWN_CLOCK = "the audit log refused its own clock"
_NOW = 0  # "signed now, by the audit log's own clock"


class Recorder:
    """Writes each exchange into the audit log and waits until a signed checkpoint covers it."""

    def __init__(
        self,
        audit_log: AuditLog,
        checkpoints: Checkpoints,
        registry: Registry,
        *,
        random: Callable[[int], bytes],
        seconds: float,
        details: Suite = AES,
        blind: Callable[[Fetched], bytes] | None = None,
        witnesses: Witnesses | None = None,
    ) -> None:
        """Put the room together.

        Args:
            audit_log: Where entries go.
            checkpoints: What signs over them.
            registry: Whose keys details are sealed to.
            random: Gives so many random bytes (``os.urandom``).
            seconds: How long one exchange may wait here.
            details: What details are sealed with.
            blind: Gives what the entry may be found by later; None where nobody searches.
            witnesses: Those of the log; None where it has none.
        """
        self._audit_log = audit_log
        self._checkpoints = checkpoints
        self._random = random
        self._patience = Patience(seconds)
        self._details = details
        self._blind = blind
        self._witnesses = witnesses or NoWitnesses()
        self.adopt(registry)

    def adopt(self, registry: Registry) -> None:
        """From now on seal to the keys of these; an exchange also to its provider's of then."""
        self._departments = registry.departments
        self._sealer = DetailSealer(registry.audit_office_key, self._random, self._details)

    def require_usable(self) -> None:
        """Raise AuditLogUnavailable at once if it is known that nothing can be recorded."""
        self._audit_log.require_usable()
        self._checkpoints.require_usable()

    def require_witnessed(self, *, detail: bool) -> None:
        """Raise AuditLogUnavailable while the witnesses have seen too little of the log.

        Args:
            detail: Whether a person's data is about to be read.
        """
        self._witnesses.require(detail=detail)

    async def record(self, fetched: Fetched) -> Recorded:
        """Write an outcome down.

        A request that was seen before gives no answer: the replay is recorded as a refusal of its
        own, once; a third and later copy is refused under that same entry, so that whoever
        captured one signed request cannot make the log grow with it.

        Raises:
            AuditLogUnavailable: Within `seconds` it is not known to be durable and covered; or the
                witnesses that the grant demands have not cosigned it in theirs.
        """
        try:
            with self._patience():
                recorded = await self._record(fetched)
        except TimeoutError as error:
            raise AuditLogUnavailable(
                Unavailable.TIMEOUT, "the exchange could not be recorded in time"
            ) from error
        outcome = recorded.outcome
        if isinstance(outcome, Disclosure) and outcome.permit.cosigned:
            covered = await self._witnesses.covered(recorded.covered.index)
            return Recorded(recorded.exchange_id, outcome, recorded.answer, covered)
        return recorded

    async def record_act(self, act: Act, entry_id: UUID) -> Covered | None:
        """Write an administrative act down; what depends on it happens afterwards or not at all.

        Args:
            act: What is done, and by whom.
            entry_id: A fresh UUIDv7, by which the entry is found.

        Returns:
            Where it stands; None where the same act was written before.

        Raises:
            AuditLogUnavailable: Within the time an exchange has, it is not known to be durable
                and covered.
        """
        provider = None if act.provider is None else self._departments.get(act.provider)
        detail = self._sealer.seal_act(act, entry_id, provider)
        draft = Draft(
            exchange_id=entry_id,
            replay_key=act.once,
            signed_at=_NOW,
            core=act_core(act, entry_id, detail),
            sealed=detail.ciphertext,
            wrapped=detail.wrapped,
        )
        try:
            with self._patience():
                fate = await self._audit_log.append(draft)
                if isinstance(fate, Stale):
                    raise AuditLogUnavailable(Unavailable.DOWN, _OWN_CLOCK)
                return await self._covered(fate, draft) if isinstance(fate, Appended) else None
        except TimeoutError as error:
            raise AuditLogUnavailable(
                Unavailable.TIMEOUT, "the act could not be recorded in time"
            ) from error

    async def find(
        self, consumer: DepartmentId, exchange_id: UUID, *, cosigned: bool = False
    ) -> Covered | None:
        """Find the place of a consumer's own earlier exchange; nobody else's.

        Args:
            consumer: Whose it has to be.
            exchange_id: Its id.
            cosigned: Whether a quorum of witnesses must have cosigned the checkpoint over it.

        Raises:
            AuditLogUnavailable: The log cannot be read now, or is not cosigned so far.
        """
        try:
            with self._patience():
                index = await self._audit_log.find(exchange_id)
                covered = None if index is None else await self._checkpoints.covered(index)
        except TimeoutError as error:
            raise AuditLogUnavailable(
                Unavailable.TIMEOUT, "the audit log could not be read in time"
            ) from error
        if covered is None:
            return None
        caller = read_core(core_of(covered.leaf)).get("caller")
        if not isinstance(caller, dict) or caller.get("consumer") != consumer:
            return None  # another's, or of an act
        return await self._witnesses.covered(covered.index) if cosigned else covered

    async def _record(self, fetched: Fetched) -> Recorded:
        identified = fetched.decided.identified
        draft, answer = self._draft(fetched, identified.replay_key, identified.signed_at)
        fate = await self._audit_log.append(draft)
        match fate:
            case Appended():
                covered = await self._covered(fate, draft)
                return Recorded(identified.exchange_id, fetched.outcome, answer, covered)
            case Replayed():
                refusal = Refusal(Reason.REPLAYED, None, "This signed request was sent before.")
            case Stale():
                refusal = Refusal(Reason.STALE, None, "This request was signed too long ago.")
            case _:
                assert_never(fate)
        refused = structs.replace(fetched, outcome=refusal)
        again = sha256(b"sharegate-refused" + identified.replay_key).digest()
        draft, _ = self._draft(refused, again, _NOW)
        fate = await self._audit_log.append(draft)
        if isinstance(fate, Stale):
            raise AuditLogUnavailable(Unavailable.DOWN, _OWN_CLOCK)
        if isinstance(fate, Appended):
            covered = await self._covered(fate, draft)
        else:
            covered = await self._checkpoints.covered(fate.index)
        entry_id = UUID(bytes=unb64(read_core(core_of(covered.leaf))["id"]))
        return Recorded(entry_id, refusal, None, covered)

    async def _covered(self, appended: Appended, draft: Draft) -> Covered:
        """Wait for a checkpoint over an entry of ours, and see that it covers that entry.

        In a database that was rolled back behind the gateway's back, a new entry gets a place
        that another one has under a checkpoint already.
        """
        covered = await self._checkpoints.covered(appended.index)
        if core_of(covered.leaf) != draft.core:
            raise AuditLogUnavailable(
                Unavailable.FROZEN, f"entry {appended.index} is not the one that was appended"
            )
        return covered

    def _draft(
        self, fetched: Fetched, replay_key: bytes, signed_at: int
    ) -> tuple[Draft, bytes | None]:
        """Write the entry of an outcome, and the bytes it commits to where there are any."""
        salts = Salts.cut(self._random(_SALTS))
        outcome = fetched.outcome
        answer = None
        if isinstance(outcome, Disclosure):
            answer = encode_answer(fetched, outcome, salts.response)
        detail = self._sealer.seal(fetched, salts)
        draft = Draft(
            exchange_id=fetched.decided.identified.exchange_id,
            replay_key=replay_key,
            signed_at=signed_at,
            core=core(fetched, salts, detail, answer),
            sealed=detail.ciphertext,
            wrapped=detail.wrapped,
            blind=None if self._blind is None else self._blind(fetched),
        )
        return draft, answer
