"""Signed rules at a running gateway, and the commands that sign them."""

import asyncio
import shutil
import subprocess
import sys

import pytest

from sharegate.audit.chain import parse_leaf
from sharegate.cli.call import prepare, send
from sharegate.cli.demo.stage import sign_everything
from sharegate.cli.keys import new_signing_key
from sharegate.cli.main import main
from sharegate.record.entry import read_core
from tests.faults.callers import logged
from tests.site import AT_START, POLICIES


async def acts(site):
    """The facts of every act, in order."""
    entries = sorted((await logged(site)).values(), key=lambda one: one.seq)
    cores = [read_core(parse_leaf(one.leaf).core) for one in entries]
    return [(core["kind"], core["facts"]) for core in cores if "facts" in core]


async def until(site, count):
    async with asyncio.timeout(60):
        while len(found := await acts(site)) < count:
            await asyncio.sleep(0.05)
    return found


def serve(gateway):
    return subprocess.run(
        [sys.executable, "-m", "sharegate", "serve", "--config", str(gateway.config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def widen(site, limit):
    path = site.policies / "housing" / "grants.csv"
    text = path.read_text()
    assert ",20,,channel" in text
    path.write_text(text.replace(",20,,channel", f",{limit},,channel"))


async def test_what_is_refused_is_an_entry_and_what_was_in_force_answers(site):
    gateways = [site.gateway(), site.gateway()]
    for gateway in gateways:
        gateway.start()
    found = await acts(site)
    assert [facts["set"] for _, facts in found] == [
        "registry", "root", "civil-affairs", "housing", "tax",
    ]  # fmt: skip
    assert len(found) == AT_START  # by two gateways: each written once
    stranger = site.place / "keys" / "stranger.pem"
    new_signing_key(stranger)
    widen(site, 5)
    folder = str(site.policies / "housing")
    assert main(["policy", "sign", folder, "--key", str(stranger)]) == 0
    found = await until(site, AT_START + 1)
    kind, facts = found[-1]
    assert (kind, facts["set"], facts["effect"], facts["fault"]) == (
        "policy", "housing", "refused", "foreign-signed",
    )  # fmt: skip
    for gateway in gateways:
        reply = await send(prepare(site.caller("civil-affairs", gateway), site.properties()))
        assert reply.status == 200
        metric = 'sharegate_rules_refused_total{fault="foreign-signed"} 1.0'
        async with asyncio.timeout(60):
            while metric not in gateway.metrics():
                await asyncio.sleep(0.05)
    assert len(await acts(site)) == AT_START + 1  # both saw it; it is one entry
    key = str(site.place / "keys" / "housing.policy.pem")
    assert main(["policy", "sign", folder, "--key", key]) == 0
    found = await until(site, AT_START + 2)
    assert found[-1][1]["effect"] == "in-force"
    assert found[-1][1]["version"] == 2  # the stranger's was never one of housing's
    assert [gateway.stop() for gateway in gateways] == [0, 0]


async def test_it_does_not_start_on_rules_nobody_signed_or_that_are_older(site):
    gateway = site.gateway()
    grants = site.policies / "housing" / "grants.csv"
    first = grants.read_bytes(), (grants.parent / "policy.note").read_bytes()
    gateway.start()
    widen(site, 5)
    sign_everything(site.place)
    await until(site, AT_START + 1)
    assert gateway.stop() == 0
    grants.write_bytes(first[0])
    said = serve(gateway)
    assert said.returncode == 1
    assert "policy.note: was signed over another grants.csv" in said.stderr
    (grants.parent / "policy.note").write_bytes(first[1])
    said = serve(gateway)
    assert said.returncode == 1
    assert "policy.note: is version 1, and 2 was in force" in said.stderr
    (site.place / "registry.note").unlink()
    said = serve(gateway)
    assert said.returncode == 1
    assert "registry.note: is missing: this is not signed" in said.stderr


def test_there_is_no_unsigned_mode(site):
    gateway = site.gateway()
    text = gateway.config.read_text()
    before, _, rest = text.partition("[trust]")
    gateway.config.write_text(before + "[audit_log]" + rest.partition("[audit_log]")[2])
    said = serve(gateway)
    assert said.returncode == 1
    assert "`trust`" in said.stderr


@pytest.mark.parametrize("threshold", [0, 1])
def test_no_administrator_is_enough_alone(site, threshold):
    gateway = site.gateway()
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace("threshold = 2", f"threshold = {threshold}"))
    said = serve(gateway)
    assert said.returncode == 1
    assert "trust" in said.stderr


def test_the_commands_that_sign_say_what_they_signed(site, capsys):
    keys, registry = site.place / "keys", site.place / "registry.toml"
    administrator = ["--key", str(keys / "administrator-three.pem"), "--as", "administrator-three"]
    made = main(["key", "rules", administrator[1], "--origin", "administrator-three"])
    assert (made, capsys.readouterr().out.split("+")[0]) in {(0, "administrator-three"), (1, "")}
    assert main(["registry", "sign", str(registry), *administrator]) == 0
    assert "registry.toml version 1, digest " in capsys.readouterr().out
    lines = (site.place / "registry.note").read_text().splitlines()
    assert [line.split(" ")[1] for line in lines[-3:]] == [
        "administrator-one", "administrator-two", "administrator-three",
    ]  # fmt: skip
    assert main(["policy", "sign", str(site.policies), *administrator]) == 0
    assert "root version 1" in capsys.readouterr().out
    assert main(["policy", "sign", str(site.policies), *administrator[:2]]) == 1
    assert "say which administrator signs" in capsys.readouterr().err
    stray = site.policies / "tax" / "grant.csv"
    stray.write_text("id\n")
    tax = ["policy", "sign", str(stray.parent), "--key", str(keys / "tax.policy.pem")]
    assert main(tax) == 1
    assert "grant.csv: is no policy file" in capsys.readouterr().err
    stray.unlink()
    (stray.parent / "policy.note").write_text("once upon a time\n")
    assert main(tax) == 1
    assert "is no note of such a set" in capsys.readouterr().err


def test_common_rules_are_signed_whole_or_not_at_all(tmp_path, capsys):
    new_signing_key(tmp_path / "one.pem")
    folder = tmp_path / "policies"
    folder.mkdir()
    sign = ["policy", "sign", str(folder), "--key", str(tmp_path / "one.pem"), "--as", "one"]
    for file, says in (
        ("purposes.csv", "has common rules, but no model.conf and no posts.csv"),
        ("model.conf", "has common rules, but no posts.csv"),
    ):
        shutil.copy(POLICIES / file, folder)
        assert main(sign) == 1
        assert says in capsys.readouterr().err
    shutil.copy(POLICIES / "posts.csv", folder)
    assert main(sign) == 0
    (folder / "housing").mkdir()
    shutil.copy(POLICIES / "housing" / "resources.toml", folder / "housing")
    shutil.copy(POLICIES / "purposes.csv", folder / "housing")  # does not belong there
    assert main([*sign[:2], str(folder / "housing"), *sign[3:]]) == 1
    assert "purposes.csv: is no policy file" in capsys.readouterr().err
