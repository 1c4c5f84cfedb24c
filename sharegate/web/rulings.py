"""What officers who rule get to see, and what they send, as documents and as schemas."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

import msgspec

from sharegate.model.ruling import Effect, Heard, Referral
from sharegate.web.schemas import EXAMPLE_ID, Json, closed

_encode: Final = msgspec.json.Encoder(order="sorted").encode
_CODE: Final = {"type": "string", "pattern": "^[!-~]{1,63}$"}
_ID: Final = {"type": "string", "format": "uuid"}
_MOMENT: Final = {
    "type": "integer",
    "minimum": 0,
    "maximum": 2**53 - 1,
    "description": "Milliseconds of Unix time.",
}
_BASE64: Final = {"type": "string", "contentEncoding": "base64"}


def listed(referrals: Sequence[Referral]) -> bytes:
    """The answer to who asks what was referred to his department."""
    return _encode({"referrals": [_listed(each) for each in referrals]})


def heard(ruling: Heard) -> bytes:
    """The answer to who brought a ruling."""
    return _encode(
        {"ruling": ruling.id} if ruling.entry is None
        else {"ruling": ruling.id, "entry": ruling.entry}
    )  # fmt: skip


def _listed(referral: Referral) -> Json:
    wrapped = referral.wrapped
    return {
        "exchange_id": referral.exchange_id,
        "entry": referral.entry,
        "at": referral.at,
        "consumer": referral.consumer,
        "resource": referral.resource,
        "purpose": referral.purpose,
        "question": referral.question,
        "leaf": b64encode(referral.leaf).decode(),
        "sealed": b64encode(referral.sealed).decode(),
        "wrapped": None if wrapped is None else b64encode(wrapped).decode(),
        "ruling": referral.ruling,
        "used": referral.used,
    }


def referrals_schema() -> Json:
    """What :func:`listed` writes."""
    one = closed(
        {
            "exchange_id": {**_ID, "description": "The exchange that was referred."},
            "entry": {"type": "integer", "minimum": 0},
            "at": _MOMENT,
            "consumer": _CODE,
            "resource": _CODE,
            "purpose": _CODE,
            "question": {**_CODE, "description": "What the officer has to answer."},
            "leaf": {**_BASE64, "description": "The entry of the refusal."},
            "sealed": {**_BASE64, "description": "Its detail, sealed to the provider."},
            "wrapped": {
                "type": ["string", "null"],
                "contentEncoding": "base64",
                "description": "The detail's key, wrapped; null once erased.",
            },
            "ruling": {"type": ["string", "null"], "description": "The ruling on it, if any."},
            "used": {"type": "boolean", "description": "Whether that was used."},
        }
    )
    return closed({"referrals": {"type": "array", "maxItems": 50, "items": one}})


def heard_schema() -> Json:
    """What :func:`heard` writes."""
    entry = {
        "type": "integer",
        "minimum": 0,
        "description": "The place of its entry; absent where it was brought before.",
    }
    return closed({"ruling": _ID, "entry": entry}, optional=("entry",))


def ruling_schema() -> Json:
    """A signed ruling, as `model.ruling` reads it."""
    signature = {
        "type": "string",
        "description": "Ed25519 over `sharegate-ruling/v1`, a line feed and the statement as RFC "
        "8785 canonicalises it; base64.",
    }
    statement = closed(
        {
            "id": _ID,
            "referral": {**_ID, "description": "The exchange that was referred."},
            "by": {**_CODE, "description": "The person who signs, with the role `rule`."},
            **dict.fromkeys(("provider", "consumer"), _CODE),
            "officer": {"type": "string", "pattern": "^[!-~]{1,128}$"},
            **dict.fromkeys(("resource", "purpose", "matter"), _CODE),
            "where": {
                "type": "object",
                "additionalProperties": {"type": ["string", "integer", "boolean"]},
                "description": "What was asked by, exactly.",
            },
            "question": _CODE,
            "effect": {"enum": [effect.value for effect in Effect]},
            "legal_basis": _CODE,
            "fields": {
                "type": "array",
                "items": _CODE,
                "maxItems": 64,
                "description": "What may leave at most; empty: all that the rules let out.",
            },
            "at": _MOMENT,
            "expires": {**_MOMENT, "description": "At most 30 days after `at`."},
        }
    )
    return closed(
        {
            "statement": statement,
            "signatures": {
                "type": "array",
                "items": signature,
                "minItems": 1,
                "maxItems": 1,
            },
        }
    ) | {"examples": [_EXAMPLE]}


_EXAMPLE: Final[Json] = {
    "statement": {
        "id": "0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e58",
        "referral": EXAMPLE_ID,
        "by": "chen-jing",
        "provider": "housing",
        "consumer": "civil-affairs",
        "officer": "zhang.wei",
        "resource": "properties",
        "purpose": "subsistence-allowance-review",
        "matter": "DB-2026-000123",
        "where": {"owner_id_number": "110101199003070019"},
        "question": "is-it-needed",
        "effect": "permit",
        "legal_basis": "social-assistance-measures-2014",
        "fields": [],
        "at": 1785312000000,
        "expires": 1785398400000,
    },
    "signatures": ["A" * 86 + "=="],
}
