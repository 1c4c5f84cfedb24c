"""Count answers: whose, over which period, and when the next one begins. Pure, but for the port.

What is counted is an answer that was recorded, never a question. Its place is reserved before the
source is asked and given back where nothing was disclosed. Whom a count is about is known only by a
keyed hash, because counts stand in a table beside the audit log.
"""

import hmac
from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from sharegate.errors import Misconfigured, ShareGateError
from sharegate.model.decision import Permit
from sharegate.model.grant import Per, Period, Quota
from sharegate.model.party import Caller

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LABEL: Final = b"sharegate-quota/v1"
_SEPARATOR: Final = "\0"  # in no id, and in no officer's name that a token may carry


class Span(Struct, frozen=True, gc=False):
    """One day or one month in the time zone of the settings.

    Attributes:
        name: As ``2026-11-21`` or ``2026-11``.
        until: The first millisecond (Unix time) at which it is surely over.
    """

    name: str
    until: int


class Term(Struct, frozen=True, gc=False):
    """One count that has room for one more answer, or has not.

    Attributes:
        key: 32 bytes that stand for grant, officer or department, and period.
        most: How many answers there may be.
        until: When the period is over, as in `Span`.
    """

    key: bytes
    most: int
    until: int


class Claim(Struct, frozen=True, gc=False):
    """One answer that wants to be counted, in each term or in none.

    Attributes:
        signed_at: As in `Identified`. Once the audit log refuses requests this old, what became
            of the exchange is settled for good.
    """

    exchange_id: UUID
    signed_at: int
    terms: tuple[Term, ...]


class QuotaUnavailable(ShareGateError):
    """It cannot be said how many answers there were, so there is no other one."""


class Quotas(Protocol):
    """Counts answers over all gateway processes of one audit log.

    No count ever exceeds its most, whichever processes ask at once and whichever dies when: a place
    is given back only by whoever reserved it, or once the audit log shows that no answer was
    recorded and none can be any more.
    """

    async def reserve(self, claim: Claim) -> int | None:
        """Reserve one place in every term, in one step, or in none.

        Answers within a bounded time. Of an exchange id there is one claim ever.

        Returns:
            None where all is reserved; else which term, from 0, has no place left.

        Raises:
            QuotaUnavailable: It is not known; whatever may have been reserved comes back by itself.
        """

    def settle(self, exchange_id: UUID, *, answered: bool) -> None:
        """Say what came of a claim that was reserved: keep its places, or give them back.

        Returns at once; what is lost of it is found out from the audit log, within minutes.
        """


def time_zone(name: str) -> ZoneInfo:
    """Find a time zone by its name in the IANA database.

    Raises:
        Misconfigured: There is none of that name on this machine.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise Misconfigured("quotas.time_zone", "this machine knows no such time zone") from error


def span_of(at: int, period: Period, zone: ZoneInfo) -> Span:
    """The day or month that a moment belongs to.

    Args:
        at: Milliseconds of Unix time.
        period: Which of the two.
        zone: Whose midnight counts.
    """
    # Not fromtimestamp: it rounds through a float.
    today = (_EPOCH + at * _MILLISECOND).astimezone(zone).date()
    match period:
        case Period.DAY:
            return Span(today.isoformat(), _midnight(today + timedelta(days=1), zone))
        case Period.MONTH:
            first = (today.replace(day=1) + timedelta(days=31)).replace(day=1)
            return Span(f"{today:%Y-%m}", _midnight(first, zone))


def _midnight(day: date, zone: ZoneInfo) -> int:
    """The moment from which on no clock in the zone shows an earlier day, in milliseconds.

    Where clocks are put back over midnight there are two midnights, and the later one counts; where
    they are put forward over it there is none, and what the later reading gives is the change.
    """
    readings = (datetime(day.year, day.month, day.day, fold=fold, tzinfo=zone) for fold in (0, 1))
    return max((reading - _EPOCH) // _MILLISECOND for reading in readings)


def counting_key(seed: bytes) -> bytes:
    """Derive the key of the hashes from a secret that all gateways of one audit log share."""
    return hmac.digest(seed, _LABEL, "sha256")


def terms_of(
    permit: Permit, caller: Caller, at: int, zone: ZoneInfo, key: bytes
) -> tuple[Term, ...]:
    """What an answer under this permit has to be counted in, in the order of the grant.

    Args:
        permit: Whose grant says how many.
        caller: Who asks.
        at: Milliseconds of Unix time at which the request arrived; it decides the period.
        zone: Whose midnight counts.
        key: Of the hashes.
    """
    return tuple(_term(permit, quota, caller, at, zone, key) for quota in permit.quota)


def _term(
    permit: Permit, quota: Quota, caller: Caller, at: int, zone: ZoneInfo, key: bytes
) -> Term:
    span = span_of(at, quota.period, zone)
    officer = caller.officer if quota.per is Per.OFFICER else ""
    counted = (
        permit.resource.provider, permit.grant, quota.per, span.name, caller.consumer, officer,
    )  # fmt: skip
    return Term(
        hmac.digest(key, _SEPARATOR.join(counted).encode(), "sha256"), quota.most, span.until
    )


def used_up(quota: Quota, span: Span, zone: ZoneInfo) -> str:
    """Say which quota is used up, and from when on one may ask again."""
    whose = "officer" if quota.per is Per.OFFICER else "department"
    again = (_EPOCH + span.until * _MILLISECOND).astimezone(zone).isoformat()
    return (
        f"The grant allows one {whose} {quota.most} answers a {quota.period.value}, "
        f"and there were as many; ask again from {again}."
    )
