"""``sharegate catalogue``: what the providers list, and what one may ask for."""

import argparse
import asyncio
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from sharegate.cli.call import NoAnswer, load_caller, send, signed
from sharegate.cli.options import Verbs
from sharegate.cli.plain import plain

_OK: Final = 200
_WIDE: Final = frozenset({"W", "F"})  # UAX #11: two columns of a terminal
_GAP: Final = "  "


class _Field(Struct, frozen=True):
    name: str
    name_zh: str
    type: str
    sensitivity: str
    mask: str
    key: bool


class _Purpose(Struct, frozen=True):
    code: str
    name_zh: str
    name_en: str
    legal_bases: dict[str, str]


class _Grant(Struct, frozen=True):
    id: str
    fields: list[str]
    row_limit: int
    assurance: str
    masks: dict[str, str] = {}
    quota: list[str] = []
    refer: str | None = None
    consent: bool = False
    matter: bool = False


class _Resource(Struct, frozen=True):
    provider: str
    id: str
    version: int
    name_zh: str
    name_en: str
    sharing_class: str
    legal_ground: str
    modes: list[str]
    onward_sharing: bool
    fields: list[_Field]
    joint_owners: list[str] = []
    purposes: list[_Purpose] = []
    grants: list[_Grant] = []
    update_frequency: str | None = None
    not_shared_reason: str | None = None


class Shown(Struct, frozen=True):
    """The catalogue, as the gateway sends it."""

    resources: list[_Resource]


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("catalogue", help="see what may be asked for, as a department would")
    parser.add_argument(
        "--as",
        dest="caller",
        type=Path,
        required=True,
        metavar="FILE",
        help="the caller's settings",
    )
    parser.add_argument("--json", action="store_true", help="print it as the gateway sent it")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    caller = load_caller(chosen.caller)
    reply = asyncio.run(send(signed(caller, "GET", "/v1/catalogue", "", b"")))
    if reply.status != _OK:
        print(plain(reply.body.decode(errors="replace")), file=sys.stderr)
        return 1
    if chosen.json:
        print(reply.body.decode())
        return 0
    try:
        shown = msgspec.json.decode(reply.body, type=Shown)
    except msgspec.MsgspecError as error:
        raise NoAnswer("the gateway's answer is no catalogue") from error
    print("\n\n".join("\n".join(map(_printable, lines(each))) for each in shown.resources))
    return 0


def lines(resource: _Resource) -> Iterator[str]:
    """Write a resource for a terminal: its terms, its fields in columns, what is for the asker."""
    name = f"{resource.provider}/{resource.id}"
    yield f"{name}  {resource.name_zh}  {resource.name_en}  (version {resource.version})"
    yield f"  {resource.sharing_class}: {resource.legal_ground}"
    if resource.joint_owners:
        yield f"  owned together with: {' '.join(resource.joint_owners)}"
    if resource.update_frequency is not None:
        yield f"  brought up to date: {resource.update_frequency}"
    yield f"  may be shared on: {'yes' if resource.onward_sharing else 'no'}"
    for row in columns([_field(field) for field in resource.fields]):
        yield f"    {row}"
    if resource.not_shared_reason is not None:
        yield f"  not shared: {resource.not_shared_reason}"
        return
    yield f"  modes: {' '.join(resource.modes)}"
    for purpose in resource.purposes:
        yield f"  for {purpose.code}  {purpose.name_zh}  {purpose.name_en}"
        for code, norm in purpose.legal_bases.items():
            yield f"    by {code}  {norm}"
    if not resource.grants:
        yield "  nothing of it is granted to you"
    for grant in resource.grants:
        yield f"  {grant.id} lets out {' '.join(grant.fields)}; {'; '.join(_terms(grant))}"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Align rows of equally many cells; a Chinese character is two columns wide."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        )
        yield _GAP.join(cells).rstrip()


def _field(field: _Field) -> list[str]:
    mask = "" if field.mask == "none" else f"mask {field.mask}"
    return [
        field.name,
        field.name_zh,
        field.type,
        field.sensitivity,
        mask,
        "key" if field.key else "",
    ]


def _terms(grant: _Grant) -> Iterator[str]:
    yield f"at most {grant.row_limit} rows"
    yield from (f"{name} masked {rule}" for name, rule in grant.masks.items())
    if grant.quota:
        yield f"quota {' '.join(grant.quota)}"
    if grant.assurance != "channel":
        yield grant.assurance
    if grant.refer is not None:
        yield f"an officer decides {grant.refer}"
    if grant.consent:
        yield "with consent"
    if grant.matter:
        yield "with the matter confirmed"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in _WIDE else 1 for char in text)


def _printable(line: str) -> str:
    """What a terminal would obey or hide is shown as its code point."""
    return line if line.isprintable() else plain(line)
