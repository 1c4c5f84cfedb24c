"""A consortium of five, from keys the members make themselves, by the commands alone."""

import contextlib
import io
import re
import signal

import pytest

from sharegate.audit.note import VerifierKey
from sharegate.audit.quorum import read_quorum
from sharegate.cli.call import prepare, send
from sharegate.cli.main import main
from sharegate.consortium.members import least, read_consortium
from sharegate.consortium.monitor_settings import load_monitor_settings
from sharegate.consortium.witness_settings import load_witness_settings
from tests.integration.test_monitor import serving
from tests.integration.witnessed_site import Member as Running
from tests.integration.witnessed_site import witnessed
from tests.postgres import on_a_thread
from tests.site import free_port

NAMES = ("civil-affairs", "housing", "tax", "justice", "health")


def sharegate(*arguments):
    """One command: its code, what it prints, and what it complains of."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(each) for each in arguments])
    return code, out.getvalue(), err.getvalue()


def done(*arguments):
    code, out, err = sharegate(*arguments)
    assert code == 0, err
    return out


class Administration:
    """Two administrators, and the list they keep."""

    def __init__(self, place):
        self.place = place
        self.list = place / "consortium.toml"
        self.keys = [
            done("key", "rules", place / f"{name}.pem", "--origin", name).strip()
            for name in ("one", "two")
        ]
        done("consortium", "init", self.list, "--name", "province-33")

    def invite(self, out):
        named = [word for key in self.keys for word in ("--administrator", key)]
        return done("consortium", "invite", self.list, *named, "--out", out)

    def admit(self, application, by=("one", "two")):
        done("consortium", "admit", self.list, application)
        self.sign(by)

    def sign(self, by=("one", "two")):
        for name in by:
            key = self.place / f"{name}.pem"
            done("consortium", "sign", self.list, "--key", key, "--as", name)


class Home:
    """One member's directory, and its witness."""

    def __init__(self, place, name, log_key=None, url=None):
        self.place = place / name
        self.place.mkdir()
        self.name = name
        self.port = free_port()
        self.url = url or f"http://127.0.0.1:{free_port()}"
        self.origin = f"{name}.example/log"
        self.log_key = log_key or self.place / "log.pem"
        if log_key is None:
            done("key", "log", self.log_key, "--origin", self.origin)
        self.running = Running(self.place, name, self.port, [])

    def join(self, invitation, origin=None):
        done(
            "consortium", "join", invitation, "--home", self.place, "--name", self.name,
            "--origin", origin or self.origin, "--log-key", self.log_key, "--url", self.url,
            "--witness-url", self.running.url,
        )  # fmt: skip
        return self.place / f"{self.name}.application"

    def apply(self, listed, *more):
        return sharegate(
            "consortium", "apply", listed, "--home", self.place,
            "--listen", f"127.0.0.1:{self.port}", *more,
        )  # fmt: skip


async def answered(site):
    answer = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert answer.status == 200


@pytest.fixture
def administration(tmp_path):
    (tmp_path / "administration").mkdir()
    return Administration(tmp_path / "administration")


@pytest.fixture
def invitation(administration, tmp_path):
    file = tmp_path / "invitation.toml"
    said = administration.invite(file)
    assert re.search(r"SHA-256 [0-9a-f]{64}", said)
    return file


def test_from_nothing_to_receipts_that_the_others_vouch_for(
    site, administration, invitation, tmp_path
):
    gateway = site.gateway()
    log_pem = (
        gateway.config.parent / re.search(r'signing_key = "([^"]+)"', gateway.config.read_text())[1]
    )
    origin = VerifierKey.parse(site.log_key).name
    sealed = tmp_path / "sealed"
    homes = [Home(tmp_path, NAMES[0], log_pem, f"http://127.0.0.1:{free_port()}")]
    homes += [Home(tmp_path, name) for name in NAMES[1:]]
    for home in homes:
        administration.admit(home.join(invitation, origin if home is homes[0] else None))
    for home in homes:
        code, out, err = home.apply(administration.list, "--fresh")
        assert code == 0, err
        assert "3 of 4 must cosign" in out
        assert "watches 4 logs, 4 of them from now on" in out
    quorum = read_quorum((homes[0].place / "quorum").read_bytes())
    assert set(quorum.witnesses) == set(NAMES[1:])  # its own never counts
    assert quorum.groups["members"].least == 3
    with contextlib.ExitStack() as stack:
        for home in homes[1:]:
            stack.callback(home.running.stop)
            home.running.start()
        witnessed(gateway, homes[0].place / "quorum")
        gateway.start()
        on_a_thread(answered(site))
        done("seal", "--config", gateway.config, "--out", sealed, "--once")
        web = stack.enter_context(serving(sealed))
        text = administration.list.read_text().replace(homes[0].url, web.url)
        administration.list.write_text(text.replace("version = 6", "version = 7"))
        administration.sign()
        assert homes[0].apply(administration.list)[0] == 0
        code, out, _ = sharegate(
            "consortium", "status", administration.list, "--home", homes[0].place
        )
        assert code == 1  # the others have no logs yet
        mine = [line for line in out.splitlines() if line.startswith("civil-affairs")]
        assert len(mine) == 1
        assert re.search(r"\d+ entries, cosigned by [34] of 4, \d+ s ago", mine[0])
        assert "housing                  WRONG: its log gives no answer" in out
        homes[1].running.stop(signal.SIGKILL)
        _, out, _ = sharegate("consortium", "status", administration.list, "--home", homes[2].place)
        assert "WRONG: witness housing gives no answer" in out


def test_a_latecomer_begins_where_the_others_are(administration, invitation, tmp_path):
    homes = [Home(tmp_path, name) for name in NAMES[:3]]
    for home in homes[:2]:
        administration.admit(home.join(invitation))
    assert all(home.apply(administration.list, "--fresh")[0] == 0 for home in homes[:2])
    administration.admit(homes[2].join(invitation))
    code, _, err = homes[2].apply(administration.list)
    assert code == 1
    assert "gives no answer" in err  # a peer that is silent could be the one who knows
    with contextlib.ExitStack() as stack:
        for home in homes[:2]:
            stack.callback(home.running.stop)
            home.running.start()
        assert homes[2].apply(administration.list)[0] == 0
        # Those who run learn of the newcomer when they apply the list, which a running witness
        # does not let them.
        code, _, err = homes[0].apply(administration.list)
        assert code == 1
        assert "is used by another witness" in err
        homes[0].running.stop()
        code, out, _ = homes[0].apply(administration.list)
        assert code == 0
        assert "watches 2 logs, 1 of them from now on" in out
    assert (homes[0].place / "witness.toml").read_text().count("example/log+") == 2
    assert homes[0].apply(administration.list)[1].count("0 of them from now on") == 1


def test_only_what_enough_administrators_signed_is_applied(administration, invitation, tmp_path):
    home, other = Home(tmp_path, "tax"), Home(tmp_path, "housing")
    administration.admit(Home(tmp_path, "justice").join(invitation), by=())
    administration.admit(home.join(invitation), by=())
    assert "is missing: this is not signed" in home.apply(administration.list, "--fresh")[2]
    administration.sign(by=("one",))
    assert "signed by 1 of the 2" in home.apply(administration.list, "--fresh")[2]
    administration.sign(by=("two",))
    before = (
        administration.list.read_bytes(),
        (administration.list.with_suffix(".note")).read_bytes(),
    )
    assert home.apply(administration.list, "--fresh")[0] == 0
    altered = before[0].replace(b"127.0.0.1", b"127.0.0.2")
    administration.list.write_bytes(altered)
    assert "was signed over another" in home.apply(administration.list)[2]
    administration.list.write_bytes(before[0])
    administration.admit(other.join(invitation))
    assert home.apply(administration.list, "--fresh")[0] == 0
    administration.list.write_bytes(before[0])
    administration.list.with_suffix(".note").write_bytes(before[1])
    assert "version 4 was applied already" in home.apply(administration.list)[2]
    assert "holds the witness keys of no member" in other.apply(administration.list, "--fresh")[2]


def test_a_lone_member_has_nobody_to_watch(administration, invitation, tmp_path):
    home, other = Home(tmp_path, "tax"), Home(tmp_path, "housing")
    administration.admit(home.join(invitation))
    assert "nobody to watch" in home.apply(administration.list, "--fresh")[2]
    assert not (home.place / "witness.toml").exists()
    administration.admit(other.join(invitation))
    assert home.apply(administration.list, "--fresh")[0] == 0
    settings = home.place / "witness.toml"
    settings.write_text(settings.read_text() + 'admin = "127.0.0.1:0"\n')
    watch = home.place / "monitor.toml"
    watch.write_text('admin = "127.0.0.1:1"\n' + watch.read_text())
    elsewhere = ("consortium", "apply", administration.list, "--home", home.place, "--listen")
    assert "is said once: change it in" in sharegate(*elsewhere, "127.0.0.1:2")[2]
    administration.admit(Home(tmp_path, "justice").join(invitation))
    assert home.apply(administration.list, "--fresh")[0] == 0
    assert load_witness_settings(settings).admin == "127.0.0.1:0"  # what was set stays
    assert len(load_witness_settings(settings).logs) == 2
    watching, watched = load_monitor_settings(watch)
    assert (watching.admin, len(watched)) == ("127.0.0.1:1", 2)


def test_an_application_is_of_whoever_holds_the_log_s_key(administration, invitation, tmp_path):
    home, thief = Home(tmp_path, "tax"), Home(tmp_path, "housing")
    application = home.join(invitation)
    for forged in (
        application.read_bytes().replace(b"http://127", b"http://128", 1),
        application.read_bytes().replace(b"tax\n", b"taxes\n", 1),
        b"",
    ):
        application.with_name("forged").write_bytes(forged)
        code, _, _ = sharegate(
            "consortium", "admit", administration.list, application.with_name("forged")
        )
        assert code == 1
    administration.admit(application)
    thief.origin = home.origin  # another key for the same origin
    done("key", "log", thief.place / "again.pem", "--origin", home.origin)
    thief.log_key = thief.place / "again.pem"
    code, _, err = sharegate("consortium", "admit", administration.list, thief.join(invitation))
    assert code == 1
    assert "two members have one origin" in err
    assert [each.name for each in read_consortium(administration.list).member] == ["tax"]
    thief.name, thief.origin = "tax", "other.example/log"  # a member's name, for another log
    done("key", "log", thief.place / "other.pem", "--origin", thief.origin)
    thief.log_key = thief.place / "other.pem"
    said = done("consortium", "admit", administration.list, thief.join(invitation))
    assert "NOTE: it takes the place of tax, whose log had another key" in said
    administration.admit(home.join(invitation))  # again: it takes its own place
    assert read_consortium(administration.list).version == 4


REST = 'log_key = "x"\nurl = "x"\nwitness = ["x"]\nwitness_url = "x"\n'
WRONG = {
    "unknown": ('name = "x"\nversion = 1\nmore = 1\n', "more"),
    "no version": ('name = "x"\n', "version"),
    "member": (f'name = "x"\nversion = 1\n[[member]]\nname = "A b"\n{REST}', "name"),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_faulty_list_is_named(tmp_path, how):
    text, named = WRONG[how]
    (tmp_path / "consortium.toml").write_text(text)
    code, _, err = sharegate("consortium", "admit", tmp_path / "consortium.toml", tmp_path / "no")
    assert code == 1
    assert named in err


def test_one_administrator_alone_is_no_trust(administration, tmp_path):
    code, _, err = sharegate(
        "consortium", "invite", administration.list, "--administrator", administration.keys[0],
        "--out", tmp_path / "i",
    )  # fmt: skip
    assert code == 1
    assert "administrator" in err
    named = [word for key in administration.keys for word in ("--administrator", key)]
    for threshold in (1, 3):
        asked = ["consortium", "invite", administration.list, *named, "--out", tmp_path / "i"]
        assert sharegate(*asked, "--threshold", threshold)[0] == 1
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("count", range(1, 30))
def test_two_quorums_share_an_honest_witness(count):
    liars = 1 if count >= 4 else 0
    assert 2 * least(count) - count > liars
    assert least(count) <= count
    assert count < 2 or 2 * (least(count) - 1) - count <= liars  # and no more than are needed
