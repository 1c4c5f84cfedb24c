"""Quotas, matters and consents on real gateways: counted over all of them, confirmed or denied."""

import asyncio
import base64
import json
import time

import asyncpg
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import structs

from sharegate.cli.audit import verify_log
from sharegate.cli.call import NoAnswer, prepare, send
from sharegate.cli.demo.stage import sign_everything
from sharegate.cli.keys import new_signing_key
from sharegate.identify.officer import MAX_LIFETIME_S, issue_token
from sharegate.settings import load_settings
from tests.integration.audit_database import ask, until
from tests.integration.test_keepers import THEIRS, CaseSystem, answer_to, signed


def demand(site, quota="", consent=""):
    """Let the grant by which civil affairs asks about properties demand this."""
    grants = site.policies / "housing" / "grants.csv"
    rows = [line.split(",") for line in grants.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if row[0] == "housing-001":
            row[rows[0].index("quota")] = quota
            row[rows[0].index("consent")] = consent
    grants.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    sign_everything(site.place)


def officer(site, gateway, name):
    """Civil affairs with another officer's token."""
    caller = site.caller("civil-affairs", gateway)
    pem = (site.place / "keys" / "civil-affairs.issuer.pem").read_bytes()
    audience = caller.authority or caller.gateway.removeprefix("http://")
    token = issue_token(
        load_pem_private_key(pem, password=None),
        issuer="https://officers.civil-affairs.example",
        officer=name,
        department="civil-affairs",
        audience=audience,
        now=int(time.time()),
        lifetime_s=MAX_LIFETIME_S,
    )
    path = gateway.config.parent / f"{name}.token"
    path.write_text(token)
    return structs.replace(caller, token=path)


async def answers(site, callers, count):
    """Ask at once over all of them, and give what came back: 200, or the name of the problem."""
    replies = await asyncio.gather(
        *(send(prepare(callers[n % len(callers)], site.properties())) for n in range(count))
    )
    return [
        reply.status if reply.status == 200 else json.loads(reply.body)["type"].rpartition(":")[2]
        for reply in replies
    ]


async def test_two_gateways_answer_exactly_as_often_as_the_quotas_allow(site):
    demand(site, quota="officer/day=6 department/month=9")
    gateways = [site.gateway(), site.gateway()]
    for gateway in gateways:
        gateway.start()
    first, second = (
        [officer(site, gateway, name) for gateway in gateways] for name in ("chen-jing", "wu-tao")
    )
    given = await answers(site, first, 24)
    assert sorted(map(str, given)) == ["200"] * 6 + ["quota-exhausted"] * 18
    given = await answers(site, second, 24)
    assert sorted(map(str, given)) == ["200"] * 3 + ["quota-exhausted"] * 21
    refused = await send(prepare(second[0], site.properties()))
    assert refused.status == 403
    assert "one department 9 answers a month" in json.loads(refused.body)["detail"]
    await verify_log(load_settings(gateways[0].config).audit_log)
    leaves = [
        row["leaf"] for row in await ask(site.audit_dsn(), "select leaf from sharegate.entry")
    ]
    assert sum(b'"kind":"release"' in leaf for leaf in leaves) == 9
    assert sum(b'"reason":"quota-exhausted"' in leaf for leaf in leaves) == 40
    tables = ("quota_count", "quota_hold")
    kept = [await ask(site.audit_dsn(), f"select * from sharegate.{table}") for table in tables]
    assert "chen-jing" not in repr(kept)
    assert "civil-affairs" not in repr(kept)


async def test_what_was_not_answered_is_not_counted(site):
    demand(site, quota="officer/day=2")
    gateway = site.gateway()
    gateway.start()
    caller = site.caller("civil-affairs")
    request = prepare(caller, site.properties())
    assert [(await send(request)).status for _ in range(3)] == [200, 409, 409]

    async def settled():
        return not await ask(site.audit_dsn(), "select from sharegate.quota_hold")

    await until(settled)
    sources = await asyncpg.connect(site.server.dsn("housing"))
    await sources.execute("alter table estate.property rename to away")
    try:
        for _ in range(3):
            assert await answers(site, [caller], 1) == ["source-unavailable"]
            await until(settled)
    finally:
        await sources.execute("alter table estate.away rename to property")
        await sources.close()
    assert await answers(site, [caller], 1) == [200]
    assert await answers(site, [caller], 1) == ["quota-exhausted"]


async def test_a_gateway_killed_between_reserving_and_answering_gives_nothing_away(site):
    demand(site, quota="officer/day=1")
    first, second = site.gateway(), site.gateway()
    first.start()
    second.start()
    callers = [site.caller("civil-affairs", gateway) for gateway in (first, second)]
    sources = await asyncpg.connect(site.server.dsn("housing"))
    async with sources.transaction():
        await sources.execute("lock table estate.property")  # the source does not answer
        lost = asyncio.create_task(send(prepare(callers[0], site.properties())))

        async def reserved():
            return await ask(site.audit_dsn(), "select from sharegate.quota_hold")

        await until(reserved)
        first.kill()
        with pytest.raises(NoAnswer):
            await lost
    await sources.close()
    second.wait_until_ready()
    assert await answers(site, [callers[1]], 1) == ["quota-exhausted"]
    forget = (
        "update sharegate.head set remembers_from = signed_at + 1 from sharegate.quota_hold "
        "returning remembers_from"
    )
    ((forgotten,),) = await ask(site.audit_dsn(), forget)
    await ask(site.audit_dsn(), "select sharegate.sweep_quota()")
    while int(time.time()) * 1000 < forgotten:  # whoever signs now signs in that same second
        await asyncio.sleep(0.05)
    assert await answers(site, [callers[1]], 2) in (
        [200, "quota-exhausted"],
        ["quota-exhausted", 200],
    )


async def test_matters_and_consents_are_confirmed_by_those_who_know(site):
    demand(site, consent="consent matter")
    gateway = site.gateway()
    new_signing_key(site.place / "keys" / "confirm.pem")
    public = base64.b64encode(THEIRS.public_key().public_bytes_raw()).decode()
    async with CaseSystem().listening() as cases, CaseSystem().listening() as consents:
        lines = ['[confirm]\nsigning_key = "keys/confirm.pem"\nseconds = 10.0']
        for group, keeper in (
            ("case_systems.civil-affairs", cases),
            ("consent_registers.housing", consents),
        ):
            lines.append(f'[{group}]\nurl = "{keeper.url}"\npublic = "{public}"')
        gateway.config.write_text("\n".join([gateway.config.read_text(), *lines]))
        gateway.start()
        caller = site.caller("civil-affairs")

        async def asked(**more):
            reply = await send(prepare(caller, site.properties(**more)))
            if reply.status == 200:
                return 200, None
            problem = json.loads(reply.body)
            return problem["type"].rpartition(":")[2], problem.get("pointer")

        async def refuse(question):
            body = answer_to(question, "refused")
            return web.Response(body=body, headers={"Sharegate-Signature": signed(body)})

        assert await asked() == ("consent-missing", "/consent")
        assert consents.questions == []
        assert await asked(consent="TY-2026-7") == (200, None)
        question = json.loads(cases.questions[0][2])
        assert question["persons"] == site.properties()["where"]
        assert question["matter"] == site.properties()["matter"]
        assert json.loads(consents.questions[0][2])["consent"] == "TY-2026-7"
        cases.answer = refuse
        assert await asked(consent="TY-2026-7") == ("matter-unconfirmed", "/matter")
        consents.answer = refuse
        assert await asked(consent="TY-2026-7") == ("consent-missing", "/consent")
        assert len(cases.questions) == 2
        consents.answer = consents.right
    assert await asked(consent="TY-2026-7") == ("consent-missing", "/consent")  # nobody answers
    assert 'settling_failures_total{step="consent"} 1.0' in gateway.metrics()
    leaves = [
        row["leaf"] for row in await ask(site.audit_dsn(), "select leaf from sharegate.entry")
    ]
    assert sum(b'"reason":"consent-missing"' in leaf for leaf in leaves) == 3
    assert sum(b'"reason":"matter-unconfirmed"' in leaf for leaf in leaves) == 1
