"""A department asks through its own gateway: an entry on both sides, or one that is missed."""

import asyncio
import contextlib
import json
import re
import secrets
import shutil
from base64 import b64encode
from dataclasses import dataclass

import aiohttp
import msgspec
import pytest
from aiohttp import web

from sharegate.audit.chain import parse_leaf
from sharegate.audit.note import SignerKey
from sharegate.audit.tree import leaf_hash
from sharegate.authorize.signed import ROOT_FILES
from sharegate.cli.call import CallerSettings, load_caller, prepare, send, signed
from sharegate.cli.demo.stage import sign_everything
from sharegate.cli.doctor.command import examine
from sharegate.cli.doctor.finding import Verdict
from sharegate.cli.keys import new_signing_key
from sharegate.cli.main import main
from sharegate.consortium import remote
from sharegate.consortium.asking import Asking
from sharegate.consortium.asking_settings import AskingSettings, PeerSettings
from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.model.asking import NotPassedOn, PassedOn
from sharegate.model.ids import new_id
from sharegate.model.passage import Covered
from sharegate.private_keys import load_ed25519
from sharegate.record.entry import b64, counterpart, read_core
from sharegate.record.migrate import provision
from sharegate.record.verified import verify_answer
from tests.integration.audit_database import ask, until
from tests.postgres import on_a_thread
from tests.site import POLICIES, GatewayProcess, Site, free_port

OWN = "civil-affairs.example/log"


@dataclass
class Pair:
    """Housing's gateway, and civil affairs' own, which has another log and provides nothing."""

    site: Site
    theirs: GatewayProcess
    own: GatewayProcess
    own_key: str
    own_dsn: str
    caller: CallerSettings
    url: str

    async def ask(self, caller=None, **changes):
        return await send(prepare(caller or self.caller, self.site.properties(**changes)))

    async def entries(self, dsn, *kinds):
        rows = await ask(dsn, "select leaf from sharegate.entry order by seq")
        cores = [(row["leaf"], read_core(parse_leaf(row["leaf"]).core)) for row in rows]
        return [(leaf, core) for leaf, core in cores if core["kind"] in kinds]

    async def of_own(self):
        """What this department's log says of requests: kinds with their facts."""
        found = await self.entries(self.own_dsn, "request", "received")
        return [(core["kind"], core["facts"]) for _, core in found]

    async def sealed(self):
        """Both logs as files; what `audit reconcile` is told."""
        given = []
        sides = ("own", self.own, self.own_dsn), ("theirs", self.theirs, self.site.audit_dsn())
        for name, gateway, dsn in sides:
            await until(lambda dsn=dsn: signed_whole(dsn))
            out = self.site.place / f"files-{name}-{secrets.token_hex(3)}"
            seal = ["seal", "--once", "--config", str(gateway.config), "--out", str(out)]
            assert await asyncio.to_thread(main, seal) == 0
            given.append(str(out))
        keys = ["--log-key", self.own_key, "--log-key", self.site.log_key]
        return ["audit", "reconcile", *given, *keys]


async def signed_whole(dsn):
    """Whether all of a log is under a checkpoint in its database; a second at most."""
    (row,) = await ask(
        dsn, "select exists (select from sharegate.checkpoint join sharegate.head using (size))"
    )
    return row[0]


def address(gateway):
    return gateway.exchange_url.removeprefix("http://")


@pytest.fixture
def pair(site):
    theirs, own = site.gateway(), site.gateway("own-state")
    database = f"{site.audit_database}_own"
    dsns = on_a_thread(provision(site.server.dsn, OWN, database))
    own_key = SignerKey(OWN, new_signing_key(site.place / "keys" / "own-log.pem")).vkey
    text = re.sub(r"(?m)^origin = .*$", f'origin = "{OWN}"', own.config.read_text())
    for old, new in zip(site.audit_dsns, dsns, strict=True):
        text = text.replace(old, new)
    text = text.replace("keys/log.pem", "keys/own-log.pem").partition("\n[sources.")[0]
    policies = site.place / "own-policies"
    policies.mkdir()
    for file in ROOT_FILES:
        shutil.copy(POLICIES / file, policies)
    sign_everything(site.place, policies)
    assert str(site.policies) in text
    own.config.write_text(text.replace(str(site.policies), str(policies)))
    port = free_port()
    asking = own.config.with_name("asking.toml")
    asking.write_text(
        f'department = "civil-affairs"\nlisten = "127.0.0.1:{port}"\n'
        f'authority = "127.0.0.1:{port}"\nkey_id = "civil-affairs-demo"\n'
        f'signing_key = "keys/civil-affairs.pem"\n[peers.housing]\nurl = "{theirs.exchange_url}"\n'
        f'authority = "{address(theirs)}"\nlog_key = "{site.log_key}"\n'
    )
    theirs.start()
    own.start(more=("--asking", str(asking)))
    caller = replaced(site.caller("civil-affairs", theirs), port)
    yield Pair(
        site, theirs, own, own_key, site.server.dsn(database), caller, f"http://127.0.0.1:{port}"
    )
    for gateway in (own, theirs):
        gateway.stop()


def replaced(caller, port):
    """Asks its own gateway, with a token made for the other."""
    address = f"127.0.0.1:{port}"
    return msgspec.structs.replace(
        caller, gateway=f"http://{address}", authority=address, through_own=True
    )


async def test_an_exchange_has_an_entry_on_both_sides_that_names_the_other(pair, capsys):
    reply = await pair.ask()
    assert reply.status == 200, reply.body
    verified = verify_answer(reply.body, reply.receipt, pair.site.log_key)
    (request, _), (_, received) = await pair.entries(pair.own_dsn, "request", "received")
    assert verified.entry["consumer_entry"] == b64(counterpart(leaf_hash(request)))
    assert received["facts"] == {
        "request": parse_leaf(request).seq,
        "log": pair.site.log_key.partition("+")[0],
        "effect": "answered",
        "entry": verified.index,
        "counterpart": b64(counterpart(leaf_hash(verified.leaf))),
    }
    assert pair.site.people.applicant.id_number.encode() not in request
    assert b"zhang.wei" not in request
    capsys.readouterr()
    command = await pair.sealed()
    assert main(command) == 0
    assert f"1 requests between {OWN} and sharegate.example/demo: none one-sided" in (
        capsys.readouterr().out
    )
    assert main([*command[:3], command[2], *command[4:]]) == 1  # the other one's files are not its


async def test_the_doctor_finds_a_gateway_right_that_provides_nothing(pair):
    found = await examine(pair.own.config)
    assert [each for each in found if each.verdict is Verdict.WRONG] == []


async def test_what_went_past_a_gateway_or_is_in_one_log_only_is_listed(pair, capsys):
    direct = pair.site.caller("civil-affairs", pair.theirs)
    past = await send(prepare(direct, pair.site.properties()))
    assert past.status == 200
    named = await send(prepare(direct, pair.site.properties(consumer_entry=b64(b"n" * 32))))
    assert named.status == 200
    assert (await pair.ask()).status == 200
    assert pair.theirs.stop() == 0
    lost = await pair.ask()
    assert lost.status == 502
    assert json.loads(lost.body)["own_entry"] > 0
    pair.theirs.start()
    capsys.readouterr()
    assert main([*await pair.sealed(), "--json"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(each["why"], each["certain"]) for each in found] == [
        ("never-answered", False), ("not-through-its-gateway", True), ("never-asked", False),
    ]  # fmt: skip
    assert main(await pair.sealed()) == 1
    said = capsys.readouterr().out
    assert "names no request: asked past the consumer's own gateway" in said
    assert "2 requests between" in said


async def test_a_refusal_of_the_other_gateway_is_passed_on_and_written_down(pair):
    refused = await pair.ask(purpose="no-such-purpose")
    assert refused.status == 422
    assert json.loads(refused.body)["type"] == "urn:sharegate:problem:unknown-purpose"
    (_, asked), (_, came) = await pair.of_own()
    assert asked["provider"] == "housing"
    assert (came["effect"], came["status"]) == ("refused", 422)
    ((_, core),) = await pair.entries(pair.site.audit_dsn(), "refusal")
    ((leaf, _),) = await pair.entries(pair.own_dsn, "request")
    assert core["consumer_entry"] == b64(counterpart(leaf_hash(leaf)))


async def test_what_is_not_this_department_s_question_goes_nowhere(pair):
    cases = [
        ({"provider": "tax"}, 422, "/provider"),
        ({"consumer_entry": b64(bytes(32))}, 400, "/consumer_entry"),
        ({"matter": 7}, 400, "/matter"),
    ]
    for changes, status, pointer in cases:
        reply = await pair.ask(**changes)
        assert (reply.status, json.loads(reply.body)["pointer"]) == (status, pointer)
    port = int(pair.url.rpartition(":")[2])
    stranger = replaced(pair.site.caller("tax", pair.theirs), port)
    reply = await pair.ask(stranger)
    assert (reply.status, json.loads(reply.body)["detail"]) == (
        403, "This gateway asks for civil-affairs alone.",
    )  # fmt: skip
    own = load_caller(pair.own.config.parent / "callers" / "civil-affairs.toml")
    reply = await pair.ask(replaced(own, port))  # its token is made for this gateway
    assert reply.status == 401
    request = signed(pair.caller, "POST", "/v1/requests", "a=b", b"{}")
    assert (await send(request)).status == 400
    async with aiohttp.ClientSession() as session:
        for path, status in (("/v1/requests", 405), ("/v1/exchanges", 404)):
            async with session.get(pair.url + path) as answer:
                assert answer.status == status
    assert await pair.of_own() == []


async def test_the_same_signed_request_is_asked_once(pair):
    request = prepare(pair.caller, pair.site.properties())
    assert [(await send(request)).status for _ in range(3)] == [200, 409, 409]
    assert [kind for kind, _ in await pair.of_own()] == ["request", "received"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('department = "civil-affairs"', 'department = "nobody"', "is not registered"),
        ('key_id = "civil-affairs-demo"', 'key_id = "tax-demo"', "not registered with this key"),
        ('log_key = "', 'log_key = "x', "peers.housing.log_key"),
        ('url = "http://127', 'url = "http://10', "url"),
    ],
)
def test_a_wrong_setting_is_named(pair, old, new, says):
    assert pair.own.stop() == 0
    asking = pair.own.config.with_name("asking.toml")
    asking.write_text(asking.read_text().replace(old, new))
    pair.own.output.write_text("")
    pair.own.start(ready=False, more=("--asking", str(asking)))
    assert pair.own.process.wait(30) == 1
    assert says in pair.own.output.read_text()


# --- a log of one's own that fails, and a gateway that lies -----------------------------------


class Recording:
    """Writes acts into a list, or cannot."""

    def __init__(self, fails_at=None):
        self.acts, self.fails_at = [], fails_at

    def require_usable(self):
        pass

    def require_witnessed(self, *, detail):
        assert detail

    async def record_act(self, act, entry_id):
        if len(self.acts) == self.fails_at:
            raise AuditLogUnavailable(Unavailable.DOWN, "gone")
        self.acts.append(act)
        return Covered(len(self.acts) - 1, b"leaf %d" % len(self.acts), b"", None)


class Identified:
    """As much of it as is looked at."""

    def __init__(self, arrived):
        self.exchange_id, self.body = new_id(1), arrived.body
        self.body_digest = self.replay_key = bytes(32)
        self.caller = type(
            "Caller", (), {"consumer": "civil-affairs", "officer": "o", "key_id": "k"}
        )


@contextlib.asynccontextmanager
async def asked_of(site, answer, recording):
    """Ask a gateway of the test's own; gives what came, and what it was sent."""
    sent = []

    async def handle(request):
        sent.append((dict(request.headers), await request.read()))
        return answer() if callable(answer) else answer

    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"127.0.0.1:{runner.addresses[0][1]}"
    key = site.place / "keys" / "civil-affairs.pem"
    settings = AskingSettings(
        department="civil-affairs", listen="127.0.0.1:0", authority="own", key_id="k",
        signing_key=str(key), seconds=5.0,
        peers={"housing": PeerSettings(url=f"http://{address}", authority=address,
                                       log_key=site.log_key)},
    )  # fmt: skip
    arrived = type("Arrived", (), {})()
    arrived.body = json.dumps(site.properties()).encode()
    arrived.headers = {"authorization": "Bearer token"}
    try:
        async with remote.asking(settings.seconds) as session:
            asking = Asking(
                settings,
                load_ed25519(key),
                recording,
                lambda arrived, _: Identified(arrived),
                secrets.token_bytes,
                session,
            )
            yield asking, arrived, sent
    finally:
        await runner.cleanup()


async def test_nothing_is_asked_that_could_not_be_written_down(site):
    async with asked_of(site, web.Response(), Recording(fails_at=0)) as (asking, arrived, sent):
        with pytest.raises(AuditLogUnavailable):
            await asking.ask(arrived)
        assert sent == []


async def test_nothing_is_shown_of_which_the_coming_could_not_be_written_down(site):
    refusal = web.Response(status=403, text="no")
    async with asked_of(site, refusal, Recording(fails_at=1)) as (asking, arrived, sent):
        with pytest.raises(AuditLogUnavailable):
            await asking.ask(arrived)
        assert len(sent) == 1


def problem(status, body):
    return web.Response(status=status, body=body, content_type="application/problem+json")


def big():
    async def pieces():
        for _ in range(80):
            yield bytes(2**20)

    return web.Response(body=pieces())


@pytest.mark.parametrize(
    ("answer", "effect"),
    [
        (lambda: web.Response(text="{}"), "unproven"),
        (lambda: web.Response(text="{}", headers={"ShareGate-Receipt": "no base64"}), "unproven"),
        (lambda: web.Response(text="{}", headers={"ShareGate-Receipt": "bm90ZQ=="}), "unproven"),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), "unproven"),
        (lambda: web.Response(status=403, text="{}"), "unproven"),
        (lambda: problem(403, b'"' + b"x" * 4095 + b'"'), "unproven"),
        (lambda: problem(200, b"{}"), "unproven"),
        (lambda: problem(302, b"{}"), "unproven"),
        (big, "unanswered"),
    ],
)
async def test_an_answer_that_nothing_proves_is_kept_back(site, answer, effect):
    recording = Recording()
    async with asked_of(site, answer, recording) as (asking, arrived, sent):
        came = await asking.ask(arrived)
    assert len(sent) == 1
    assert [act.kind for act in recording.acts] == ["request", "received"]
    assert recording.acts[1].facts["effect"] == effect
    assert isinstance(came, NotPassedOn)
    assert came.entry == 1


async def test_a_refusal_is_written_down_as_a_whole_before_it_is_shown(site):
    recording, said = Recording(), b'"' + b"x" * 4094 + b'"'
    async with asked_of(site, lambda: problem(403, said), recording) as (asking, arrived, _):
        came = await asking.ask(arrived)
    assert isinstance(came, PassedOn)
    assert (came.status, came.body) == (403, said)
    assert recording.acts[1].facts["effect"] == "refused"
    assert recording.acts[1].detail == {"said": b64(said)}


async def test_an_answer_to_another_request_is_kept_back(pair, tmp_path):
    """Everything about it is right, but that it was this one's."""
    direct = pair.site.caller("civil-affairs", pair.theirs)
    other = await send(prepare(direct, pair.site.properties()))
    headers = {"ShareGate-Receipt": b64encode(other.receipt).decode()}
    recording = Recording()

    def answer():
        return web.Response(body=other.body, headers=headers)

    async with asked_of(pair.site, answer, recording) as (asking, arrived, _):
        came = await asking.ask(arrived)
    assert isinstance(came, NotPassedOn)
    assert "does not name this request" in came.detail
