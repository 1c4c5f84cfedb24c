"""A resource, a permit and a decided request to test the third room with."""

from uuid import UUID

from sharegate.model.catalogue import (
    Catalogue,
    Field,
    FieldName,
    FieldType,
    MaskRule,
    Mode,
    Resource,
    ResourceId,
    Sensitivity,
    SharingClass,
    SourceName,
)
from sharegate.model.decision import Deny, Permit, RuleSetHash
from sharegate.model.grant import GrantId
from sharegate.model.party import Caller, DepartmentId, KeyId, OfficerId
from sharegate.model.passage import Decided, Identified, Names
from sharegate.model.request import AccessRequest, Scalar

EXCHANGE = UUID("01900000-0000-7000-8000-000000000001")
RULES = RuleSetHash("00")


def field(name, kind=FieldType.TEXT, mask=MaskRule.NONE, *, key=False):
    return Field(FieldName(name), name, name, kind, Sensitivity.PERSONAL, mask, key)


FIELDS = (
    field("certificate_no", key=True),
    field("owner_id_number", key=True),
    field("owner_name", mask=MaskRule.NAME),
    field("address"),
    field("area_m2", FieldType.DECIMAL, key=True),
    field("storeys", FieldType.INTEGER, key=True),
    field("registered_on", FieldType.DATE, key=True),
    field("seen_at", FieldType.TIMESTAMP, key=True),
    field("mortgaged", FieldType.BOOLEAN, key=True),
)
ALL = tuple(each.name for each in FIELDS)


def resource(relation=("estate", "property"), fields=FIELDS, row_limit=50):
    return Resource(
        provider=DepartmentId("housing"),
        id=ResourceId("properties"),
        version=1,
        name_zh="不动产登记",
        name_en="Property register",
        sharing_class=SharingClass.CONDITIONAL,
        legal_ground="",
        source=SourceName("housing"),
        relation=relation,
        modes=frozenset({Mode.QUERY}),
        row_limit=row_limit,
        fields={each.name: each for each in fields},
    )


def permit(fields=ALL, row_limit=20, listed=None):
    names = tuple(FieldName(name) for name in fields)
    return Permit(RULES, GrantId("housing-001"), listed or resource(), names, row_limit)


def request(**where: Scalar):
    return AccessRequest(
        provider="housing",
        resource="properties",
        mode="query",
        purpose="subsistence-allowance-review",
        legal_basis="social-assistance-measures-2014",
        matter="DB-1",
        fields=(),
        where={FieldName(name): value for name, value in where.items()},
        limit=None,
        grant=None,
    )


def decided(decision: Permit | Deny, asked: AccessRequest | None):
    caller = Caller(DepartmentId("civil-affairs"), OfficerId("o"), KeyId("k"), "i")
    identified = Identified(EXCHANGE, 0, caller, 0, b"", b"", b"")
    return Decided(identified, asked, decision, Names(Catalogue({}, {}), {}))
