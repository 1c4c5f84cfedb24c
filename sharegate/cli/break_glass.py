"""``sharegate break-glass``: two officers open a way past the rules; an auditor reviews it after.

The draft is a file that goes from one signer to the other. `open`, `list` and `review` run beside a
gateway, with its settings.
"""

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from sharegate.app import audit_log_logins, load_signing_key, recording
from sharegate.audit.text import write_base64
from sharegate.authorize.hearing import Hearing
from sharegate.authorize.line import BROKEN
from sharegate.authorize.rulings import sealing_key
from sharegate.authorize.rulings_postgres import PostgresRulings
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.plain import as_json, given_text, moment, plain
from sharegate.errors import Misconfigured, ShareGateError
from sharegate.in_force import load_members
from sharegate.model.ids import new_id
from sharegate.model.ruling import (
    DAY_MS,
    Finding,
    Opening,
    Review,
    SignedOpening,
    SignedReview,
    read_opening,
    signed_bytes,
    written,
)
from sharegate.private_keys import load_ed25519, seed_of
from sharegate.settings import Settings, load_settings

_HOUR_MS: Final = DAY_MS // 24
_UNSIGNED: Final = ""


class NotOpened(ShareGateError):
    """The opening or its review cannot be done as asked."""


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("break-glass", help="open a way past the rules; two officers sign")
    acts = parser.add_subparsers(required=True, metavar="ACT")
    _add_draft(acts)
    sign = acts.add_parser("sign", help="add one officer's signature to the draft")
    sign.add_argument("file", type=Path, metavar="DRAFT")
    _signer(sign, "--by")
    sign.set_defaults(run=_sign)
    opening = acts.add_parser("open", help="record the signed draft, and put it into force")
    opening.add_argument("file", type=Path, metavar="DRAFT")
    opening.set_defaults(run=_open)
    listing = acts.add_parser("list", help="the openings there were, and which await review")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    review = acts.add_parser("review", help="say as an auditor whether it was justified")
    review.add_argument("opening", type=UUID)
    _signer(review, "--as")
    review.add_argument("--finding", choices=[each.value for each in Finding], required=True)
    review.add_argument("--remarks", required=True, type=given_text)
    review.set_defaults(run=_review)
    for act in (opening, listing, review):
        config_argument(act)


def _add_draft(acts: Verbs) -> None:
    draft = acts.add_parser("draft", help="write what two officers are to sign")
    draft.add_argument("file", type=Path, metavar="DRAFT")
    draft.add_argument("--by", action="append", required=True, metavar="PERSON",
                       help="who signs; twice")  # fmt: skip
    for name in ("provider", "consumer", "officer", "resource", "purpose"):
        draft.add_argument(f"--{name}", required=True, type=given_text)
    draft.add_argument("--fields", required=True, help="comma-separated: what may leave")
    draft.add_argument("--row-limit", type=int, required=True)
    draft.add_argument("--reason", required=True, type=given_text)
    draft.add_argument("--hours", type=int, default=24, help="how long it is open; at most 24")
    draft.set_defaults(run=_draft)


def _signer(act: argparse.ArgumentParser, name: str) -> None:
    act.add_argument(name, dest="person", required=True, metavar="PERSON", help="who signs")
    act.add_argument("--key", type=Path, required=True, metavar="FILE",
                     help="that person's private key (Ed25519, PEM)")  # fmt: skip


@asynccontextmanager
async def hearing(settings: Settings) -> AsyncIterator[tuple[Hearing, PostgresRulings]]:
    """Hear officers from a command, beside whatever gateways run or alone.

    Raises:
        Misconfigured: A setting, the registry or a key cannot be used.
        AuditLogUnavailable: The audit log is not usable now.
    """
    members = load_members(settings)
    seed = seed_of(load_signing_key(settings.audit_log).private_key)
    async with (
        recording(settings, lambda _: None) as recorder,
        audit_log_logins(settings.audit_log) as (dsn, _),
    ):
        store = PostgresRulings(dsn, sealing_key(seed), lambda _: None, random=os.urandom)
        try:
            yield Hearing(store, lambda: members, recorder), store
        finally:
            await store.stop()


def read_draft(file: Path) -> SignedOpening:
    """Read a draft, signed or not.

    Raises:
        Misconfigured: It cannot be read.
    """
    try:
        return read_opening(file.read_bytes())
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be read") from error
    except ValueError as error:
        raise Misconfigured(str(file), str(error)) from error


def _draft(chosen: argparse.Namespace) -> int:
    at = _now()
    try:
        statement = msgspec.convert(
            {
                "id": str(new_id(at)),
                "by": sorted(chosen.by),
                "provider": chosen.provider,
                "consumer": chosen.consumer,
                "officer": chosen.officer,
                "resource": chosen.resource,
                "purpose": chosen.purpose,
                "fields": sorted(chosen.fields.split(",")),
                "row_limit": chosen.row_limit,
                "reason": chosen.reason,
                "at": at,
                "expires": at + chosen.hours * _HOUR_MS,
            },
            Opening,
        )
    except msgspec.ValidationError as error:
        raise NotOpened(str(error)) from error
    _write(chosen.file, SignedOpening(statement, (_UNSIGNED, _UNSIGNED)))
    print(f"drafted {statement.id}; {' and '.join(statement.by)} are to sign {chosen.file}")
    return 0


def _sign(chosen: argparse.Namespace) -> int:
    draft = read_draft(chosen.file)
    if chosen.person not in draft.statement.by:
        raise NotOpened("the draft names two others")
    signature = write_base64(load_ed25519(chosen.key).sign(signed_bytes(draft.statement)))
    first, second = draft.signatures
    if chosen.person == draft.statement.by[0]:
        first = signature
    else:
        second = signature
    _write(chosen.file, SignedOpening(draft.statement, (first, second)))
    print(f"signed by {chosen.person}")
    return 0


def _open(chosen: argparse.Namespace) -> int:
    draft = read_draft(chosen.file)

    async def act() -> None:
        async with hearing(load_settings(chosen.config)) as (heard, _):
            done = await heard.open(draft, _now())
            where = "was recorded before" if done.entry is None else f"is entry {done.entry}"
            until = moment(draft.statement.expires)
            print(f"{done.id} {where}; cite it as `ruling` until {until}")

    asyncio.run(act())
    return 0


def _list(chosen: argparse.Namespace) -> int:
    async def act() -> None:
        async with hearing(load_settings(chosen.config)) as (_, store):
            try:
                found = await store.openings()
            except BROKEN as error:
                raise NotOpened("the openings cannot be read now") from error
        if chosen.json:
            print(as_json(msgspec.to_builtins(found)))
            return
        now = _now()
        for each in found:
            opening = each.statement
            state = "reviewed" if each.reviewed else f"review due {moment(each.review_due)}"
            overdue = " OVERDUE" if not each.reviewed and now >= each.review_due else ""
            what = f"{opening.consumer} {opening.officer} {opening.provider}/{opening.resource}"
            print(f"{opening.id}  until {moment(opening.expires)}  {plain(what)}  {state}{overdue}")

    asyncio.run(act())
    return 0


def _review(chosen: argparse.Namespace) -> int:
    at = _now()
    statement = Review(
        id=new_id(at),
        opening=chosen.opening,
        by=chosen.person,
        finding=Finding(chosen.finding),
        remarks=chosen.remarks,
        at=at,
    )
    signature = write_base64(load_ed25519(chosen.key).sign(signed_bytes(statement)))

    async def act() -> None:
        async with hearing(load_settings(chosen.config)) as (heard, _):
            done = await heard.review(SignedReview(statement, (signature,)), at)
            print(f"reviewed; entry {done.entry}")

    asyncio.run(act())
    return 0


def _write(file: Path, draft: SignedOpening) -> None:
    try:
        file.write_bytes(written(draft) + b"\n")
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be written") from error


def _now() -> int:
    return time.time_ns() // 1_000_000
