"""The walk over HTTP, on real parts: asked, decided, fetched, recorded, released."""

import asyncio
import json

from sharegate.cli.audit import verify_log
from sharegate.cli.call import keep, prepare, send
from sharegate.record.verified import verify_answer
from sharegate.settings import load_settings
from tests.site import AT_START


async def test_an_answer_is_recorded_and_its_receipt_verifies(site):
    gateway = site.gateway()
    gateway.start()
    caller = site.caller("civil-affairs")
    reply = await send(prepare(caller, site.properties()))
    assert reply.status == 200, reply.body
    assert json.loads(reply.body)["rows"]
    proven = verify_answer(reply.body, reply.receipt, site.log_key)
    assert (proven.index, proven.size) == (AT_START, AT_START + 1)
    answer, receipt = keep(caller, reply)
    assert gateway.stop() == 0
    verify_answer(answer.read_bytes(), receipt.read_bytes(), site.log_key)
    assert await verify_log(load_settings(gateway.config).audit_log) == AT_START + 1


async def test_one_signed_request_sent_fifty_times_is_answered_once_across_restarts(site):
    gateway = site.gateway()
    gateway.start()
    request = prepare(site.caller("civil-affairs"), site.properties())
    copies = await asyncio.gather(*(send(request) for _ in range(50)))
    assert sorted(reply.status for reply in copies) == [200] + [409] * 49, copies
    # One entry for the answer, one for all its copies: a captured request cannot fill the log.
    assert await verify_log(load_settings(gateway.config).audit_log) == AT_START + 2
    gateway.kill()
    gateway.start()
    again = await send(request)
    assert again.status == 409
    assert json.loads(again.body)["entry"] == AT_START + 1


async def test_two_gateways_share_one_log_and_the_second_takes_over(site):
    first, second = site.gateway(), site.gateway()
    first.start()
    second.start()
    callers = [site.caller("civil-affairs", gateway) for gateway in (first, second)]

    async def ask(caller):
        reply = await send(prepare(caller, site.properties()))
        assert reply.status == 200, reply.body
        return verify_answer(reply.body, reply.receipt, site.log_key).index

    indexes = await asyncio.gather(*(ask(caller) for caller in callers * 20))
    assert sorted(indexes) == list(range(AT_START, AT_START + 40))
    first.kill()  # it was the one that signed
    second.wait_until_ready()
    for attempt in range(40, 45):
        reply = await send(prepare(callers[1], site.properties()))
        assert reply.status == 200, (attempt, reply.body)
    assert await verify_log(load_settings(second.config).audit_log) == AT_START + 45


async def test_a_gateway_with_the_embedded_postgresql_serves_and_its_log_verifies(site):
    gateway = site.gateway()
    lines = gateway.config.read_text().splitlines()
    named = ("append_dsn", "read_dsn")
    gateway.config.write_text("\n".join(each for each in lines if not each.startswith(named)))
    gateway.start()
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert reply.status == 200, reply.body
    settings = load_settings(gateway.config).audit_log
    assert await verify_log(settings) == AT_START + 1  # beside the gateway, on the server it runs
    assert gateway.readiness()[0] == 200
    assert gateway.stop() == 0
    assert await verify_log(settings) == AT_START + 1  # without it
    gateway.start()
    assert (await send(prepare(site.caller("civil-affairs"), site.properties()))).status == 200
    assert gateway.stop() == 0
