"""``sharegate call``: ask as a department would. Signs, sends, checks, and stores what came."""

import argparse
import asyncio
import shlex
import sys
import time
import tomllib
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout
from msgspec import Struct

from sharegate.cli.options import Verbs
from sharegate.cli.verify import LOG_KEY_FILE, describe
from sharegate.errors import Misconfigured, ShareGateError
from sharegate.identify.outgoing import signed_headers
from sharegate.private_keys import load_ed25519
from sharegate.record.verified import verify_answer

_PATH: Final = "/v1/exchanges"
_QUERY: Final = "receipt=inline"
_OWN_PATH: Final = "/v1/requests"  # of one's own gateway, which asks the other one for the receipt
_SECONDS: Final = 30


class NoAnswer(ShareGateError):
    """The gateway could not be reached."""


class CallerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a department needs in order to ask.

    Attributes:
        gateway: Where the gateway is: http(s)://host:port.
        authority: The host[:port] it believes to be; by default that of `gateway`.
        key_id: The department's key, as in the registry.
        key: Its private half (PEM, PKCS#8), a file. Secret.
        token: The officer's token, a file. Secret.
        log_key: The log's public key, learnt from someone other than the gateway.
        store: Where answers and receipts are kept.
        through_own: Whether `gateway` is the department's own, which passes the question on.
    """

    gateway: str
    key_id: str
    key: Path
    token: Path
    log_key: str
    store: Path
    authority: str | None = None
    through_own: bool = False


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request ready to send; good for a minute, and once."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    exchange_id: str | None
    body: bytes
    receipt: bytes | None


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("call", help="ask as a department would, and keep the receipt")
    parser.add_argument("provider")
    parser.add_argument("resource")
    parser.add_argument("--as", dest="caller", type=Path, required=True, metavar="FILE",
                        help="who asks: the caller's settings (TOML)")  # fmt: skip
    parser.add_argument("--purpose", required=True)
    parser.add_argument("--legal-basis", required=True)
    parser.add_argument("--matter", required=True, help="the case number the question serves")
    parser.add_argument("--where", action="append", required=True, metavar="FIELD=VALUE",
                        help="ask by this; FIELD:=VALUE for a number or true/false")  # fmt: skip
    parser.add_argument("--fields", help="comma-separated; default: all that the grant lets out")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--grant", help="the grant to rely on, where several permit")
    parser.add_argument("--ruling", help="the ruling, or the referral it answers, to rely on")
    parser.add_argument("--consent", help="where the consent of the person concerned is")
    parser.add_argument("--mode", default="query")
    parser.add_argument("--curl", action="store_true",
                        help="print a signed curl command, good for a minute")  # fmt: skip
    parser.set_defaults(run=_run)


def load_caller(path: Path) -> CallerSettings:
    """Read a caller's settings; relative paths are relative to the file.

    Raises:
        Misconfigured: It cannot be read, or a key is unknown, missing or wrong.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        settings = msgspec.convert(raw, CallerSettings, dec_hook=lambda _, text: Path(text))
    except OSError as error:
        raise Misconfigured(str(path), error.strerror or "cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Misconfigured(str(path), str(error)) from error
    base = path.parent
    return msgspec.structs.replace(
        settings,
        key=base / settings.key,
        token=base / settings.token,
        store=base / settings.store,
    )


def prepare(caller: CallerSettings, question: Mapping[str, object]) -> SignedRequest:
    """Sign a question.

    Raises:
        Misconfigured: The key or the token cannot be read.
    """
    path, query = (_OWN_PATH, "") if caller.through_own else (_PATH, _QUERY)
    return signed(caller, "POST", path, query, msgspec.json.encode(question))


def signed(
    caller: CallerSettings, method: str, path: str, query: str, body: bytes
) -> SignedRequest:
    """Sign any request to the gateway.

    Raises:
        Misconfigured: The key or the token cannot be read.
    """
    try:
        token = caller.token.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise Misconfigured("token", str(error)) from error
    headers = signed_headers(
        load_ed25519(caller.key),
        caller.key_id,
        now=int(time.time()),
        method=method,
        authority=_authority(caller),
        path=path,
        query=query,
        authorization=f"Bearer {token}",
        body=body,
    )
    url = f"{caller.gateway}{path}?{query}" if query else f"{caller.gateway}{path}"
    return SignedRequest(url, headers, body, method)


async def send(request: SignedRequest) -> Reply:
    """Send a signed request, once; nothing is retried, since a second copy is a replay.

    Raises:
        NoAnswer: The gateway could not be reached.
    """
    try:
        async with (
            ClientSession(timeout=ClientTimeout(_SECONDS)) as session,
            session.request(
                request.method, request.url, data=request.body, headers=request.headers
            ) as response,
        ):
            receipt = response.headers.get("ShareGate-Receipt")
            return Reply(
                status=response.status,
                exchange_id=response.headers.get("ShareGate-Exchange"),
                body=await response.read(),
                receipt=None if receipt is None else b64decode(receipt),
            )
    except (ClientError, OSError, TimeoutError) as error:
        raise NoAnswer(f"the gateway gave no answer: {type(error).__name__}") from error


def keep(caller: CallerSettings, reply: Reply) -> tuple[Path, Path]:
    """Store an answer, its receipt and the log key they were checked with.

    Returns:
        Where the answer and the receipt are.
    """
    assert reply.receipt is not None
    caller.store.mkdir(mode=0o700, parents=True, exist_ok=True)
    answer = caller.store / f"{reply.exchange_id}.json"
    receipt = caller.store / f"{reply.exchange_id}.tlog-proof"
    answer.touch(mode=0o600)  # people's data
    answer.write_bytes(reply.body)
    receipt.write_bytes(reply.receipt)
    (caller.store / LOG_KEY_FILE).write_text(caller.log_key + "\n", encoding="utf-8")
    return answer, receipt


def _run(chosen: argparse.Namespace) -> int:
    caller = load_caller(chosen.caller)
    request = prepare(caller, _question(chosen))
    if chosen.curl:
        print(curl_command(request))
        return 0
    reply = asyncio.run(send(request))
    if reply.status != 200 or reply.receipt is None:  # noqa: PLR2004
        print(reply.body.decode(errors="replace"), file=sys.stderr)
        return 1
    answer, receipt = keep(caller, reply)
    verified = verify_answer(reply.body, reply.receipt, caller.log_key)
    print(reply.body.decode())
    print(f"{describe(verified)}\nkept: {answer} {receipt}", file=sys.stderr)
    return 0


def curl_command(request: SignedRequest) -> str:
    """Write the request as a command for a shell."""
    headers = " ".join(f"-H {shlex.quote(f'{k}: {v}')}" for k, v in request.headers.items())
    body = shlex.quote(request.body.decode())
    return f"curl -s {shlex.quote(request.url)} {headers} --data-raw {body}"


def _question(chosen: argparse.Namespace) -> dict[str, object]:
    question: dict[str, object] = {
        "provider": chosen.provider,
        "resource": chosen.resource,
        "mode": chosen.mode,
        "purpose": chosen.purpose,
        "legal_basis": chosen.legal_basis,
        "matter": chosen.matter,
        "where": dict(_condition(text) for text in chosen.where),
    }
    if chosen.fields is not None:
        question["fields"] = chosen.fields.split(",")
    if chosen.limit is not None:
        question["limit"] = chosen.limit
    if chosen.grant is not None:
        question["grant"] = chosen.grant
    for name in ("ruling", "consent"):
        if getattr(chosen, name) is not None:
            question[name] = getattr(chosen, name)
    return question


def _condition(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Misconfigured("--where", f"{text!r} is not FIELD=VALUE")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise Misconfigured("--where", f"{value!r} is not a number or true/false") from error


def _authority(caller: CallerSettings) -> str:
    return caller.authority or caller.gateway.partition("://")[2]
