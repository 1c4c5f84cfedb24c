"""Small policy folders to try rules in, and requests to ask of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from sharegate.authorize.grants import GRANTS_HEADER
from sharegate.authorize.ruleset import RuleSet, load_rule_set
from sharegate.model.party import Caller, Department, DepartmentId, KeyId, Known, Level, OfficerId
from sharegate.model.passage import Identified

DEPARTMENTS = {
    each.id: each
    for each in (
        Department(DepartmentId("alpha"), "甲", "Alpha", None, Level.PROVINCE, "33"),
        Department(DepartmentId("beta"), "乙", "Beta", None, Level.COUNTY, "330106"),
        Department(DepartmentId("gamma"), "丙", "Gamma", None),
    )
}
POSTS = """post,name_zh,name_en,includes
clerk,经办人,Clerk,
reviewer,审核人,Reviewer,clerk
chief,科长,Chief,reviewer
"""
AT = 1_780_000_000_000  # 2026-05-28
MODEL = (Path(__file__).parents[3] / "policies" / "model.conf").read_text(encoding="utf-8")
PURPOSES = """code,name_zh,name_en,legal_basis,norm
review,审核,Review,norm-one,《办法一》
review,审核,Review,norm-two,《办法二》
survey,调查,Survey,norm-two,《办法二》
"""
FIELD = """
[[resource.field]]
name = "{name}"
name_zh = "字段"
column = "{name}"
type = "{type}"
sensitivity = "personal"
mask = "{mask}"
key = {key}
"""
RESOURCE = """
[[resource]]
id = "{id}"
version = 1
name_zh = "资源"
name_en = "Resource"
sharing_class = "{sharing_class}"
legal_ground = "《条例》"
source = "alpha"
relation = "estate.property"
modes = ["query"]
row_limit = 50
"""
FIELDS = (
    ("number", "text", "none", True),
    ("year", "integer", "none", True),
    ("alive", "boolean", "none", True),
    ("born", "date", "none", True),
    ("seen", "timestamp", "none", True),
    ("gross", "decimal", "none", True),
    ("name", "text", "name", False),
    ("address", "text", "none", False),
)


def field(name, kind="text", mask="none", key=False):
    return FIELD.format(name=name, type=kind, mask=mask, key=str(key).lower())


def resource(name, sharing_class="conditional", fields=FIELDS):
    head = RESOURCE.format(id=name, sharing_class=sharing_class)
    if sharing_class == "not-shared":
        head += 'not_shared_reason = "档案"\n'
    return head + "".join(field(*each) for each in fields)


RESOURCES = resource("things") + resource("others") + resource("closed", "not-shared")


def grant(
    name="g1",
    effect="allow",
    consumer="beta",
    thing="things",
    mode="query",
    purpose="review",
    fields="number name year",
    rows="10",
    since="2026-01-01",
    until="2027-01-01",
    posts="*",
    only="",
    masks="",
    quota="",
    assurance="channel",
    refer="",
    consent="",
    assessment="PIA-1",
):
    if effect == "deny":
        fields = rows = assurance = assessment = ""
    return (
        f"{name},{effect},{consumer},{posts},{thing},{mode},{purpose},{fields},{only},{masks},"
        f"{rows},{quota},{assurance},{refer},{consent},{assessment},{since},{until}"
    )


def table(lines: Sequence[str], header: Sequence[str] = GRANTS_HEADER) -> str:
    return "".join(f"{line}\n" for line in (",".join(header), *lines))


def write(folder: Path, files: Mapping[str, str | bytes] | None = None, *lines: str) -> Path:
    """Write a sound folder with these grants of alpha, then overwrite `files`."""
    content: dict[str, str | bytes] = {
        "model.conf": MODEL,
        "purposes.csv": PURPOSES,
        "posts.csv": POSTS,
        "alpha/resources.toml": RESOURCES,
        "alpha/grants.csv": table(lines or (grant(),)),
        **(files or {}),
    }
    for name, text in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def load(folder: Path, *lines: str) -> RuleSet:
    return load_rule_set(write(folder, None, *lines), DEPARTMENTS)


QUESTION = {
    "provider": "alpha",
    "resource": "things",
    "mode": "query",
    "purpose": "review",
    "legal_basis": "norm-one",
    "matter": "DB-2026-000123",
    "where": {"number": "110101199003070019"},
}


def body(**changes: object) -> bytes:
    """The usual question with some members changed; None takes a member out."""
    asked = {k: v for k, v in {**QUESTION, **changes}.items() if v is not None}
    return json.dumps(asked).encode()


def identified(
    content: bytes,
    consumer: str = "beta",
    at: int = AT,
    posts: tuple[str, ...] = (),
    known: Known = Known.SIGNED,
) -> Identified:
    caller = Caller(
        DepartmentId(consumer), OfficerId("officer-1"), KeyId("key-1"), "https://i", posts, known
    )
    return Identified(UUID(int=7), at, caller, at, b"r" * 32, content, b"d" * 32)
