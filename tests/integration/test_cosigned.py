"""A gateway and its four witnesses: receipts they vouch for, and what happens when they do not."""

import asyncio
import contextlib
import json
import shutil
import signal
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from sharegate.audit import checkpoint, note
from sharegate.audit import receipt as receipts
from sharegate.audit.carried import unpack
from sharegate.audit.chain import parse_leaf
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.checkpoint import parse as read_checkpoint
from sharegate.audit.note import Note, Signature, SignerKey, VerifierKey
from sharegate.audit.quorum import open_cosigned, read_quorum, require_quorum
from sharegate.audit.tree import leaf_hash
from sharegate.audit.witnessing import parse as parse_submission
from sharegate.cli.call import prepare, send, signed
from sharegate.cli.demo.stage import sign_everything
from sharegate.cli.main import main
from sharegate.consortium.witness_memory import origin_hash
from sharegate.private_keys import load_ed25519
from sharegate.record.entry import read_core
from tests.integration.audit_database import ask, until
from tests.integration.witnessed_site import Witnesses, witnessed


@pytest.fixture
def witnesses(site, tmp_path_factory):
    made = Witnesses(tmp_path_factory.mktemp("witnesses"), site.log_key)
    yield made
    made.stop()


async def fetched(site, exchange_id, query="min=cosigned", gateway=None):
    """The receipt of one's own exchange, asked for as `sharegate call` asks."""
    caller = site.caller("civil-affairs", gateway)
    return await send(signed(caller, "GET", f"/v1/receipts/{exchange_id}", query, b""))


def checked(site, quorum_file, reply):
    """What an auditor with a laptop, the quorum file and no network finds in a receipt."""
    quorum = read_quorum(quorum_file.read_bytes())
    receipt = receipts.parse(reply.body)
    log_key = VerifierKey.parse(site.log_key)
    receipts.verify(receipt, leaf_hash(unpack(receipt.extra)), [log_key], log_key.name)
    found = open_cosigned(receipt.checkpoint_note, quorum)
    require_quorum(found, quorum)
    return found


async def offline(site, gateway, reply, quorum):
    """The commands of a department: fetch the better receipt, and check it with the files alone."""
    caller = gateway.config.parent / "callers" / "civil-affairs.toml"
    store = site.caller("civil-affairs").store
    fetch = ["receipt", reply.exchange_id, "--as", str(caller)]
    answer, kept = store / "answer.json", store / f"{reply.exchange_id}.tlog-proof"
    check = ["verify", str(answer), str(kept), "--quorum", str(quorum)]
    assert await asyncio.to_thread(main, fetch) == 0
    answer.write_bytes(reply.body)
    assert main(check) == 1  # the log alone vouches for it
    assert await asyncio.to_thread(main, [*fetch, "--cosigned"]) == 0
    assert main(check) == 0
    quorum.rename(quorum.with_suffix(".away"))
    assert main(check) == 1
    quorum.with_suffix(".away").rename(quorum)
    unknown = ["receipt", "0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e57", "--as", str(caller)]
    assert await asyncio.to_thread(main, unknown) == 1


def metric(gateway, name):
    import urllib.request

    text = urllib.request.urlopen(f"{gateway.admin_url}/metrics", timeout=5).read().decode()
    return {
        line.rpartition(" ")[0].removeprefix(name): float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(name)
    }


async def test_a_receipt_is_upgraded_to_what_a_quorum_has_cosigned(site, witnesses):
    gateway = site.gateway()
    quorum = witnesses.quorum_file()
    witnessed(gateway, quorum)
    witnesses.start()
    gateway.start()
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert reply.status == 200
    upgraded = await fetched(site, reply.exchange_id)
    assert upgraded.status == 200
    found = checked(site, quorum, upgraded)
    assert found.checkpoint.size > receipts.parse(upgraded.body).index
    short = receipts.parse(upgraded.body)
    # As long as its path is in a log of a million entries, at 45 bytes a step.
    long = receipts.encode(replace(short, path=(bytes(32),) * 20))
    print(f"\nreceipt with {len(found.times)} cosignatures: {len(upgraded.body)} bytes, at a "
          f"million entries {len(long)}, {len(short.extra) * 4 // 3} of them the leaf")  # fmt: skip
    assert len(found.times) >= 3
    assert len(long) <= 2500
    plain = await fetched(site, reply.exchange_id, query="")
    assert receipts.parse(plain.body).extra == receipts.parse(upgraded.body).extra
    await offline(site, gateway, reply, quorum)
    wrong = await fetched(site, reply.exchange_id, query="min=witnessed")
    assert wrong.status == 400
    assert metric(gateway, "sharegate_quorum_age_seconds")[""] < 60
    assert metric(gateway, "sharegate_witness_failing") == {}


async def test_a_host_that_does_not_sign_gives_such_receipts_too(site, witnesses):
    gateway, elsewhere = site.gateway(), site.gateway("elsewhere")
    quorum = witnesses.quorum_file()
    witnesses.start()
    for one in (gateway, elsewhere):
        witnessed(one, quorum)
        one.start()
    reply = await send(prepare(site.caller("civil-affairs", elsewhere), site.properties()))
    assert reply.status == 200
    checked(site, quorum, await fetched(site, reply.exchange_id, gateway=elsewhere))
    assert metric(elsewhere, "sharegate_quorum_age_seconds")[""] < 60
    assert [metric(one, "sharegate_signs")[""] for one in (gateway, elsewhere)] == [1, 0]


async def test_an_answer_that_demands_witnesses_waits_for_them(site, witnesses):
    grants = site.policies / "housing" / "grants.csv"
    rows = [line.split(",") for line in grants.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if row[0] == "housing-001":
            row[rows[0].index("assurance")] = "cosigned"
    grants.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    sign_everything(site.place)
    gateway, alone = site.gateway(), site.gateway()
    quorum = witnesses.quorum_file()
    witnessed(gateway, quorum)
    witnesses.start()
    gateway.start()
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert reply.status == 200
    found = checked(site, quorum, replace(reply, body=reply.receipt))
    assert found.checkpoint.size > receipts.parse(reply.receipt).index
    assert gateway.stop() == 0
    alone.start()  # the same log, without witnesses
    reply = await send(prepare(site.caller("civil-affairs", alone), site.properties()))
    assert json.loads(reply.body)["type"] == "urn:sharegate:problem:undecidable"


async def test_one_dead_one_lying_and_the_log_goes_on(site, witnesses):
    """Of four: one is dead, and one refuses, or cosigns in name only, or claims to be further."""
    gateway = site.gateway()
    posing = Signature("d.example/witness", witnesses.members[3].keys[0].key_id, b"\0" * 72)
    ahead = checkpoint.encode(Checkpoint(gateway_origin(site), 10**6, bytes(32)))
    lies = []

    async def lie(request):
        await request.read()
        if request.method == "GET":  # a later checkpoint, that the log never signed
            return web.Response(body=note.encode(Note(ahead, (posing,))))
        answers = (
            {"status": 422, "text": "no"},
            {"text": posing.line},
            {"text": "what?"},
            {"status": 409, "text": "1000000\n"},
            {"status": 409, "body": b"1000000\n", "headers": {"Content-Type": "text/x.tlog.size"}},
        )
        lies.append(answers[len(lies) % len(answers)])
        return web.Response(**lies[-1])

    async with served(lie) as liar:
        quorum = witnesses.quorum_file({"d": liar})
        witnessed(gateway, quorum)
        witnesses.start()
        await asyncio.to_thread(gateway.start)
        witnesses.members[3].stop(signal.SIGKILL)
        first = await send(prepare(site.caller("civil-affairs"), site.properties()))
        found = checked(site, quorum, await fetched(site, first.exchange_id))
        assert set(found.times) == {"a", "b", "c"}
        witnesses.members[2].stop(signal.SIGKILL)  # now a quorum is out of reach
        second = await send(prepare(site.caller("civil-affairs"), site.properties()))
        assert second.status == 200  # for a while it goes on, and says so
        late = await fetched(site, second.exchange_id)
        assert (late.status, json.loads(late.body)["detail"]) == (
            503, "the witnesses have not cosigned this entry yet; nothing was released.",
        )  # fmt: skip

        async def told():
            failing = await asyncio.to_thread(metric, gateway, "sharegate_witness_failing")
            return failing.get('{witness="c"}') == 1 and failing.get('{witness="d"}') == 1

        await until(told)
        witnesses.members[2].start()
        again = await fetched(site, second.exchange_id)
        assert set(checked(site, quorum, again).times) == {"a", "b", "c"}

        async def lied_twice():
            return len(lies) > 10

        await asyncio.wait_for(asks_until(site, lied_twice), 60)
    assert gateway.readiness()[0] == 200
    assert gateway.stop() == 0


@contextlib.asynccontextmanager
async def served(answer):
    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def gateway_origin(site):
    return site.log_key.partition("+")[0]


@pytest.mark.parametrize("ahead", [0, 1000])
async def test_what_the_log_signed_elsewhere_stops_it(site, witnesses, ahead):
    """Whoever has the key signs another history and shows it to a witness: the gateway freezes."""
    gateway = site.gateway()
    quorum = witnesses.quorum_file()
    witnessed(gateway, quorum)
    witnesses.start()
    gateway.start()
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    seen = checked(site, quorum, await fetched(site, reply.exchange_id)).checkpoint
    one = witnesses.members[0]
    one.stop(signal.SIGKILL)
    # The witness forgets, and is led onto another branch.
    key = SignerKey(seen.origin, load_ed25519(site.place / "keys" / "log.pem"))
    forked = checkpoint.sign(Checkpoint(seen.origin, seen.size + ahead, b"f" * 32), key)
    (file,) = (one.place / "state").glob("*.note")
    file.write_bytes(forked)
    one.start()

    async def frozen():
        status, body = await asyncio.to_thread(gateway.readiness)
        return status == 503 and "frozen" in body

    await asyncio.wait_for(asks_until(site, frozen), 60)
    refused = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert refused.status == 503
    (evidence,) = (site.place / "state" / "evidence").iterdir()
    assert evidence.read_bytes() == forked
    gateway.stop()
    gateway.start(ready=False)  # nor does a restart help
    assert await asyncio.to_thread(gateway.process.wait, 30) == 1
    assert "witness a holds" in gateway.output.read_text(encoding="utf-8")


async def asks_until(site, condition):
    """Keep the log growing, so that the witnesses are shown something new."""
    while not await condition():
        await send(prepare(site.caller("civil-affairs"), site.properties()))
        await asyncio.sleep(0.1)


async def test_a_slow_witness_holds_nobody_up(site, witnesses):
    gateway = site.gateway()
    asked = asyncio.Event()

    async def sleep(request):
        await request.read()
        asked.set()
        await asyncio.sleep(60)
        return web.Response(status=500)

    async with served(sleep) as slow:
        quorum = witnesses.quorum_file({"a": slow})
        witnessed(gateway, quorum)
        witnesses.start()
        await asyncio.to_thread(gateway.start)
        for _ in range(3):
            reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
            found = checked(site, quorum, await fetched(site, reply.exchange_id))
            assert set(found.times) == {"b", "c", "d"}
        assert asked.is_set()
        assert await asyncio.to_thread(gateway.stop) == 0


async def test_one_that_slips_while_another_is_slow_is_asked_again(site, witnesses):
    """Three slips: were it asked once a round, nobody would wait so long for the fourth."""
    gateway = site.gateway()
    real = witnesses.members[1].url
    left = 0

    async def sleep(request):
        await request.read()
        await asyncio.sleep(60)
        return web.Response(status=500)

    async def slip(request):
        nonlocal left
        body = await request.read()
        if left and request.method == "POST":
            left -= 1
            return web.Response(status=500)
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, real + request.path, data=body) as answer,
        ):
            kind = {"Content-Type": answer.headers["Content-Type"]}
            return web.Response(status=answer.status, body=await answer.read(), headers=kind)

    async with served(sleep) as slow, served(slip) as slipping:
        quorum = witnesses.quorum_file({"a": slow, "b": slipping})
        witnessed(gateway, quorum)
        witnesses.start()
        await asyncio.to_thread(gateway.start)
        left = 3
        reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
        found = checked(site, quorum, await fetched(site, reply.exchange_id))
        assert set(found.times) == {"b", "c", "d"}
        assert left == 0
        assert await asyncio.to_thread(gateway.stop) == 0


async def test_far_witnesses_are_shown_the_next_while_the_last_is_on_its_way(site, witnesses):
    """What comes second may even arrive first; no witness is thought to fail for that."""
    gateway = site.gateway()
    real = {one.name: one.url for one in witnesses.members}
    under_way: dict[str, list[int]] = {name: [] for name in real}
    begun_from_the_last, overtaken, fast = 0, 0, set()

    def far(name):
        async def carry(request):
            nonlocal begun_from_the_last, overtaken
            body = await request.read()
            if request.method != "POST":
                return web.Response(status=404)
            submission = parse_submission(body)
            size = read_checkpoint(note.parse(submission.note).text).size
            begun_from_the_last += submission.old in under_way[name]
            if under_way[name] and size % 3 == 0:
                fast.add(size)
            under_way[name].append(size)
            try:
                # Now and then the later one is there first, and again when it is shown again.
                await asyncio.sleep(0 if size in fast else 0.3)
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(f"{real[name]}/add-checkpoint", data=body) as answer,
                ):
                    kind = {"Content-Type": answer.headers["Content-Type"]}
                    text = await answer.read()
                overtaken += answer.status == 409 and int(text) > size
                await asyncio.sleep(0 if size in fast else 0.1)
                return web.Response(status=answer.status, body=text, headers=kind)
            finally:
                under_way[name].remove(size)

        return carry

    async with contextlib.AsyncExitStack() as stack:
        urls = {name: await stack.enter_async_context(served(far(name))) for name in real}
        quorum = witnesses.quorum_file(urls)
        witnessed(gateway, quorum)
        witnesses.start()
        await asyncio.to_thread(gateway.start)

        async def asks():
            while begun_from_the_last < 5 or not overtaken:
                reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
                found = checked(site, quorum, await fetched(site, reply.exchange_id))
                assert len(found.times) >= 3

        async with asyncio.timeout(60):
            await asyncio.gather(*(asks() for _ in range(6)))
        assert await asyncio.to_thread(gateway.stop) == 0
    assert "witness_failed" not in gateway.output.read_text(encoding="utf-8")


async def test_a_gateway_that_no_quorum_ever_saw_answers_nobody(site, witnesses):
    gateway = site.gateway()
    witnessed(gateway, witnesses.quorum_file())
    gateway.start(ready=False)

    async def unwitnessed():
        status, body = await asyncio.to_thread(gateway.readiness)
        return status == 503 and "unwitnessed" in body

    await until(unwitnessed)
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert (reply.status, json.loads(reply.body)["type"]) == (
        503, "urn:sharegate:problem:audit-unavailable",
    )  # fmt: skip
    leaves = await ask(site.audit_dsn(), "select leaf from sharegate.entry")
    assert not any(b'"kind":"release"' in row["leaf"] for row in leaves)
    witnesses.start()
    await asyncio.to_thread(gateway.wait_until_ready)
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert reply.status == 200


async def test_a_log_that_was_rolled_back_with_all_its_memory_is_stopped_by_its_witnesses(
    site, witnesses
):
    """The database and the signer's memory restored from one backup: only others know better."""
    gateway, restored = site.gateway(), site.gateway()
    quorum = witnesses.quorum_file()
    witnessed(gateway, quorum)
    witnessed(restored, quorum)
    witnesses.start()
    gateway.start()
    caller = site.caller("civil-affairs")
    assert (await send(prepare(caller, site.properties()))).status == 200
    assert gateway.stop() == 0
    state, name = site.place / "state", site.audit_database
    shutil.copytree(state, site.place / "backup")
    await ask(site.server.dsn(), f"create database {name}_backup template {name}")
    gateway.start()
    late = await send(prepare(caller, site.properties()))
    found = checked(site, quorum, await fetched(site, late.exchange_id))
    assert gateway.stop() == 0
    await ask(site.server.dsn(), f"alter database {name} rename to {name}_lost")
    await ask(site.server.dsn(), f"alter database {name}_backup rename to {name}")
    shutil.rmtree(state)
    shutil.copytree(site.place / "backup", state)
    restored.start(ready=False)
    # It does not even start; and it names what it is behind.
    assert await asyncio.to_thread(restored.process.wait, 30) == 1
    said = restored.output.read_text(encoding="utf-8")
    assert "the log is behind" in said
    assert f"holds a checkpoint of {found.checkpoint.size}" in said
    (evidence,) = (state / "evidence").iterdir()
    assert open_cosigned(evidence.read_bytes(), read_quorum(quorum.read_bytes()))
    await ask(site.server.dsn(), f"drop database {name}_lost with (force)")


async def test_that_the_witnesses_fell_behind_and_came_back_is_in_the_log(site, witnesses):
    gateway = site.gateway()
    witnessed(gateway, witnesses.quorum_file())
    with gateway.config.open("a") as config:
        config.write("\n[audit_log.witnesses]\nstale_entries = 2\n")
    witnesses.start()
    gateway.start()

    async def said():
        leaves = await ask(site.audit_dsn(), "select leaf from sharegate.entry order by seq")
        cores = [read_core(parse_leaf(row["leaf"]).core) for row in leaves]
        return [core["facts"]["witnesses"] for core in cores if core["kind"] == "availability"]

    async def told(*standings):
        return await said() == list(standings)

    statuses = []

    async def refused():
        statuses.append(
            (await send(prepare(site.caller("civil-affairs"), site.properties()))).status
        )
        return statuses[-1] == 503

    await until(told)
    witnesses.stop()
    await until(refused)
    assert set(statuses[:-1]) <= {200}
    await until(lambda: told("stale"))
    assert gateway.readiness()[0] == 503
    witnesses.start()
    await until(lambda: told("stale", "near"))
    assert await asyncio.to_thread(gateway.wait_until_ready) is None


async def test_without_witnesses_there_is_no_such_receipt(site):
    gateway = site.gateway()
    gateway.start()
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    refused = await fetched(site, reply.exchange_id)
    assert refused.status == 503
    assert "without witnesses" in json.loads(refused.body)["detail"]


async def test_a_quorum_file_of_another_log_is_refused(site, witnesses, tmp_path):
    gateway = site.gateway()
    file = tmp_path / "quorum"
    file.write_text("quorum none\n")
    witnessed(gateway, file)
    gateway.start(ready=False)
    assert await asyncio.to_thread(gateway.process.wait, 30) == 1
    assert "does not list the key" in gateway.output.read_text(encoding="utf-8")


async def test_anyone_sees_at_a_witness_what_it_has_cosigned(site, witnesses):
    gateway = site.gateway()
    quorum = witnesses.quorum_file()
    witnessed(gateway, quorum)
    witnesses.start()
    gateway.start()
    url = f"{witnesses.members[0].url}/{origin_hash(gateway_origin(site))}/checkpoint"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        found = open_cosigned(await answer.read(), read_quorum(quorum.read_bytes()))
    assert set(found.times) == {"a"}
