"""What is revoked is answered no more, two seconds later, by any gateway; nobody else notices."""

import asyncio
import re
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from sharegate.audit.chain import parse_leaf
from sharegate.cli.demo.stage import sign_everything
from sharegate.record.entry import read_core
from tests.faults.callers import asking, assert_kept, logged, tell

PROMISED_SECONDS = 2.0
MEMBER_KEY = re.compile(r"\n\[\[department\.key\]\]\nkey_id = \"civil-affairs-demo\"\n[^\[]*")
REVOKED_OFFICER = '\n[[revoked_officer]]\ndepartment = "civil-affairs"\nofficer = "zhang.wei"\n'
WITHDRAWN = re.compile(r"(subsistence-allowance-review,[^,]*,[^,]*),.*")


def replace(path, edit):
    """Change a file as an editor does: all of it at once."""
    text = path.read_text(encoding="utf-8")
    changed = edit(text)
    assert changed != text, path
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(changed, encoding="utf-8")
    fresh.replace(path)


def next_registry(edit):
    def edited(text):
        version = int(text.split("\n", 1)[0].removeprefix("version = "))
        return edit(text).replace(f"version = {version}\n", f"version = {version + 1}\n", 1)

    return edited


def no_grant(text):
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if not (",civil-affairs," in line and ",properties," in line)
    )


REVOKED = {
    "grant": ("policies/housing/grants.csv", no_grant, {403}),
    "purpose": ("policies/purposes.csv", lambda text: WITHDRAWN.sub(r"\1,,", text), {403}),
    "key": ("registry.toml", next_registry(lambda text: MEMBER_KEY.sub("", text)), {401, 429}),
    "officer": (
        "registry.toml",
        next_registry(lambda text: text + REVOKED_OFFICER),
        {401, 429},
    ),
}


@asynccontextmanager
async def asked_by_many(site):
    """Two gateways of one site, and four callers at each."""
    gateways = [site.gateway(), site.gateway()]
    async with AsyncExitStack() as stack:
        for gateway in gateways:
            gateway.start()
        yield (
            gateways,
            [
                await stack.enter_async_context(
                    asking(site.caller("civil-affairs", gateway), site.properties, callers=4)
                )
                for gateway in gateways
            ],
        )


@pytest.mark.parametrize("what", REVOKED)
async def test_no_answer_starts_later_than_two_seconds_after(site, what):
    name, edit, refused = REVOKED[what]
    async with asked_by_many(site) as (_, loads):
        for load in loads:
            await load.until_answered(20)
        replace(site.place / name, edit)
        sign_everything(site.place)
        moment, changed_at = time.monotonic(), time.time_ns() // 1_000_000
        for load in loads:  # the moment after the promise, and a while of asking in vain
            while not load.since(moment + PROMISED_SECONDS + 1):
                await asyncio.sleep(0.05)
    for load in loads:
        late = load.since(moment + PROMISED_SECONDS)
        assert late
        assert {one.status for one in late} <= refused, what
        # Before and while it changed, no request was dropped, and none failed.
        assert {one.status for one in load.asked} <= {200} | refused, what
        last = max(one.began for one in load.asked if one.status == 200)
        tell(f"{what}: the last answer began {last - moment:+.2f} s from the change")
    entries = await assert_kept(site, loads[0])
    times = [
        core["time"]
        for core in (read_core(parse_leaf(one.leaf).core) for one in entries.values())
        if core["kind"] == "release"
    ]
    assert max(times) < changed_at + PROMISED_SECONDS * 1000


async def test_an_exchange_of_rules_drops_no_request(site):
    """Twelve versions under load, all of them recorded, every request answered."""
    async with asked_by_many(site) as (gateways, loads):
        for number in range(2, 14):
            replace(
                site.place / "policies/housing/grants.csv",
                lambda text, number=number: re.sub(
                    r"\d\d\d\d-01-01$", f"20{30 + number}-01-01", text, flags=re.MULTILINE
                ),
            )
            sign_everything(site.place)
            answers = [load.until_answered(5) for load in loads]
            await asyncio.gather(*answers)
            await until_in_force(gateways, number)
    for load in loads:
        assert {one.status for one in load.asked} == {200}
    assert len({await acts(site, number) for number in range(1, 14)}) == 1
    await assert_kept(site, loads[1])


async def until_in_force(gateways, loads):
    async with asyncio.timeout(60):
        for gateway in gateways:
            while f"sharegate_rules_loaded_total {loads}.0" not in gateway.metrics():
                await asyncio.sleep(0.05)


async def acts(site, version):
    """How many entries say that housing's rules of this version are in force."""
    cores = [read_core(parse_leaf(one.leaf).core) for one in (await logged(site)).values()]
    return sum(
        core["kind"] == "policy"
        and core["facts"]["set"] == "housing"
        and core["facts"]["version"] == version
        for core in cores
    )
