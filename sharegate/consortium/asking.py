"""Ask another department's gateway, with an entry on both sides.

This log says first that it is asked. The question carries that entry's leaf hash, and what the
other log writes of it names that entry. What comes back is held against its receipt; then this log
says which entry of the other's it is, and only then is it shown. So an exchange of which only one
side has an entry is found by whoever compares the two logs (`consortium.reconcile`).
"""

import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol
from uuid import UUID

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.tree import leaf_hash
from sharegate.authorize.read import read_request
from sharegate.consortium.asking_settings import AskingSettings, PeerSettings
from sharegate.consortium.remote import whole
from sharegate.identify.outgoing import signed_headers
from sharegate.model.act import Act, ActKind, Fact, RecordAct
from sharegate.model.asking import NotPassedOn, PassedOn
from sharegate.model.decision import Reason
from sharegate.model.ids import new_id
from sharegate.model.party import DepartmentId
from sharegate.model.passage import Arrived, Covered, Identified
from sharegate.model.request import AccessRequest, Unreadable
from sharegate.record.entry import SALT_BYTES, Label, b64, commit, counterpart
from sharegate.record.verified import NotVerified, Verified, verify_answer

PATH: Final = "/v1/exchanges"
_QUERY: Final = "receipt=inline"
_RECEIPT: Final = "ShareGate-Receipt"
_SHOWN: Final = ("Content-Type", "ShareGate-Exchange", "ShareGate-Entry", _RECEIPT, "Retry-After")
_OK: Final = 200
_REFUSED: Final = 400  # and above
_PROBLEM: Final = "application/problem+json"
_MOST_BYTES: Final = 64 * 2**20
_MOST_REFUSAL: Final = 4096
_encode: Final = msgspec.json.Encoder().encode


class Recording(RecordAct, Protocol):
    """What this needs of `record`."""

    def require_usable(self) -> None:
        """Raise AuditLogUnavailable at once if it is known that nothing can be recorded."""

    def require_witnessed(self, *, detail: bool) -> None:
        """Raise AuditLogUnavailable while the log's witnesses have seen too little."""


@dataclass(frozen=True, slots=True)
class _Came:
    """What the other gateway sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def refuses(self) -> bool:
        """Whether it is a refusal as gateways give them, short enough to be kept whole."""
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        return self.status >= _REFUSED and kind == _PROBLEM and len(self.body) <= _MOST_REFUSAL


class Asking:
    """Passes a department's questions on."""

    def __init__(
        self,
        settings: AskingSettings,
        key: Ed25519PrivateKey,
        recorder: Recording,
        identify: Callable[[Arrived, str], Identified],
        random: Callable[[int], bytes],
        session: aiohttp.ClientSession,
    ) -> None:
        """Put it together.

        Args:
            settings: Whom to ask, and as whom.
            key: Signs what leaves.
            recorder: Writes entries into this department's log.
            identify: Proves who asks, for tokens made for the gateway of the authority given.
            random: Gives so many random bytes.
            session: As `remote.asking` gives it.
        """
        self._settings = settings
        self._department = DepartmentId(settings.department)
        self._key = key
        self._recorder = recorder
        self._identify = identify
        self._random = random
        self._session = session

    async def ask(self, arrived: Arrived) -> PassedOn | NotPassedOn:
        """Pass one access request on, and show what came of it.

        Raises:
            Unauthenticated: Nobody proved who asks.
            AuditLogUnavailable: It could not be written down: before, and nothing was asked; or
                afterwards, and what came is not shown.
        """
        self._recorder.require_usable()
        read = read_request(arrived.body)
        if isinstance(read, Unreadable):
            return NotPassedOn(Reason.MALFORMED, f"{read.detail}.", read.pointer)
        if read.consumer_entry is not None:
            detail = "This is written by this gateway."
            return NotPassedOn(Reason.MALFORMED, detail, "/consumer_entry")
        peer = self._settings.peers.get(read.provider)
        if peer is None:
            detail = "This gateway passes nothing on to such a provider."
            return NotPassedOn(Reason.UNKNOWN_PROVIDER, detail, "/provider")
        identified = self._identify(arrived, peer.authority)
        if identified.caller.consumer != self._department:
            return NotPassedOn(Reason.DENIED, f"This gateway asks for {self._department} alone.")
        self._recorder.require_witnessed(detail=True)
        asked = await self._write_request(identified, read, peer)
        if asked is None:
            return NotPassedOn(Reason.REPLAYED, "This signed request was sent before.")
        hashed = leaf_hash(asked.leaf)
        came = await self._send(peer, arrived.headers["authorization"], identified.body, hashed)
        return await self._received(peer, identified, asked.index, hashed, came)

    async def _write_request(
        self, identified: Identified, read: AccessRequest, peer: PeerSettings
    ) -> Covered | None:
        """Write down that this is about to be asked; None where the same was asked before."""
        salt = self._random(SALT_BYTES)
        facts: Mapping[str, Fact] = {
            "provider": read.provider,
            "log": _origin(peer),
            "request": b64(commit(salt, Label.REQUEST, identified.body_digest)),
        }
        detail = {
            "officer": identified.caller.officer,
            "key": identified.caller.key_id,
            "body": b64(identified.body),
            "salt": b64(salt),
        }
        return await self._write(
            ActKind.REQUEST, identified.exchange_id, facts, detail, identified.replay_key
        )

    async def _write(
        self,
        kind: ActKind,
        entry_id: UUID,
        facts: Mapping[str, Fact],
        detail: Mapping[str, object],
        once: bytes,
    ) -> Covered | None:
        at = time.time_ns() // 1_000_000
        act = Act(
            kind=kind,
            at=at,
            by=self._department,
            facts=facts,
            detail=detail,
            provider=self._department,
            once=sha256(f"sharegate-{kind}\0".encode() + once).digest(),
        )
        return await self._recorder.record_act(act, entry_id)

    async def _send(
        self, peer: PeerSettings, authorization: str, body: bytes, hashed: bytes
    ) -> _Came | None:
        """Ask, once: a second copy would be another question. None where nothing whole came."""
        question = msgspec.json.decode(body) | {"consumer_entry": b64(hashed)}
        signed = _encode(question)
        headers = signed_headers(
            self._key,
            self._settings.key_id,
            now=int(time.time()),
            method="POST",
            authority=peer.authority,
            path=PATH,
            query=_QUERY,
            authorization=authorization,
            body=signed,
        )
        url = f"{peer.url}{PATH}?{_QUERY}"
        try:
            async with self._session.post(
                url, data=signed, headers=headers, allow_redirects=False
            ) as answer:
                shown = {name: answer.headers[name] for name in _SHOWN if name in answer.headers}
                return _Came(answer.status, shown, await whole(answer, _MOST_BYTES))
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    async def _received(
        self,
        peer: PeerSettings,
        identified: Identified,
        index: int,
        hashed: bytes,
        came: _Came | None,
    ) -> PassedOn | NotPassedOn:
        """Say what came, and only then show it."""
        facts: dict[str, Fact] = {"request": index, "log": _origin(peer)}
        detail: dict[str, object] = {}
        why: str | None = None
        if came is None:
            why = "The provider's gateway gave no answer; it may have recorded the question."
            facts["effect"] = "unanswered"
        elif came.refuses:
            facts |= {"effect": "refused", "status": came.status}
            detail["said"] = b64(came.body)
        else:
            try:
                verified = _proven(came, peer, hashed)
            except NotVerified as wrong:
                why = f"The answer is not proven: {wrong}."
                facts["effect"] = "unproven"
                detail |= {"why": str(wrong), "receipt": came.headers.get(_RECEIPT, "")}
            else:
                theirs = b64(counterpart(leaf_hash(verified.leaf)))
                facts |= {"effect": "answered", "entry": verified.index, "counterpart": theirs}
        entry_id = new_id(time.time_ns() // 1_000_000)
        told = await self._write(
            ActKind.RECEIVED, entry_id, facts, detail, identified.exchange_id.bytes
        )
        assert told is not None, "an exchange id is new"
        if came is None or why is not None:
            return NotPassedOn(Reason.SOURCE_UNAVAILABLE, why or "", entry=told.index)
        return PassedOn(came.status, came.headers, came.body, told.index)


def _origin(peer: PeerSettings) -> str:
    return peer.log_key.partition("+")[0]


def _proven(came: _Came, peer: PeerSettings, hashed: bytes) -> Verified:
    """Check that the other log recorded exactly this answer, to exactly this question.

    Raises:
        NotVerified: It did not, or nothing proves that it did.
    """
    if came.status != _OK:
        raise NotVerified(f"status {came.status}, without a refusal as a gateway writes it")
    try:
        receipt = b64decode(came.headers.get(_RECEIPT, ""), validate=True)
    except ValueError as error:
        raise NotVerified("the receipt is not base64") from error
    verified = verify_answer(came.body, receipt, peer.log_key)
    if verified.entry.get("consumer_entry") != b64(counterpart(hashed)):
        raise NotVerified("the entry does not name this request")
    return verified
