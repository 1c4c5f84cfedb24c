"""The documents that travel, as JSON Schemas (2020-12): the question, the answer, the problem."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sharegate.authorize.read import (
    MAX_CODE,
    MAX_FIELDS,
    MAX_INTEGER,
    MAX_LIMIT,
    MAX_VALUE,
    MAX_WHERE,
)
from sharegate.errors import Unavailable, Unproven
from sharegate.model.catalogue import (
    MAX_TEXT,
    Catalogue,
    Field,
    FieldType,
    Listed,
    MaskRule,
    Mode,
    Sensitivity,
    SharingClass,
)
from sharegate.model.decision import Reason
from sharegate.web import problems
from sharegate.web.problems import OF_REASON, ProblemType

Json = dict[str, Any]

# What one cannot write in a value: see `authorize.read`. Surrogates have no form in UTF-8.
_UNFIT = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\\ufeff\\ufff9-\\ufffb\\ufffe\\uffff\U000e0000-\U000e007f"
)
_CODE: Final = {"type": "string", "pattern": rf"^[!-~]{{1,{MAX_CODE}}}$"}
EXAMPLE_ID: Final = "0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e57"
_HASH: Final = "5f2b51ca2fdc5baa31ec02e002f69aec1e3f7d05c9d64ab0dcb4d8ad9f3ee4a7"
ASKED: Final[Json] = {
    "provider": "housing",
    "resource": "properties",
    "mode": "query",
    "purpose": "subsistence-allowance-review",
    "legal_basis": "social-assistance-measures-2014",
    "matter": "DB-2026-000123",
    "fields": ["address", "area_m2"],
    "where": {"owner_id_number": "110101199003070019"},
    "limit": 10,
}


def access_request() -> Json:
    """The question, within the limits of `authorize.read`."""
    named = ("provider", "resource", "mode", "purpose", "legal_basis")
    return closed(
        {
            **dict.fromkeys(named, _CODE),
            "mode": {
                **_CODE,
                "description": f"Known modes: {', '.join(mode.value for mode in Mode)}.",
            },
            "matter": {
                "type": "string",
                "pattern": "^[A-Za-z0-9][A-Za-z0-9-]{3,63}$",
                "description": "The case number the question serves.",
            },
            "fields": {
                "type": "array",
                "items": _CODE,
                "minItems": 1,
                "maxItems": MAX_FIELDS,
                "uniqueItems": True,
                "description": "What is asked for. Absent: all that the grant lets out.",
            },
            "where": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": MAX_WHERE,
                "propertyNames": _CODE,
                "additionalProperties": {
                    "anyOf": [
                        {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": MAX_VALUE,
                            "pattern": f"^[^{_UNFIT}]*$",
                        },
                        {"type": "integer", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER},
                        {"type": "boolean"},
                    ]
                },
                "description": "Key fields and what each must equal. Decimals, dates and "
                "timestamps are strings. No control, invisible or surrogate characters.",
            },
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_LIMIT,
                "description": "The most rows wanted; grant and resource may let out fewer.",
            },
            "grant": {**_CODE, "description": "The grant to rely on, where several permit."},
            "ruling": {**_CODE, "description": "The ruling that answered an earlier referral."},
            "consent": {**_CODE, "description": "Where the consent of the person concerned is."},
            "consumer_entry": {
                "type": "string",
                "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
                "description": "The leaf hash of the consumer's own entry about this, base64url.",
            },
        },
        optional=("fields", "limit", "grant", "ruling", "consent", "consumer_entry"),
    )


_TYPES: Final[Mapping[FieldType, Json]] = {
    FieldType.TEXT: {"type": "string"},
    FieldType.INTEGER: {"type": "integer"},
    FieldType.DECIMAL: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
    FieldType.BOOLEAN: {"type": "boolean"},
    FieldType.DATE: {"type": "string", "format": "date"},
    FieldType.TIMESTAMP: {"type": "string", "format": "date-time"},
}


def listed_resources(catalogue: Catalogue) -> Json:
    """Two schemas for each resource every member may know of: what it is asked by, and its rows.

    A field that is masked leaves as text, or not at all, and any field may be null.
    """
    schemas: Json = {}
    for (provider, name), resource in sorted(catalogue.resources.items()):
        if resource.listed is not Listed.MEMBERS:
            continue
        fields = resource.fields.values()
        schemas[f"{provider}.{name}.where"] = {
            "title": f"{resource.name_en}: what it may be asked by",
            "type": "object",
            "minProperties": 1,
            "properties": {each.name: _described(each) for each in fields if each.key},
            "additionalProperties": False,
        }
        schemas[f"{provider}.{name}.row"] = {
            "title": f"{resource.name_en}: one row",
            "description": "Whichever of them the grant lets out. It may mask more: what it masks "
            "is text, or null.",
            "type": "object",
            "properties": {each.name: _leaving(each) for each in fields},
            "additionalProperties": False,
        }
    return schemas


def _described(field: Field) -> Json:
    return {
        **_TYPES[field.type],
        "title": field.name_zh,
        "description": f"{field.sensitivity.value}; mask: {field.mask.value}",
    }


def _leaving(field: Field) -> Json:
    described = _described(field)
    if field.type is FieldType.TEXT:
        described = {**described, "maxLength": MAX_TEXT}
    if field.mask is not MaskRule.NONE:
        described = {**described, "type": "string"}
        for key in ("format", "pattern"):
            described.pop(key, None)
    return {**described, "type": [described["type"], "null"]}


def listing() -> Json:
    """The catalogue, as `authorize.listing` writes it."""
    text = {"type": "string"}
    words = {"type": "array", "items": text}
    field = closed(
        {
            **dict.fromkeys(("name", "name_zh"), text),
            "type": {"enum": [each.value for each in FieldType]},
            "sensitivity": {"enum": [each.value for each in Sensitivity]},
            "mask": {"enum": [each.value for each in MaskRule]},
            "key": {"type": "boolean", "description": "Whether it may be asked by."},
        }
    )
    purpose = closed(
        {
            **dict.fromkeys(("code", "name_zh", "name_en"), text),
            "legal_bases": {"type": "object", "additionalProperties": text},
        }
    )
    grant = closed(
        {
            "id": text,
            "fields": words,
            "row_limit": {"type": "integer", "minimum": 1},
            "assurance": text,
            "masks": {"type": "object", "additionalProperties": text},
            "quota": words,
            "refer": text,
            "consent": {"const": True},
            "matter": {"const": True},
        },
        optional=("masks", "quota", "refer", "consent", "matter"),
    )
    optional = (
        "update_frequency", "joint_owners", "purposes", "grants", "not_shared_reason",
    )  # fmt: skip
    resource = closed(
        {
            **dict.fromkeys(("provider", "id", "name_zh", "name_en", "legal_ground"), text),
            "version": {"type": "integer", "minimum": 1},
            "sharing_class": {"enum": [each.value for each in SharingClass]},
            "modes": words,
            "row_limit": {"type": "integer", "minimum": 1},
            "onward_sharing": {"type": "boolean"},
            "fields": {"type": "array", "items": field},
            "update_frequency": text,
            "joint_owners": words,
            "purposes": {"type": "array", "items": purpose},
            "grants": {"type": "array", "items": grant},
            "not_shared_reason": text,
        },
        optional=optional,
    )
    return closed({"rule_set": text, "resources": {"type": "array", "items": resource}})


def answer() -> Json:
    """The answer, as `record.answer` writes it."""
    code = {"type": "string"}
    return closed(
        {
            "exchange_id": {"type": "string", "format": "uuid"},
            "provider": code,
            "resource": code,
            "version": {"type": "integer", "minimum": 1},
            "grant": {**code, "description": "The one grant that applied."},
            "rule_set": {
                "type": "string",
                "pattern": "^[0-9a-f]{64}$",
                "description": "SHA-256 of the rule set that decided.",
            },
            "rows": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
                },
            },
            "limit_reached": {
                "type": "boolean",
                "description": "Whether there are as many rows as may leave, so perhaps more.",
            },
            "salt": {
                "type": "string",
                "pattern": "^[A-Za-z0-9_-]{43}$",
                "description": "Opens the entry's commitment to these bytes.",
            },
        }
    ) | {
        "examples": [
            {
                "exchange_id": EXAMPLE_ID,
                "provider": "housing",
                "resource": "properties",
                "version": 1,
                "grant": "housing-001",
                "rule_set": _HASH,
                "rows": [{"address": "某区某路1号", "area_m2": "61.50"}],
                "limit_reached": False,
                "salt": "Yk3tqvJmWc0aZrq1Yk3tqvJmWc0aZrq1Yk3tqvJmWc0",
            }
        ]
    }


def problem() -> Json:
    """Every problem document. Which members it has, its type decides."""
    recorded = [urn(kind) for kind in problems.EVERY if kind.recorded]
    document = closed(
        {
            "type": {"enum": [urn(kind) for kind in problems.EVERY]},
            "title": {"enum": _distinct(kind.title for kind in problems.EVERY)},
            "status": {"enum": _distinct(kind.status for kind in problems.EVERY)},
            "detail": {
                "type": "string",
                "description": "One sentence about this occurrence; no data of a provider.",
            },
            "instance": {
                "type": "string",
                "pattern": "^urn:uuid:[0-9a-f-]{36}$",
                "description": "The exchange; of a copy, the one whose entry it shares.",
            },
            "entry": {
                "type": "integer",
                "minimum": 0,
                "description": "The place of its entry in the audit log.",
            },
            "pointer": {
                "type": "string",
                "description": "The member of the request at fault (RFC 6901).",
            },
            "part": {"type": "string", "description": "The part of the proof at fault."},
            "reason": {"enum": [why.value for why in (*Unproven, *Unavailable)]},
        },
        optional=("instance", "entry", "pointer", "part", "reason"),
    )
    return document | {
        "if": {"properties": {"type": {"enum": recorded}}},
        "then": {"required": ["instance", "entry"]},
        "else": {"properties": {"instance": False, "entry": False}},
        "examples": [example(OF_REASON[Reason.NO_GRANT])],
    }


def example(kind: ProblemType) -> Json:
    """A problem document of one type, invented."""
    document: Json = {
        "type": urn(kind),
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
    }
    return document | ({"instance": f"urn:uuid:{EXAMPLE_ID}", "entry": 41} if kind.recorded else {})


def closed(properties: Json, optional: Iterable[str] = ()) -> Json:
    """An object with these members and no others, each of them required unless optional."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in properties if name not in set(optional)],
        "properties": properties,
    }


def urn(kind: ProblemType) -> str:
    """The `type` of a problem document."""
    return problems.TYPE_PREFIX + kind.name


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
