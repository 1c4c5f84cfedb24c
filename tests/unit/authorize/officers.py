"""Persons of a small registry, what they sign, and what is referred to them."""

from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from sharegate.audit.text import write_base64
from sharegate.model.catalogue import Catalogue
from sharegate.model.decision import Deny, Permit, Reason, Refer, RuleSetHash
from sharegate.model.grant import GrantId
from sharegate.model.party import (
    Caller,
    Department,
    DepartmentId,
    KeyId,
    OfficerId,
    Person,
    PersonId,
    Registry,
    Role,
)
from sharegate.model.passage import Decided, Identified, Names
from sharegate.model.request import AccessRequest
from sharegate.model.ruling import (
    DAY_MS,
    Effect,
    Finding,
    Opening,
    Review,
    Ruling,
    SignedOpening,
    SignedReview,
    SignedRuling,
    signed_bytes,
)
from tests.unit.fetch.estate import resource

AT = 1_795_190_400_000
REFERRAL = UUID("0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e57")
RULES = RuleSetHash("00")
DUTIES = {
    "chen-jing": ("housing", Role.RULE),
    "liu-yang": ("housing", Role.RULE),
    "sun-li": ("civil-affairs", Role.RULE),
    "zhang-wei": ("civil-affairs", Role.RULE),
    "wang-fang": ("tax", Role.RULE),
    "ma-na": ("housing", Role.MANAGE),
    "li-na": ("tax", Role.AUDIT),
}
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i, name in enumerate(DUTIES, 1)
}
PERSONS = {
    PersonId(name): Person(
        PersonId(name),
        DepartmentId(department),
        role,
        KEYS[name].public_key().public_bytes_raw(),
        AT - 30 * DAY_MS,
        AT + 30 * DAY_MS,
    )
    for name, (department, role) in DUTIES.items()
}
REGISTRY = Registry(
    departments={
        DepartmentId(name): Department(DepartmentId(name), "", "", None)
        for name in ("housing", "civil-affairs", "tax")
    },
    keys={},
    issuers={},
    audit_office_key=bytes(32),
    persons=PERSONS,
)
CALLER = Caller(DepartmentId("civil-affairs"), OfficerId("zhang.wei"), KeyId("k"), "issuer")
PERMIT = Permit(RULES, GrantId("housing-001"), resource(), ("address", "area_m2"), 5)
REFER = Refer(RULES, PERMIT, "is-it-needed", "Is it needed?")
NO_GRANT = Deny(RULES, Reason.NO_GRANT, None, None, "No.")
ASKED = AccessRequest(
    "housing", "properties", "query", "review", "norm", "DB-2026-1", (),
    {"owner_id_number": "110101199003070019", "storeys": 1}, None, None,
    str(REFERRAL),
)  # fmt: skip
RULING = Ruling(
    id=UUID("0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e58"),
    referral=REFERRAL,
    by="chen-jing",
    provider="housing",
    consumer="civil-affairs",
    officer="zhang.wei",
    resource="properties",
    purpose="review",
    matter="DB-2026-1",
    where={"owner_id_number": "110101199003070019", "storeys": 1},
    question="is-it-needed",
    effect=Effect.PERMIT,
    legal_basis="norm",
    fields=(),
    at=AT,
    expires=AT + DAY_MS,
)
OPENING = Opening(
    id=UUID("0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e59"),
    by=("chen-jing", "liu-yang"),
    provider="housing",
    consumer="civil-affairs",
    officer="zhang.wei",
    resource="properties",
    purpose="review",
    fields=("address", "owner_id_number"),
    row_limit=3,
    reason="Flood; the register's officers cannot be reached.",
    at=AT,
    expires=AT + DAY_MS // 2,
)
REVIEW = Review(
    id=UUID("0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e60"),
    opening=OPENING.id,
    by="li-na",
    finding=Finding.JUSTIFIED,
    remarks="Seen.",
    at=AT,
)


def decided(decision=REFER, request=ASKED, caller=CALLER, n=1):
    identified = Identified(UUID(int=n), AT, caller, AT - 5, bytes(32), b"{}", bytes(32))
    return Decided(identified, request, decision, Names(Catalogue({}, {}), {}))


def signature(name, statement):
    return write_base64(KEYS[name].sign(signed_bytes(statement)))


def signed_ruling(key=None, **changes):
    statement = structs.replace(RULING, **changes)
    return SignedRuling(statement, (signature(key or statement.by, statement),))


def signed_opening(**changes):
    statement = structs.replace(OPENING, **changes)
    first, second = statement.by
    return SignedOpening(statement, (signature(first, statement), signature(second, statement)))


def signed_review(**changes):
    statement = structs.replace(REVIEW, **changes)
    return SignedReview(statement, (signature(statement.by, statement),))
