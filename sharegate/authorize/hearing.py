"""Hear what officers sign: a ruling on what was referred, an opening past the rules, a review.

Whatever is signed is proven, then takes its place in the database where it is of no use yet, then
is recorded, and only then may be used: so nothing acts that has no entry, and of two rulings on one
referral one has an entry and acts. Sent again, the same statement is not recorded again.
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Final

from sharegate.authorize.line import BROKEN
from sharegate.authorize.rulings import RecordedRulings, Unheard, sealing_key, verify
from sharegate.authorize.rulings_postgres import PostgresRulings
from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.model.act import Act, ActKind, Fact, RecordAct
from sharegate.model.decision import Reason
from sharegate.model.grant import Grant
from sharegate.model.ids import new_id
from sharegate.model.party import DepartmentId, PersonId, Registry, Role
from sharegate.model.passage import Decided, Identified
from sharegate.model.ruling import (
    DAY_MS,
    MOST_OPENING_MS,
    MOST_RULING_MS,
    REVIEW_WITHIN_MS,
    Fate,
    Heard,
    NotHeard,
    Referral,
    SignedOpening,
    SignedReview,
    SignedRuling,
    Statement,
    read_ruling,
    signed_bytes,
)
from sharegate.observe import Observer

LISTED_MS: Final = 30 * DAY_MS
_AHEAD_MS: Final = 60_000
_OLDEST_MS: Final = DAY_MS
_NOT_REACHED: Final = "the rulings cannot be reached"


@asynccontextmanager
async def keeping(dsn: str, seed: bytes, observe: Observer) -> AsyncIterator[PostgresRulings]:
    """Keep what is signed in the audit log's database, for as long as the context is open.

    Args:
        dsn: A login that appends to the audit log.
        seed: A secret that all gateways of one audit log share.
        observe: Told how many reviews are overdue.
    """
    store = PostgresRulings(dsn, sealing_key(seed), observe, random=os.urandom)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


class Hearing:
    """Where officers are heard."""

    def __init__(
        self,
        store: PostgresRulings,
        registry: Callable[[], Registry],
        record: RecordAct,
    ) -> None:
        """Open it.

        Args:
            store: Keeps what is signed.
            registry: Gives the members of this moment.
            record: Writes acts down.
        """
        self._store = store
        self._registry = registry
        self._record = record

    async def referrals(self, identified: Identified) -> list[Referral] | NotHeard:
        """What was referred to the asker's department in the last 30 days, if he may rule on it.

        Raises:
            AuditLogUnavailable: It cannot be looked up.
        """
        caller = identified.caller
        person = self._registry().persons.get(PersonId(caller.officer))
        if (
            person is None
            or person.department != caller.consumer
            or person.role is not Role.RULE
            or not person.not_before <= identified.at < person.not_after
        ):
            return NotHeard(
                Reason.NOT_RULING,
                "Referrals are shown to persons of the registry with the role `rule`.",
            )
        try:
            return await self._store.referrals(caller.consumer, identified.at - LISTED_MS)
        except BROKEN as error:
            raise AuditLogUnavailable(Unavailable.DOWN, _NOT_REACHED) from error

    async def rule(self, identified: Identified) -> Heard | NotHeard:
        """Take a signed ruling that a provider brings.

        Raises:
            AuditLogUnavailable: It cannot be kept or recorded; it is not in force.
        """
        try:
            signed = read_ruling(identified.body)
        except ValueError as error:
            return NotHeard(Reason.MALFORMED, f"This is no signed ruling: {error}.")
        ruling, at = signed.statement, identified.at
        try:
            _require_brought_by(identified.caller.consumer, ruling.provider)
            self._believe(ruling, signed.signatures, at)
            _require_times(ruling.at, ruling.expires, MOST_RULING_MS, at)
            if _known(await self._store.propose(signed)):
                return Heard(ruling.id, None)
            entry = await self._write_down(ruling_act(signed, at))
            _require_placed(await self._store.enact(ruling.id))
        except Unheard as why:
            return NotHeard(Reason.NOT_RULING, str(why))
        except BROKEN as error:
            raise AuditLogUnavailable(Unavailable.DOWN, _NOT_REACHED) from error
        return Heard(ruling.id, entry)

    async def open(self, signed: SignedOpening, at: int) -> Heard:
        """Take an opening that two officers signed.

        Raises:
            Unheard: It is not as it must be.
            AuditLogUnavailable: It cannot be kept or recorded; it is not in force.
        """
        opening = signed.statement
        self._believe(opening, signed.signatures, at)
        _require_times(opening.at, opening.expires, MOST_OPENING_MS, at)
        departments = self._registry().departments
        if not {opening.provider, opening.consumer} <= set(departments):
            raise Unheard("There is no such department.")
        try:
            due = opening.expires + REVIEW_WITHIN_MS
            if _known(await self._store.propose_opening(signed, due)):
                return Heard(opening.id, None)
            entry = await self._write_down(opening_act(signed, at))
            await self._store.enact_opening(opening.id)
        except BROKEN as error:
            raise AuditLogUnavailable(Unavailable.DOWN, _NOT_REACHED) from error
        return Heard(opening.id, entry)

    async def review(self, signed: SignedReview, at: int) -> Heard:
        """Take an auditor's review of an opening.

        Raises:
            Unheard: It is not as it must be.
            AuditLogUnavailable: It cannot be recorded; the opening is not reviewed.
        """
        review = signed.statement
        self._believe(review, signed.signatures, at)
        _require_times(review.at, at + 1, _OLDEST_MS + 1, at)
        try:
            found = [
                each for each in await self._store.openings() if each.statement.id == review.opening
            ]
            if not found:
                raise Unheard("There was no such opening.")
            if found[0].reviewed:
                raise Unheard("This opening was reviewed before.")
            if at < found[0].statement.expires:
                raise Unheard("An opening is reviewed once it is over.")
            provider = found[0].statement.provider
            entry = await self._write_down(review_act(signed, provider, at))
            await self._store.reviewed(review.opening)
        except BROKEN as error:
            raise AuditLogUnavailable(Unavailable.DOWN, _NOT_REACHED) from error
        return Heard(review.id, entry)

    def _believe(self, statement: Statement, signatures: tuple[str, ...], at: int) -> None:
        verify(statement, signatures, self._registry(), at)

    async def _write_down(self, act: Act) -> int | None:
        covered = await self._record.record_act(act, new_id(act.at))
        return None if covered is None else covered.index


@asynccontextmanager
async def officers(
    dsn: str,
    seed: bytes,
    registry: Callable[[], Registry],
    under: Callable[[Decided, Grant], Decided],
    record: RecordAct,
    observe: Observer,
) -> AsyncIterator[tuple[RecordedRulings, Hearing]]:
    """Hear officers, and let what they signed speak, for as long as the context is open.

    Args:
        dsn: A login that appends to the audit log.
        seed: A secret that all gateways of one audit log share.
        registry: Gives the members of this moment.
        under: Decides by one grant alone what the rules refused for want of one.
        record: Writes acts down.
        observe: Told how many reviews are overdue.
    """
    async with keeping(dsn, seed, observe) as store:
        yield RecordedRulings(store, registry, under), Hearing(store, registry, record)


def ruling_act(signed: SignedRuling, at: int) -> Act:
    """The entry of a ruling: registered names in clear, everything else sealed."""
    ruling = signed.statement
    return _act(
        ActKind.RULING,
        at,
        signed,
        ruling.by,
        {
            "ruling": str(ruling.id),
            "referral": str(ruling.referral),
            "effect": ruling.effect.value,
            "provider": ruling.provider,
            "consumer": ruling.consumer,
            "resource": ruling.resource,
            "purpose": ruling.purpose,
            "expires": ruling.expires,
        },
        ruling.provider,
    )


def opening_act(signed: SignedOpening, at: int) -> Act:
    """The entry of an opening."""
    opening = signed.statement
    return _act(
        ActKind.BREAK_GLASS,
        at,
        signed,
        opening.by[0],
        {
            "break_glass": str(opening.id),
            "by": opening.by,
            "provider": opening.provider,
            "consumer": opening.consumer,
            "expires": opening.expires,
            "review_due": opening.expires + REVIEW_WITHIN_MS,
        },
        opening.provider,
    )


def review_act(signed: SignedReview, provider: str, at: int) -> Act:
    """The entry of a review."""
    review = signed.statement
    return _act(
        ActKind.REVIEW,
        at,
        signed,
        review.by,
        {
            "break_glass": str(review.opening),
            "review": str(review.id),
            "finding": review.finding.value,
        },
        provider,
    )


def _act(
    kind: ActKind,
    at: int,
    signed: SignedRuling | SignedOpening | SignedReview,
    by: str,
    facts: Mapping[str, Fact],
    provider: str,
) -> Act:
    """The act of one statement: sent again, it is the same act."""
    statement = signed.statement
    return Act(
        kind=kind,
        at=at,
        by=by,
        facts=facts,
        detail={"statement": statement, "signatures": signed.signatures},
        provider=DepartmentId(provider),
        once=sha256(b"sharegate-once\0" + signed_bytes(statement)).digest(),
    )


def _known(fate: Fate) -> bool:
    """Whether it is in force already.

    Raises:
        Unheard: It cannot come into force.
    """
    if fate is Fate.UNKNOWN:
        raise Unheard("Nothing like this was referred.")
    if fate is Fate.TAKEN:
        raise Unheard("Another statement is in its place.")
    return fate is Fate.RECORDED


def _require_brought_by(department: str, provider: str) -> None:
    if department != provider:
        raise Unheard("Only the provider brings a ruling.")


def _require_placed(placed: bool) -> None:  # noqa: FBT001  the one thing there is to say
    if not placed:
        raise Unheard("Another statement is in its place.")


def _require_times(at: int, expires: int, most: int, now: int) -> None:
    if at > now + _AHEAD_MS:
        raise Unheard("This is signed ahead of the gateway's clock.")
    if at < now - _OLDEST_MS:
        raise Unheard("This was signed more than a day ago.")
    if not max(at, now) < expires <= at + most:
        raise Unheard("This expires too late, or has expired.")
