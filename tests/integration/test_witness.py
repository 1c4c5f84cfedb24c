"""`sharegate witness` as processes: over HTTP, killed, alone, and beginning from its peers."""

import asyncio
import contextlib
import random
import signal
import urllib.error
import urllib.request
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit import checkpoint
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import SignerKey, open_note
from sharegate.audit.proof import consistency_path
from sharegate.audit.witnessing import Submission, encode
from sharegate.cli.call import prepare, send
from sharegate.cli.main import main
from sharegate.cli.witness import witnessing
from sharegate.consortium.witness_memory import origin_hash
from sharegate.consortium.witness_settings import load_witness_settings
from tests.integration.witnessed_site import make_member
from tests.postgres import on_a_thread
from tests.site import free_port
from tests.unit.audit.branches import branch, fetched, root_of

ORIGIN = "tax.example/log"
LOG = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
LEAVES = branch(2000)
LOG_ALONE = checkpoint.sign(Checkpoint(ORIGIN, 1500, root_of(LEAVES, 1500)), LOG)


def sent(old, size, leaves=LEAVES):
    path = consistency_path(old, size, fetched(leaves)) if old else ()
    state = Checkpoint(ORIGIN, size, root_of(leaves, size))
    return encode(Submission(old, path, checkpoint.sign(state, LOG)))


@pytest.fixture
def member(tmp_path):
    """Makes witnesses, keys and all, by the commands an operator uses."""
    made = []

    def make(name="a"):
        made.append(make_member(tmp_path, name, LOG.vkey))
        return made[-1]

    yield make
    for each in made:
        each.stop(signal.SIGKILL)


async def post(member, body):
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{member.url}/add-checkpoint", data=body) as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.read()


async def seen(member, origin=ORIGIN):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{member.url}/{origin_hash(origin)}/checkpoint") as answer,
    ):
        return answer.status, await answer.read()


async def test_a_witness_as_the_specification_has_it(member, capsys):
    one = member()
    assert main(["witness", "begin", ORIGIN, "--config", one.config]) == 0
    assert "begins with tax.example/log at its beginning" in capsys.readouterr().out
    one.start()
    assert (await seen(one))[0] == 404
    status, kind, lines = await post(one, sent(0, 500))
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    note = checkpoint.sign(Checkpoint(ORIGIN, 500, root_of(LEAVES, 500)), LOG) + lines
    assert set(open_note(note, [LOG.verifier, *one.keys]).signers) == {LOG.verifier, *one.keys}
    assert await seen(one) == (200, note)
    assert await post(one, sent(0, 600)) == (409, "text/x.tlog.size", b"500\n")
    forked = branch(2000, fork=499)
    for body, status in (
        (sent(500, 600, forked), 422), (sent(500, 500, forked), 422), (b"old x\n\n", 400),
        (sent(500, 600).replace(b"tax", b"tex"), 404), (sent(500, 1000), 200),
    ):  # fmt: skip
        assert (await post(one, body))[0] == status
    assert one.stop() == 0
    assert '"what":"stopped"' in one.output()


async def test_killed_at_any_moment_it_never_goes_back(member):
    """kill -9 under load, again and again: what was given away is what is remembered."""
    one = member()
    assert main(["witness", "begin", ORIGIN, "--config", one.config]) == 0
    chance = random.Random(5)
    known = 0
    for _ in range(6):
        one.start()
        given = []

        async def ask(given=given, size=known):
            for after in range(size + 1, len(LEAVES)):
                status, _, _ = await post(one, sent(after - 1, after))
                assert status == 200
                given.append(after)

        asking = asyncio.create_task(ask())
        await asyncio.sleep(chance.random() * 0.4)
        one.stop(signal.SIGKILL)
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await asking
        one.start()
        status, body = await seen(one)
        if status == 404:
            assert known == 0
            assert not given
        else:
            known = open_checkpoint(body, [LOG.verifier], ORIGIN).size
            # At most one was remembered whose cosignature did not get away.
            assert known - (given[-1] if given else known) in {0, 1}
        one.stop(signal.SIGKILL)
    assert known > 0


@contextlib.asynccontextmanager
async def publishing(given):
    """What a log publishes: whatever is in the list last; nothing while it is empty."""

    async def answer(_request):
        return web.Response(body=given[-1]) if given else web.Response(status=404)

    application = web.Application()
    application.router.add_get("/checkpoint", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/checkpoint"
    finally:
        await runner.cleanup()


def reading(one, *urls):
    config = Path(one.config)
    listed = ", ".join(f'"{url}"' for url in urls)
    config.write_text(config.read_text() + f"published = [{listed}]\n")


async def cosigned(one, old, size, leaves=LEAVES):
    """Have it cosign, and give the note that the log publishes then."""
    status, _, lines = await post(one, sent(old, size, leaves))
    assert status == 200
    return checkpoint.sign(Checkpoint(ORIGIN, size, root_of(leaves, size)), LOG) + lines


async def test_a_state_from_a_backup_is_seen_and_cosigns_nothing(member, monkeypatch):
    """From it, the witness could be led onto another branch; its own later line shows it."""
    one, two = member("a"), member("b")
    for each in (one, two):
        assert main(["witness", "begin", ORIGIN, "--config", each.config]) == 0
        each.start()
    await cosigned(one, 0, 100)
    (file,) = (one.place / "state").glob("*.note")
    backup = file.read_bytes()
    later, peers = await cosigned(one, 100, 300), await cosigned(two, 0, 400)
    published = [later]
    async with publishing(published) as url:
        reading(one, "http://127.0.0.1:9/checkpoint", url)
        assert one.stop() == 0
        await asyncio.to_thread(one.start)  # all is well
        assert await post(one, sent(100, 300)) == (409, "text/x.tlog.size", b"300\n")
        assert one.stop() == 0

        for restored in (backup, b""):
            file.write_bytes(restored)
            await asyncio.to_thread(one.start)
            forked = branch(2000, fork=150)
            for old, leaves in ((100, LEAVES), (100, forked), (0, forked)):
                assert (await post(one, sent(old, 500, leaves)))[0] == 503
            assert "this witness has cosigned 300: begin anew" in one.output()
            assert one.stop() == 0

        # Lines that are another's, or do not hold, are no sign of anything.
        file.write_bytes(backup)
        forged = later.replace(b"\n300\n", b"\n400\n")
        for note in (peers, forged, b"no note", LOG_ALONE):
            published.append(note)
            await asyncio.to_thread(one.start)
            assert (await post(one, sent(0, 50)))[0] == 409
            assert one.stop() == 0
        published[:] = [later]

        file.unlink()
        begin = ["witness", "begin", ORIGIN, "--config", one.config, "--from", two.url]
        assert await asyncio.to_thread(main, begin) == 0
        await asyncio.to_thread(one.start)
        await cosigned(one, 400, 500)


async def test_what_is_published_only_later_is_looked_at_then(member, monkeypatch):
    monkeypatch.setattr("sharegate.cli.witness._AGAIN_SECONDS", 0.05)
    one = member()
    assert main(["witness", "begin", ORIGIN, "--config", one.config]) == 0
    one.start()
    later = await cosigned(one, 0, 300)
    assert one.stop() == 0
    (file,) = (one.place / "state").glob("*.note")
    file.write_bytes(b"")
    published = []
    async with publishing(published) as url:
        reading(one, url)
        admin = free_port()
        with Path(one.config).open("a") as config:
            config.write(f'admin = "127.0.0.1:{admin}"\n')
        lines = []
        async with witnessing(load_witness_settings(Path(one.config)), lines.append):
            assert (await post(one, sent(0, 100)))[0] == 200
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{admin}/readyz") as answer,
            ):
                assert answer.status == 200
            published.append(later)
            async with asyncio.timeout(30):
                while (await post(one, sent(100, 200)))[0] != 503:
                    await asyncio.sleep(0.05)


async def test_a_witness_begins_where_the_furthest_of_its_peers_is(member, capsys):
    one, two, three = member("a"), member("b"), member("c")
    for each, size in ((one, 100), (two, 300)):
        assert main(["witness", "begin", ORIGIN, "--config", each.config]) == 0
        each.start()
        assert (await post(each, sent(0, size)))[0] == 200
    begin = ["witness", "begin", ORIGIN, "--config", three.config]
    peers = ["--from", one.url, "--from", two.url]
    three.start()
    assert (await post(three, sent(0, 100)))[0] == 503  # it has not begun
    assert three.stop() == 0
    assert f"has not begun with {ORIGIN}" in three.output()
    assert await asyncio.to_thread(main, [*begin, *peers, "--from", "http://127.0.0.1:9"]) == 1
    assert "gives no answer" in capsys.readouterr().err
    assert await asyncio.to_thread(main, [*begin, *peers]) == 0
    assert "at entry 300" in capsys.readouterr().out
    assert await asyncio.to_thread(main, [*begin, *peers]) == 1
    assert "has begun" in capsys.readouterr().err
    three.start()
    assert await post(three, sent(0, 100)) == (409, "text/x.tlog.size", b"300\n")
    assert (await post(three, sent(300, 400)))[0] == 200


async def test_peers_on_two_branches_are_nothing_to_begin_from(member, capsys):
    one, two, three = member("a"), member("b"), member("c")
    for each, leaves in ((one, LEAVES), (two, branch(2000, fork=50))):
        assert main(["witness", "begin", ORIGIN, "--config", each.config]) == 0
        each.start()
        assert (await post(each, sent(0, 100, leaves)))[0] == 200
    begin = ["witness", "begin", ORIGIN, "--config", three.config]
    assert await asyncio.to_thread(main, [*begin, "--from", one.url, "--from", two.url]) == 1
    assert "two branches" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('name = "a', 'nam = "a'), "nam"),
        (('keys = ["witness.pem", "witness-ml-dsa.pem"]', "keys = []"), "keys"),
        (('"witness.pem"', '"none.pem"'), "none.pem"),
        (("logs = [", 'logs = ["x", '), "logs"),
        (("logs = [", f'logs = ["{LOG.vkey}", '), "twice"),
        (('listen = "127.0.0.1:', 'listen = "127.0.0.1:x'), "listen"),
    ],
)
def test_a_configuration_that_is_wrong_is_named(member, capsys, change, words):
    one = member()
    file = Path(one.config)
    assert change[0] in file.read_text()
    file.write_text(file.read_text().replace(*change, 1))
    assert main(["witness", "serve", "--config", one.config]) == 1
    assert words in capsys.readouterr().err


def test_two_processes_are_not_one_witness(member, capsys):
    one = member()
    one.start()
    assert main(["witness", "serve", "--config", one.config]) == 1
    assert "another witness" in capsys.readouterr().err
    assert main(["witness", "begin", "nobody.example", "--config", one.config]) == 1
    assert "has no key of nobody.example" in capsys.readouterr().err


def test_a_witness_in_a_gateways_process(site, tmp_path):
    """It cosigns for others and answers exchanges, and both end at one signal."""
    gateway = site.gateway()
    member = make_member(tmp_path, "a", site.log_key, kinds=("witness",))
    origin = site.log_key.partition("+")[0]
    assert main(["witness", "begin", origin, "--config", member.config]) == 0
    gateway.start(more=["--witness", member.config])
    answer = on_a_thread(send(prepare(site.caller("civil-affairs"), site.properties())))
    assert answer.status == 200
    for body, status in ((b"", 400), (b"old 0\n\nnonsense", 400)):
        asked = urllib.request.Request(f"{member.url}/add-checkpoint", body, method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=10)
        assert refused.value.code == status
        refused.value.close()
    assert gateway.stop() == 0
    with pytest.raises(OSError):
        urllib.request.urlopen(member.url, timeout=10)


def test_a_witness_that_cannot_run_keeps_the_gateway_from_starting(site, tmp_path, capsys):
    """Whoever asked for both is told, instead of being left with one."""
    gateway = site.gateway()
    (tmp_path / "witness.toml").write_text("nonsense = 1\n")
    command = [
        "serve",
        "--config",
        str(gateway.config),
        "--witness",
        str(tmp_path / "witness.toml"),
    ]
    assert main(command) == 1
    assert "nonsense" in capsys.readouterr().err
