"""Exchanges to record: plain ones, and any that hypothesis can think of."""

import hmac
import json
from hashlib import sha256
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import strategies as st
from msgspec.structs import replace

from sharegate.model.catalogue import (
    Catalogue,
    Field,
    FieldName,
    FieldType,
    MaskRule,
    Mode,
    Purpose,
    PurposeCode,
    Resource,
    ResourceId,
    Sensitivity,
    SharingClass,
    SourceName,
)
from sharegate.model.decision import Deny, Permit, Reason, RuleSetHash
from sharegate.model.grant import GrantId
from sharegate.model.party import Caller, Department, DepartmentId, KeyId, OfficerId, Registry
from sharegate.model.passage import (
    Decided,
    Disclosure,
    Failure,
    Fetched,
    Identified,
    Names,
    Refusal,
)
from sharegate.model.request import AccessRequest
from sharegate.record.detail import DetailSealer
from sharegate.record.entry import Salts, core
from sharegate.record.suite import AES

EXCHANGE = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
NOW = 1_750_000_000_000
RULES = RuleSetHash("rules-hash")
CANARY = "kanarie"
RANDOM = bytes(range(192))
SALTS = Salts.cut(RANDOM)


def _x25519(seed):
    return X25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


OFFICE, HOUSING, CIVIL_AFFAIRS = _x25519(1), _x25519(2), _x25519(3)
DETAIL_KEYS = {"housing": HOUSING, "civil-affairs": CIVIL_AFFAIRS, "tax": None}


def public(key):
    return None if key is None else key.public_key().public_bytes_raw()


REGISTRY = Registry(
    departments={
        DepartmentId(name): Department(DepartmentId(name), "部门", "Department", public(key))
        for name, key in DETAIL_KEYS.items()
    },
    keys={},
    issuers={},
    audit_office_key=public(OFFICE),
)


def resource(provider="housing", name="properties", fields=("owner", "address"), version=1):
    return Resource(
        provider=DepartmentId(provider),
        id=ResourceId(name),
        version=version,
        name_zh="不动产登记",
        name_en="Property register",
        sharing_class=SharingClass.CONDITIONAL,
        legal_ground="",
        source=SourceName(provider),
        relation=("estate", "property"),
        modes=frozenset({Mode.QUERY}),
        row_limit=50,
        fields={
            FieldName(each): Field(
                FieldName(each), each, each, FieldType.TEXT, Sensitivity.PERSONAL, MaskRule.NONE,
                key=True,
            )
            for each in fields
        },
    )  # fmt: skip


def catalogue(resources=(), purposes=None):
    resources = resources or (resource(),)
    purposes = purposes or {"review": ("basis-2014",)}
    return Catalogue(
        resources={(each.provider, each.id): each for each in resources},
        purposes={
            PurposeCode(code): Purpose(PurposeCode(code), "用途", "Purpose", dict.fromkeys(bases))
            for code, bases in purposes.items()
        },
    )


CATALOGUE = catalogue()


def names(known=CATALOGUE):
    """What there is: these resources, those who provide them, and those of the registry."""
    providers = {key[0]: Department(key[0], "部门", "Department", None) for key in known.resources}
    return Names(known, providers | REGISTRY.departments)


def request(**changes):
    asked = {
        "provider": "housing",
        "resource": "properties",
        "mode": "query",
        "purpose": "review",
        "legal_basis": "basis-2014",
        "matter": f"DB-{CANARY}-1",
        "fields": (),
        "where": {FieldName("owner"): f"{CANARY}-110101199003070019"},
        "limit": None,
        "grant": None,
    }
    return AccessRequest(**(asked | changes))


def identified(exchange_id=EXCHANGE, at=NOW, replay_key=b"r" * 32, body=b"{}", officer=CANARY):
    caller = Caller(
        DepartmentId("civil-affairs"), OfficerId(officer), KeyId("key-1"), "https://issuer.example"
    )
    digest = sha256(body).digest()
    return Identified(exchange_id, at, caller, at, replay_key, body, digest)


def permit(listed=None, fields=("address",), limit=20):
    names = tuple(FieldName(each) for each in fields)
    return Permit(RULES, GrantId("housing-001"), listed or resource(), names, limit)


def disclosed(rows=((f"{CANARY} road 1",),), asked=None, who=None, listed=None):
    """An exchange that was permitted and found rows."""
    allowed = permit(listed)
    return Fetched(
        Decided(who or identified(), asked or request(), allowed, names()),
        Disclosure(allowed, allowed.fields, tuple(rows), limit_reached=False),
    )


def denied(asked=None, who=None, reason=Reason.NO_GRANT, rule=None):
    """An exchange that the rules refused; `asked` may be None: it could not be read."""
    decision = Deny(RULES, reason, rule, f"/{CANARY}", "No.")
    return Fetched(
        Decided(who or identified(), asked, decision, names()), Refusal(reason, f"/{CANARY}", "No.")
    )


def failed(asked=None, who=None):
    """An exchange that was permitted, but whose source gave no answer."""
    decided = Decided(who or identified(), asked or request(), permit(), names())
    return Fetched(decided, Failure(Reason.SOURCE_TIMEOUT, "late"))


class Dice:
    """Random bytes that are never the same twice, and the same in every run."""

    def __init__(self):
        self.drawn = 0

    def __call__(self, size):
        self.drawn += 1
        return b"".join(
            sha256(b"%d %d" % (self.drawn, part)).digest() for part in range(size // 32 + 1)
        )[:size]


def under(known, fetched):
    """The same exchange, decided where these resources are known."""
    return replace(fetched, decided=replace(fetched.decided, names=names(known)))


def entry_core(fetched, *, known=CATALOGUE, answer=None, salts=SALTS, suite=AES):
    """The core of an exchange's entry, and its sealed detail."""
    fetched = under(known, fetched)
    detail = DetailSealer(public(OFFICE), Dice(), suite).seal(fetched, salts)
    return core(fetched, salts, detail, answer), detail


def committed(salt, label, value):
    """The commitment of FORMAT: HMAC-SHA-256(salt, label, a zero byte, value)."""
    return hmac.new(salt, label.encode() + bytes(1) + value, "sha256").digest()


ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}


def canonical(value):
    """RFC 8785 for what a core may hold; written from the RFC, sharing nothing with the encoder."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            assert abs(value) < 2**53
            return str(value)
        case str():
            escaped = (
                ESCAPES.get(char) or (f"\\u{ord(char):04x}" if char < " " else char)
                for char in value
            )
            return f'"{"".join(escaped)}"'
        case list():
            return f"[{','.join(map(canonical, value))}]"
        case dict():
            assert all(key.isascii() for key in value)
            ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
            return "{" + ",".join(f"{canonical(k)}:{canonical(v)}" for k, v in ordered) + "}"
        case _:
            raise AssertionError(f"a core may not hold {value!r}")


def read_json(data):
    """Python's own reader, as a stranger would use it; refuses what a core may not hold."""
    return json.loads(data, parse_float=_refuse, parse_constant=_refuse)


def _refuse(text):
    raise AssertionError(f"a core may not hold {text}")


# --- any exchange -------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ascii_words = st.text(st.characters(min_codepoint=1, max_codepoint=126), min_size=1, max_size=12)
spoken = words.map(lambda word: f"{CANARY}{word}")  # what only the caller can have said
scalars = spoken | st.integers(-(2**63), 2**63 - 1) | st.booleans()


@st.composite
def catalogues(draw):
    """Any catalogue: names of every kind, field names in ASCII."""
    listed = draw(
        st.lists(
            st.builds(
                resource,
                provider=words | st.sampled_from(sorted(REGISTRY.departments)),
                name=words,
                fields=st.lists(ascii_words, min_size=1, max_size=4, unique=True),
                version=st.integers(1, 2**53 - 1),
            ),
            min_size=1,
            max_size=3,
        )
    )
    bases = st.lists(words, min_size=1, max_size=2)
    return catalogue(tuple(listed), draw(st.dictionaries(words, bases, min_size=1, max_size=3)))


@st.composite
def requests(draw, known):
    """Any request: each of its names is a known one or the caller's own invention."""
    listed = draw(st.sampled_from(sorted(known.resources.values(), key=repr)))
    purpose = draw(st.sampled_from(sorted(known.purposes.values(), key=repr)))

    def maybe(*names):
        return draw(st.sampled_from(names) | spoken)

    return request(
        provider=maybe(listed.provider),
        resource=maybe(listed.id),
        mode=maybe("query"),
        purpose=maybe(purpose.code),
        legal_basis=maybe(*purpose.legal_bases),
        matter=draw(spoken),
        fields=tuple(draw(st.lists(spoken, max_size=3))),
        where=draw(st.dictionaries(spoken | st.sampled_from(sorted(listed.fields)), scalars)),
        limit=draw(st.none() | st.integers(1, 10_000)),
        grant=draw(st.none() | spoken),
    )


@st.composite
def exchanges(draw):
    """Any exchange and the catalogue it was asked under."""
    known = draw(catalogues())
    who = identified(
        exchange_id=draw(st.uuids()),
        at=draw(st.integers(0, 2**48 - 1)),
        body=draw(st.binary(max_size=50)),
        officer=draw(spoken),
    )
    asked = draw(requests(known))
    kind = draw(st.sampled_from(["disclosed", "denied", "unreadable", "failed"]))
    match kind:
        case "disclosed":
            listed = draw(st.sampled_from(sorted(known.resources.values(), key=repr)))
            allowed = permit(listed, draw(st.permutations(sorted(listed.fields))))
            row = st.tuples(*(st.none() | scalars for _ in allowed.fields))
            rows = tuple(draw(st.lists(row, max_size=3)))
            outcome = Disclosure(allowed, allowed.fields, rows, limit_reached=draw(st.booleans()))
            return known, Fetched(Decided(who, asked, allowed, names(known)), outcome)
        case "denied":
            rule = draw(st.none() | st.just(GrantId("housing-009")))
            return known, under(known, denied(asked, who, draw(st.sampled_from(Reason)), rule))
        case "unreadable":
            return known, under(known, denied(None, who, Reason.MALFORMED))
    return known, under(known, failed(asked, who))
