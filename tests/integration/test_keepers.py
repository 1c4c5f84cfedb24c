"""Case systems and consent registers that answer rightly, wrongly, late or to another question."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
from uuid import UUID

import pytest
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.authorize.keepers import HttpKeepers, keepers
from sharegate.authorize.matters import Asks, Inquiry, Keeper, Trouble, Unanswered
from sharegate.errors import Misconfigured
from sharegate.model.party import Caller, DepartmentId, KeyId, OfficerId
from sharegate.model.request import AccessRequest
from sharegate.settings import KeeperSettings

OURS = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
THEIRS = Ed25519PrivateKey.from_private_bytes(b"t" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
CIVIL, HOUSING = DepartmentId("civil-affairs"), DepartmentId("housing")
ASKED = AccessRequest(
    "housing", "properties", "query", "review", "norm", "DB-2026-1", (), {"name": "张三"},
    None, None, None, "c-1",
)  # fmt: skip


def inquiry(asks=Asks.MATTER, request=ASKED):
    caller = Caller(CIVIL, OfficerId("zhang-wei"), KeyId("k"), "issuer")
    return Inquiry(asks, UUID(int=7), 1_795_190_400_000, caller, request, {"name": "张三"})


def signed(body, key=THEIRS, label=b"sharegate-answer/v1\n"):
    return base64.b64encode(key.sign(label + body)).decode()


def answer_to(question, said="confirmed", /, **more):
    digest = hashlib.sha256(question).hexdigest()
    return json.dumps({"answer": said, "question": digest} | more).encode()


class CaseSystem:
    """Answers every question as the test says; written from the document, not from the code."""

    def __init__(self):
        self.questions = []
        self.headers = []
        self.answer = self.right
        self.url = ""

    @contextlib.asynccontextmanager
    async def listening(self):
        application = web.Application()
        application.router.add_route("*", "/confirm", self._asked)
        application.router.add_route("*", "/elsewhere", self._asked)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/confirm"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _asked(self, request):
        body = await request.read()
        self.questions.append((request.method, request.path, body))
        self.headers.append(request.headers)
        return await self.answer(body)

    async def right(self, question):
        body = answer_to(question)
        return web.Response(body=body, headers={"Sharegate-Signature": signed(body)})


@pytest.fixture
async def case_system():
    async with CaseSystem().listening() as found:
        yield found


@contextlib.asynccontextmanager
async def speaking(say):
    """A server that speaks no HTTP of its own; what it began to say is over when this is."""
    over = []

    async def answer(reader, writer):
        over.append(asyncio.Event())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await say(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        over.pop().set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await asyncio.gather(*(event.wait() for event in over))


@contextlib.asynccontextmanager
async def asking(url, public=None, seconds=30.0, register=None):
    keeper = Keeper(url, public or THEIRS.public_key().public_bytes_raw())
    registers = {} if register is None else {HOUSING: Keeper(register, keeper.public)}
    confirm = HttpKeepers({CIVIL: keeper}, registers, OURS, random=os.urandom, seconds=seconds)
    try:
        yield confirm
    finally:
        await confirm.close()


async def trouble(confirm, asks=Asks.MATTER):
    with pytest.raises(Unanswered) as unanswered:
        await confirm(inquiry(asks))
    return unanswered.value.trouble


async def test_what_is_confirmed_is_confirmed_and_what_is_refused_is_not(case_system):
    async with asking(case_system.url) as confirm:
        assert await confirm(inquiry()) is True

        async def refuse(question):
            body = answer_to(question, "refused")
            return web.Response(body=body, headers={"Sharegate-Signature": signed(body)})

        case_system.answer = refuse
        assert await confirm(inquiry()) is False


async def test_the_question_is_as_documented_signed_and_never_the_same_twice(case_system):
    async with asking(case_system.url) as confirm:
        await confirm(inquiry())
        await confirm(inquiry())
    (method, path, body), (_, _, again) = case_system.questions
    assert (method, path) == ("POST", "/confirm")
    asked = json.loads(body)
    nonce = asked.pop("nonce")
    assert len(base64.urlsafe_b64decode(nonce + "=")) == 32
    assert nonce != json.loads(again)["nonce"]
    assert asked == {
        "asks": "matter", "at": 1_795_190_400_000, "consent": "c-1", "consumer": "civil-affairs",
        "exchange": str(UUID(int=7)), "legal_basis": "norm", "matter": "DB-2026-1",
        "mode": "query", "officer": "zhang-wei", "persons": {"name": "张三"},
        "provider": "housing", "purpose": "review", "resource": "properties",
    }  # fmt: skip
    canonical = json.dumps(
        json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert body == canonical.encode()
    signature = base64.b64decode(case_system.headers[0]["Sharegate-Signature"])
    OURS.public_key().verify(signature, b"sharegate-question/v1\n" + body)
    with pytest.raises(InvalidSignature):
        OURS.public_key().verify(signature, b"sharegate-answer/v1\n" + body)
    assert case_system.headers[0]["Content-Type"] == "application/json"


async def test_a_consent_is_asked_of_the_provider_and_a_matter_of_the_consumer(case_system):
    async with CaseSystem().listening() as register:
        async with asking(case_system.url, register=register.url) as confirm:
            assert await confirm(inquiry(Asks.CONSENT))
            assert await confirm(inquiry(Asks.MATTER))
        asked = [json.loads(each.questions[0][2])["asks"] for each in (register, case_system)]
        assert asked == ["consent", "matter"]
    async with asking(case_system.url) as confirm:
        assert await trouble(confirm, Asks.CONSENT) is Trouble.NOT_CONFIGURED
    assert len(case_system.questions) == 1


WRONG = {
    "unsigned": (Trouble.UNSIGNED, lambda q: (answer_to(q), None)),
    "empty signature": (Trouble.UNSIGNED, lambda q: (answer_to(q), "")),
    "a stranger's": (Trouble.UNSIGNED, lambda q: (answer_to(q), signed(answer_to(q), STRANGER))),
    "our own": (Trouble.UNSIGNED, lambda q: (answer_to(q), signed(answer_to(q), OURS))),
    "of another label": (
        Trouble.UNSIGNED,
        lambda q: (answer_to(q), signed(answer_to(q), label=b"sharegate-question/v1\n")),
    ),
    "without a label": (
        Trouble.UNSIGNED,
        lambda q: (answer_to(q), signed(answer_to(q), label=b"")),
    ),
    "of another answer": (
        Trouble.UNSIGNED,
        lambda q: (answer_to(q), signed(answer_to(q, "refused"))),
    ),
    "changed by a space": (
        Trouble.UNSIGNED,
        lambda q: (answer_to(q) + b" ", signed(answer_to(q))),
    ),
    "in base64url": (
        Trouble.UNSIGNED,
        lambda q: (answer_to(q), signed(answer_to(q)).replace("+", "-").replace("/", "_") + "="),
    ),
    "of no question": (Trouble.FOREIGN, lambda q: own(b'{"answer":"confirmed","question":""}')),
    "of another question": (Trouble.FOREIGN, lambda q: own(answer_to(q + b" "))),
    "in capitals": (
        Trouble.FOREIGN,
        lambda q: own(answer_to(q, question=hashlib.sha256(q).hexdigest().upper())),
    ),
    "maybe": (Trouble.UNREADABLE, lambda q: own(answer_to(q, "maybe"))),
    "true": (Trouble.UNREADABLE, lambda q: own(answer_to(q, answer=True))),
    "Confirmed": (Trouble.UNREADABLE, lambda q: own(answer_to(q, "Confirmed"))),
    "with more": (Trouble.UNREADABLE, lambda q: own(answer_to(q, more=1))),
    "a list": (Trouble.UNREADABLE, lambda q: own(b"[" + answer_to(q) + b"]")),
    "two": (Trouble.UNREADABLE, lambda q: own(answer_to(q) + answer_to(q))),
    "nothing": (Trouble.UNREADABLE, lambda q: own(b"")),
    "no text": (Trouble.UNREADABLE, lambda q: own(b"\xff\xfe")),
    "too long": (Trouble.UNREADABLE, lambda q: own(answer_to(q) + b" " * 2000)),
}


def own(body):
    return body, signed(body)


@pytest.mark.parametrize("what", WRONG)
async def test_an_answer_that_is_not_proven_is_none(case_system, what):
    expected, say = WRONG[what]

    async def answer(question):
        body, signature = say(question)
        headers = {} if signature is None else {"Sharegate-Signature": signature}
        return web.Response(body=body, headers=headers)

    case_system.answer = answer
    async with asking(case_system.url) as confirm:
        assert await trouble(confirm) is expected
        case_system.answer = case_system.right
        assert await confirm(inquiry())


async def test_an_answer_given_before_is_none_now(case_system):
    kept = []

    async def keep_the_first(question):
        kept.append(await case_system.right(question))
        first = kept[0]
        return web.Response(body=first.body, headers=first.headers)

    case_system.answer = keep_the_first
    async with asking(case_system.url) as confirm:
        assert await confirm(inquiry())
        assert await trouble(confirm) is Trouble.FOREIGN


@pytest.mark.parametrize("status", [201, 204, 302, 307, 400, 500])
async def test_only_200_is_an_answer_and_no_redirection_is_followed(case_system, status):
    async def answer(question):
        found = await case_system.right(question)
        headers = {**found.headers, "Location": "/elsewhere"}
        return web.Response(status=status, body=found.body, headers=headers)

    case_system.answer = answer
    async with asking(case_system.url) as confirm:
        assert await trouble(confirm) is Trouble.DOWN
    assert [path for _, path, _ in case_system.questions] == ["/confirm"]


async def test_a_late_answer_is_none(case_system):
    never = asyncio.Event()

    async def late(question):
        await never.wait()

    case_system.answer = late
    async with asking(case_system.url, seconds=0.05) as confirm:
        assert await trouble(confirm) is Trouble.SLOW
    never.set()


async def test_an_answer_that_never_ends_is_late():
    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with speaking(drip) as url, asking(url, seconds=0.2) as confirm:
        assert await trouble(confirm) is Trouble.SLOW


@pytest.mark.parametrize(
    "said", [b"", b"what?\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]
)
async def test_a_connection_that_breaks_is_no_answer(said):
    async def answer(writer):
        writer.write(said)

    async with speaking(answer) as url, asking(url) as confirm:
        assert await trouble(confirm) is Trouble.DOWN


async def test_a_case_system_that_is_not_there_is_no_answer():
    async with asking("http://127.0.0.1:1/") as confirm:
        assert await trouble(confirm) is Trouble.DOWN


async def test_no_proxy_of_the_environment_is_used(case_system, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with asking(case_system.url) as confirm:
        assert await confirm(inquiry())


def test_only_departments_have_case_systems():
    public = base64.b64encode(THEIRS.public_key().public_bytes_raw()).decode()
    named = {"housing": KeeperSettings(url="https://x.example", public=public)}
    found = keepers(named, {HOUSING}, "case_systems")
    assert found == {HOUSING: Keeper("https://x.example", THEIRS.public_key().public_bytes_raw())}
    with pytest.raises(Misconfigured, match=r"case_systems\.housing"):
        keepers(named, {CIVIL}, "case_systems")
