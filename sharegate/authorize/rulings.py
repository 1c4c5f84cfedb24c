"""Let rulings and openings speak where a request cites one. What applies is pure.

A ruling lets through one exchange, which the rules referred: the consumer, officer, provider,
resource, purpose, matter, question and everything asked by must be exactly what was ruled on, it
must not have expired, and its signature must hold by the registry of this moment, whatever the
database says. An opening (break-glass) stands in for a missing grant, or for an officer's answer,
as often as it is cited until it expires; it never overrides a rule that denies.
"""

import hmac
from collections.abc import Callable, Sequence
from typing import Final, Protocol
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import structs

from sharegate.audit.text import read_base64
from sharegate.audit.verdict import Malformed
from sharegate.errors import ShareGateError
from sharegate.model.catalogue import FieldName, Mode, PurposeCode, ResourceId
from sharegate.model.decision import BREAK_GLASS, Deny, Permit, Reason, Refer
from sharegate.model.grant import ANY, Effect, Grant, GrantId
from sharegate.model.party import DepartmentId, Person, PersonId, Registry, Role
from sharegate.model.passage import Decided, Disclosure, Outcome
from sharegate.model.ruling import Effect as Ruled
from sharegate.model.ruling import (
    Opening,
    Ruling,
    SignedOpening,
    SignedRuling,
    Statement,
    same,
    signed_bytes,
)

_USED: Final = "This ruling was used before."
_NOTHING: Final = "No ruling of this id permits this request now."
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


class Unheard(ShareGateError):
    """A statement that is not believed, or does not apply; the sentence has no data."""


class Store(Protocol):
    """Keeps what was ruled, beside the audit log."""

    async def cited(self, name: UUID) -> tuple[SignedRuling | SignedOpening, bool] | None:
        """What is known by this name and recorded, and whether it was used; or None."""

    async def use(self, ruling: UUID, exchange_id: UUID) -> bool:
        """Use a ruling for one exchange; False where another one has used it."""

    def returned(self, exchange_id: UUID) -> None:
        """An entry says that this exchange was not answered: give back what it used, soon."""

    def referred(self, decided: Decided, refer: Refer) -> None:
        """An entry says that this was referred: list it, soon."""


class RecordedRulings:
    """Lets what officers signed speak; what the settling of a decision needs of rulings."""

    def __init__(
        self,
        store: Store,
        registry: Callable[[], Registry],
        under: Callable[[Decided, Grant], Decided],
    ) -> None:
        """Let them speak.

        Args:
            store: Keeps them.
            registry: Gives the members of this moment.
            under: Decides by one grant alone what the rules refused for want of one.
        """
        self._store = store
        self._registry = registry
        self._under = under
        self._using: set[UUID] = set()

    async def use(self, decided: Decided, at: int) -> Decided:
        """Let the ruling or opening that the request cites speak, or deny.

        The use comes first and is bound to the exchange: whoever dies after it has used it. Only
        an exchange whose entry says that it was not answered gives it back.

        Args:
            decided: A referral or a denial.
            at: Milliseconds of Unix time at which the request arrived.
        """
        request = decided.request
        if request is None or request.ruling is None or not _open_to(decided):
            return decided
        name = _uuid(request.ruling)
        found = None if name is None else await self._store.cited(name)
        if found is None:
            # Unknown is not told from foreign, and where no grant is, no ruling was due.
            return _refused(decided, _NOTHING)
        signed, used = found
        try:
            _require_about(signed.statement, decided)
            verify(signed.statement, signed.signatures, self._registry(), at)
            if isinstance(signed, SignedOpening):
                return self._opened(signed.statement, decided, at)
            return await self._ruled(signed.statement, decided, at, used=used)
        except Unheard as why:
            return _refused(decided, str(why))

    def ended(self, decided: Decided, outcome: Outcome) -> None:
        """List what was referred; give back a ruling where nothing was disclosed.

        Args:
            decided: As settled.
            outcome: As recorded.
        """
        exchange_id = decided.identified.exchange_id
        used = exchange_id in self._using
        self._using.discard(exchange_id)
        if isinstance(outcome, Disclosure):
            return
        if used:
            self._store.returned(exchange_id)
        if isinstance(decided.decision, Refer) and outcome.reason is Reason.REFERRED:
            self._store.referred(decided, decided.decision)

    def _opened(self, opening: Opening, decided: Decided, at: int) -> Decided:
        grant = grant_of(opening, decided, at)
        settled = self._under(decided, grant)
        if not isinstance(settled.decision, Permit):
            return settled
        permit = structs.replace(settled.decision, ruling=str(opening.id))
        return structs.replace(settled, decision=permit)

    async def _ruled(self, ruling: Ruling, decided: Decided, at: int, *, used: bool) -> Decided:
        permit = applies(ruling, decided, at)
        exchange_id = decided.identified.exchange_id
        if used:
            raise Unheard(_USED)
        self._using.add(exchange_id)  # before it is asked for: an answer that is lost may be a yes
        if not await self._store.use(ruling.id, exchange_id):
            self._using.discard(exchange_id)
            raise Unheard(_USED)
        return structs.replace(decided, decision=permit)


def applies(ruling: Ruling, decided: Decided, at: int) -> Permit:
    """Give the permit that a ruling makes of a referral, as far as it goes.

    Raises:
        Unheard: It is about something else, has expired, or refuses.
    """
    refer, request = decided.decision, decided.request
    if not isinstance(refer, Refer) or request is None:
        raise Unheard(_NOTHING)
    _require_about(ruling, decided)
    if at >= ruling.expires:
        raise Unheard("This ruling has expired.")
    if ruling.effect is not Ruled.PERMIT:
        raise Unheard(f"An officer of the provider refused this, by {ruling.legal_basis}.")
    fields = refer.permit.fields
    if ruling.fields:
        if not set(request.fields) <= set(ruling.fields):
            raise Unheard("The ruling does not let all of these fields out.")
        fields = tuple(name for name in fields if name in ruling.fields)
    if not fields:
        raise Unheard("The ruling lets out nothing that the rules do.")
    return structs.replace(refer.permit, fields=fields, ruling=str(ruling.id))


def grant_of(opening: Opening, decided: Decided, at: int) -> Grant:
    """Write an opening as the grant it stands in for.

    Its id has dots, which no grant's id has.

    Raises:
        Unheard: It is about something else, or has expired.
    """
    _require_about(opening, decided)
    if not opening.at <= at < opening.expires:
        raise Unheard("This opening has expired.")
    return Grant(
        id=GrantId(f"{BREAK_GLASS}{opening.id}"),
        effect=Effect.ALLOW,
        consumer=opening.consumer,
        posts=(ANY,),
        provider=DepartmentId(opening.provider),
        resource=ResourceId(opening.resource),
        modes=(Mode.QUERY,),
        purposes=(PurposeCode(opening.purpose),),
        fields=tuple(FieldName(name) for name in sorted(opening.fields)),
        row_limit=opening.row_limit,
        valid_from=opening.at,
        valid_until=opening.expires,
    )


def verify(statement: Statement, signatures: Sequence[str], registry: Registry, at: int) -> None:
    """See that those who may sign this have, and none of them for himself.

    A ruling: a person of the provider with the role `rule`. An opening: two of them, or one and
    another of the consumer. A review: a person with the role `audit`.

    Raises:
        Unheard: They have not.
    """
    by = statement.by if isinstance(statement.by, tuple) else (statement.by,)
    if len(set(by)) != len(by) or len(by) != len(signatures):
        raise Unheard("Whoever signs, signs once.")
    signed = signed_bytes(statement)
    persons = []
    for name, signature in zip(by, signatures, strict=True):
        person = registry.persons.get(PersonId(name))
        if person is None or not person.not_before <= at < person.not_after:
            raise Unheard("Who signed is not registered, or not now.")
        _require_signature(person, signature, signed)
        persons.append(person)
    _require_duty(statement, persons)


def sealing_key(seed: bytes) -> bytes:
    """Derive the key under which statements are kept from a secret of the log's gateways."""
    return hmac.digest(seed, b"sharegate-rulings/v1", "sha256")


def one_person(person: str, officer: str) -> bool:
    """Whether an officer's id may be that of a person of the registry, who is spelt otherwise."""
    return _letters(person) == _letters(officer)


def _require_signature(person: Person, signature: str, signed: bytes) -> None:
    try:
        public = Ed25519PublicKey.from_public_bytes(person.public)
        public.verify(read_base64(signature), signed)
    except (InvalidSignature, Malformed, ValueError):
        raise Unheard("A signature is not by the person named.") from None


def _require_duty(statement: Statement, persons: Sequence[Person]) -> None:
    if not isinstance(statement, (Ruling, Opening)):
        if any(person.role is not Role.AUDIT for person in persons):
            raise Unheard("Only an auditor reviews.")
        return
    if any(person.role is not Role.RULE for person in persons):
        raise Unheard("Only a person with the role `rule` may sign this.")
    departments = {str(person.department) for person in persons}
    allowed = {statement.provider}
    if isinstance(statement, Opening):
        allowed.add(statement.consumer)
    if not departments <= allowed or statement.provider not in departments:
        raise Unheard("A person of the provider must sign this, and no stranger.")
    if any(one_person(person.id, statement.officer) for person in persons):
        raise Unheard("Nobody rules in his own case.")


def _require_about(statement: Ruling | Opening, decided: Decided) -> None:
    """See that it is about this very request; whoever it is not about learns nothing of it.

    Raises:
        Unheard: It is not.
    """
    caller, request = decided.identified.caller, decided.request
    if request is None:
        raise Unheard(_NOTHING)
    asked = (caller.consumer, caller.officer, request.provider, request.resource, request.purpose)
    signed = (
        statement.consumer,
        statement.officer,
        statement.provider,
        statement.resource,
        statement.purpose,
    )
    if asked != signed:
        raise Unheard(_NOTHING)
    if isinstance(statement, Ruling):
        question = decided.decision.question if isinstance(decided.decision, Refer) else None
        where = {str(name): value for name, value in request.where.items()}
        if (statement.matter, statement.question) != (request.matter, question):
            raise Unheard(_NOTHING)
        if not same(statement.where, where):
            raise Unheard(_NOTHING)


def _open_to(decided: Decided) -> bool:
    """Whether an officer may speak at all: never where a rule denies."""
    decision = decided.decision
    return isinstance(decision, Refer) or (
        isinstance(decision, Deny) and decision.reason is Reason.NO_GRANT
    )


def _refused(decided: Decided, detail: str) -> Decided:
    """Deny where a ruling does not help; without a grant, the rules' own denial stands."""
    before = decided.decision
    if not isinstance(before, Refer):
        return decided
    deny = Deny(before.rule_set, Reason.RULING_REFUSED, before.permit.grant, "/ruling", detail)
    return structs.replace(decided, decision=deny)


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter in _LETTERS)


def _uuid(text: str) -> UUID | None:
    try:
        read = UUID(text)
    except ValueError:
        return None
    return read if str(read) == text else None
