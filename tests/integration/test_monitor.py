"""A mirror gives nothing up that it verified; a monitor finds who shows others another log."""

import asyncio
import json
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import SignerKey
from sharegate.audit.quorum import Log, Quorum, Witness, write_quorum
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.cli.main import main
from sharegate.consortium.mirror import Mirror
from sharegate.consortium.monitor import Monitor, Watched
from sharegate.consortium.remote import NotFetched, RemoteLog, asking
from sharegate.consortium.witness_memory import origin_hash
from sharegate.errors import LogDiverged
from sharegate.observe import Alarm, LogAlarm, Mirrored
from tests.integration.searchable import KEY, searchable
from tests.integration.test_sealer import LOG, Sealed
from tests.integration.web_server import listening

AT = 1_900_000_000  # seconds of Unix time
COSIGNERS = [
    Cosigner(f"{n}.example/w", Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))
    for n in (1, 2, 3)
]
OTHER = SignerKey(KEY.name, Ed25519PrivateKey.from_private_bytes(b"\x31" * 32))


class Web(dict):
    """A web server over a directory, and what it says instead; both may change meanwhile."""

    def __init__(self, directory):
        super().__init__()
        self.directory = directory
        self.url = ""
        self.asked = []

    def answer(self, path, _body):
        path = path.removeprefix("/log/").removeprefix("/")
        self.asked.append(path)
        file = self.directory / path
        said = self[path] if path in self else file.read_bytes() if file.is_file() else None
        return (404, b"") if said is None else (200, said)


@contextmanager
def serving(directory):
    web = Web(directory)
    with listening(web.answer) as web.url:
        yield web


@pytest.fixture
async def sealed(database, tmp_path):
    return Sealed(await searchable(database), tmp_path / "sealed")


@pytest.fixture
def web(tmp_path):
    with serving(tmp_path / "sealed") as made:
        yield made


def quorum_of(web):
    """Three witnesses, all at one server; the first is enough."""
    witnesses = {
        f"w{n}": Witness(f"w{n}", each.verifier, f"{web.url}/{each.name}")
        for n, each in enumerate(COSIGNERS)
    }
    return Quorum((Log(LOG, None),), witnesses, rule="w0")


def seen(web, cosigner, note):
    """Have a witness say that this is the newest it saw."""
    web[f"{cosigner.name}/{origin_hash(KEY.name)}/checkpoint"] = note


def forked(size):
    """A checkpoint that the log's key signed over something else."""
    return sign(Checkpoint(KEY.name, size, b"\x66" * 32), KEY)


async def pull(mirror):
    async with asking() as session:
        return await mirror.pull(session)


def files(directory):
    return {
        str(file.relative_to(directory)): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file()
    }


async def test_a_copy_is_the_log_byte_for_byte_however_it_grew(sealed, web, tmp_path):
    mirror = Mirror(tmp_path / "mirror", LOG, f"{web.url}/log/")
    for size in (1, 255, 256, 300, 600):
        await sealed.seal(await sealed.grow(size))
        await pull(mirror)
        assert files(mirror.files) == sealed.files()
        for known in {0, 1, 200, 255, 256, 257, 511, 512, 513, size} & {*range(size + 1)}:
            root = Frontier.empty().extend(sealed.hashes[:known]).root()
            assert mirror._sealer(None).root_at(known) == root
        with pytest.raises(LogDiverged):
            mirror._sealer(None).root_at(size + 1)
    assert main(["audit", "verify", str(mirror.files), "--log-key", LOG.vkey]) == 0
    web.asked.clear()
    await pull(mirror)
    assert web.asked == ["checkpoint"]


async def test_a_bundle_that_became_full_meanwhile_is_cut(sealed, web, tmp_path):
    early = await sealed.grow(200)
    await sealed.seal(await sealed.grow(256))  # the partial files are not there any more
    web["checkpoint"] = early
    mirror = Mirror(tmp_path / "mirror", LOG, web.url)
    await pull(mirror)
    assert mirror.published().size == 200


async def test_an_old_checkpoint_of_the_same_history_takes_nothing_away(sealed, web, tmp_path):
    old = await sealed.grow(10)
    await sealed.seal(await sealed.grow(20))
    mirror = Mirror(tmp_path / "mirror", LOG, web.url)
    await pull(mirror)
    web["checkpoint"] = old
    assert await pull(mirror) == old
    assert mirror.published().size == 20
    assert not mirror.contradicted


BROKEN = {
    "no checkpoint": lambda web: web.update(checkpoint=None),
    "garbage": lambda web: web.update(checkpoint=b"garbage"),
    "another's checkpoint": lambda web: web.update(
        checkpoint=sign(Checkpoint(KEY.name, 1, bytes(32)), OTHER)
    ),
    "no entries": lambda web: web.update({"tile/entries/000.p/5": None}),
    "cut entries": lambda web: web.update({"tile/entries/000.p/5": b"\x00\x05abc"}),
    "endless": lambda web: web.update(checkpoint=b"x" * 2_000_000),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_what_cannot_be_had_changes_nothing(sealed, web, tmp_path, how):
    await sealed.seal(await sealed.grow(5))
    BROKEN[how](web)
    mirror = Mirror(tmp_path / "mirror", LOG, web.url)
    with pytest.raises(NotFetched, match="without end" if how == "endless" else None):
        await pull(mirror)
    assert mirror.published() is None
    assert not mirror.contradicted
    web.clear()
    await pull(mirror)
    assert mirror.published().size == 5


async def test_what_contradicts_the_copy_is_evidence_and_not_followed(sealed, web, tmp_path):
    await sealed.seal(await sealed.grow(20))
    mirror = Mirror(tmp_path / "mirror", LOG, web.url)
    await pull(mirror)
    before = files(mirror.files)
    for size in (7, 20, 25):
        web["checkpoint"] = forked(size)
        web["tile/entries/000.p/25"] = bytes(2) * 25
        with pytest.raises(LogDiverged):
            await pull(mirror)
        assert files(mirror.files) == before
        assert forked(size) in files(mirror.evidence).values()
        assert before["checkpoint"] in files(mirror.evidence).values()
    assert mirror.contradicted


class Clock:
    now = float(AT)

    def __call__(self):
        return self.now


@pytest.fixture
def watch(web, tmp_path):
    """Makes a monitor of the log, and gives it with what it told."""

    def make(**how):
        told, clock = [], Clock()
        watched = Watched(Mirror(tmp_path / "mirror", LOG, web.url), quorum_of(web))
        return Monitor([watched], told.append, clock=clock, **how), told, clock

    return make


async def look(monitor):
    return dict((await monitor.look())[KEY.name])


def shown(sealed, size):
    """What an honest log shows: cosigned a moment ago."""
    return sealed.note(size, *COSIGNERS, at=AT)


async def test_a_log_and_witnesses_that_agree_raise_nothing(sealed, web, watch):
    await sealed.grow(30)
    await sealed.seal(shown(sealed, 30))
    for cosigner, size in zip(COSIGNERS, (30, 30, 12), strict=False):
        seen(web, cosigner, sealed.note(size))
    monitor, told, _ = watch()
    assert await look(monitor) == {}
    assert told == [Mirrored(KEY.name, 30)]


async def test_a_fork_that_one_witness_saw_is_an_alarm_at_once_and_stays(
    sealed, web, watch, tmp_path
):
    await sealed.grow(30)
    await sealed.seal(shown(sealed, 30))
    monitor, told, clock = watch()
    assert await look(monitor) == {}
    seen(web, COSIGNERS[1], forked(12))
    wrong = await look(monitor)
    assert [*wrong] == [Alarm.CONTRADICTED]
    assert "12 entries" in wrong[Alarm.CONTRADICTED]
    assert LogAlarm(KEY.name, "contradicted", False, wrong[Alarm.CONTRADICTED]) in told
    evidence = [*(tmp_path / "mirror" / "evidence").iterdir()]
    assert len(evidence) == 2
    copy = ["--log-key", LOG.vkey, "--files", str(tmp_path / "mirror" / "log")]
    proof = tmp_path / "fork.json"
    assert main(["audit", "prove-fork", *map(str, evidence), *copy, "--out", str(proof)]) == 0
    assert main(["audit", "check-fork", str(proof), "--log-key", LOG.vkey]) == 0
    web.pop(f"{COSIGNERS[1].name}/{origin_hash(KEY.name)}/checkpoint")
    clock.now += 3600
    again, _, _ = watch()  # another process
    for one in (monitor, again):
        assert Alarm.CONTRADICTED in await look(one)
    assert len([each for each in told if isinstance(each, LogAlarm)]) == 1


async def test_a_witness_that_saw_more_is_waited_for_and_then_an_alarm(sealed, web, watch):
    await sealed.grow(40)
    await sealed.seal(shown(sealed, 30))
    seen(web, COSIGNERS[0], sealed.note(35))
    monitor, _, clock = watch(patience=30.0)
    assert await look(monitor) == {}
    clock.now += 20
    seen(web, COSIGNERS[0], sealed.note(40))  # it goes on; what is waited for is the first
    assert await look(monitor) == {}
    await sealed.seal(shown(sealed, 36))
    clock.now += 20
    assert await look(monitor) == {}  # 35 is there, 40 is waited for from now on
    clock.now += 29
    assert await look(monitor) == {}
    clock.now += 1
    assert [*await look(monitor)] == [Alarm.HIDING]
    await sealed.seal(shown(sealed, 40))
    assert await look(monitor) == {}


async def test_silence_is_an_alarm_when_it_lasts(sealed, web, watch):
    await sealed.grow(5)
    await sealed.seal(shown(sealed, 5))
    monitor, told, clock = watch(patience=30.0)
    assert await look(monitor) == {}
    web["checkpoint"] = None
    web[f"{COSIGNERS[2].name}/{origin_hash(KEY.name)}/checkpoint"] = b"garbage"
    assert await look(monitor) == {}
    clock.now += 30
    assert set(await look(monitor)) == {Alarm.SILENT, Alarm.WITNESS}
    web.clear()
    assert await look(monitor) == {}
    alarms = [(each.alarm, each.usable) for each in told if isinstance(each, LogAlarm)]
    assert alarms == [("silent", False), ("witness", False), ("silent", True), ("witness", True)]
    web["checkpoint"] = None
    assert await look(monitor) == {}  # its patience begins anew


async def test_what_no_quorum_cosigned_lately_is_an_alarm(sealed, web, watch):
    await sealed.grow(5)
    await sealed.seal(shown(sealed, 5))
    monitor, _, clock = watch(patience=0.0)
    clock.now = AT + 120.0
    assert await look(monitor) == {}
    clock.now += 1
    assert [*await look(monitor)] == [Alarm.UNWITNESSED]
    web["checkpoint"] = sealed.note(5)  # without any line
    assert (await look(monitor))[Alarm.UNWITNESSED] == "cosigned by no quorum"


# --- as an operator runs it -----------------------------------------------------------------------


async def test_the_commands_say_what_is_wrong_and_end_so(sealed, web, tmp_path, capsys):
    await sealed.seal(await sealed.grow(300))
    config = tmp_path / "monitor.toml"
    (tmp_path / "quorum").write_bytes(write_quorum(quorum_of(web)))
    config.write_text(
        f'state = "watched"\n[[logs]]\nkey = "{LOG.vkey}"\nurl = "{web.url}"\nquorum = "quorum"\n'
    )

    def monitor():
        return main(["monitor", "--config", str(config), "--once"])

    def mirror():
        out = str(tmp_path / "mirror")
        return main(["mirror", web.url, "--log-key", LOG.vkey, "--out", out, "--once"])

    assert await asyncio.to_thread(mirror) == 0
    assert "300 entries of audit.sharegate.example are in" in capsys.readouterr().out
    assert await asyncio.to_thread(monitor) == 1
    assert "unwitnessed: cosigned by no quorum" in capsys.readouterr().out
    config.write_text(config.read_text().replace('quorum = "quorum"\n', ""))
    assert await asyncio.to_thread(monitor) == 0
    assert capsys.readouterr().out == f"ok     {KEY.name}\n"
    web["checkpoint"] = forked(300)
    assert await asyncio.to_thread(monitor) == 1
    assert "contradicted: two histories of 300 entries" in capsys.readouterr().out
    assert await asyncio.to_thread(mirror) == 1
    assert "two histories of 300 entries" in capsys.readouterr().err
    notes = [str(each) for each in (tmp_path / "mirror" / "evidence").iterdir()]
    assert len(notes) == 2
    assert main(["audit", "prove-fork", *notes, "--log-key", LOG.vkey]) == 0
    assert json.loads(capsys.readouterr().out)


WRONG = [
    ('state = "s"\n', "logs"),
    ('state = "s"\n[[logs]]\nkey = "x"\nurl = "http://a"\n', "logs.key"),
    (f'state = "s"\n[[logs]]\nkey = "{LOG.vkey}"\nurl = "ftp://a"\n', "url"),
    (f'state = "s"\n[[logs]]\nkey = "{LOG.vkey}"\nurl = "http://a"\nmore = 1\n', "more"),
    (f'state = "s"\n[[logs]]\nkey = "{LOG.vkey}"\nurl = "http://a"\nquorum = "no"\n', "no"),
    (2 * f'[[logs]]\nkey = "{LOG.vkey}"\nurl = "http://a"\n' + "\n", "state"),
]


@pytest.mark.parametrize(("text", "named"), WRONG)
def test_a_monitors_faulty_settings_are_named(tmp_path, capsys, text, named):
    config = tmp_path / "monitor.toml"
    config.write_text(text)
    assert main(["monitor", "--config", str(config), "--once"]) == 1
    assert named in capsys.readouterr().err
    assert main(["monitor", "--config", str(tmp_path / "none"), "--once"]) == 1


async def test_evidence_does_not_fill_the_disk(sealed, web, tmp_path):
    await sealed.seal(await sealed.grow(20))
    mirror = Mirror(tmp_path / "mirror", LOG, web.url)
    await pull(mirror)
    for n in range(70):
        web["checkpoint"] = sign(Checkpoint(KEY.name, 20, bytes([n]) * 32), KEY)
        with pytest.raises(LogDiverged):
            await pull(mirror)
    assert len([*mirror.evidence.iterdir()]) == 64
    assert web["checkpoint"] not in files(mirror.evidence).values()


async def test_bundles_are_fetched_once_each(sealed, web, tmp_path):
    await sealed.seal(await sealed.grow(600))
    await pull(Mirror(tmp_path / "mirror", LOG, web.url))
    assert len(web.asked) == len(set(web.asked))
    async with asking() as session:
        remote = RemoteLog(session, web.url, 600, tmp_path)
        leaves = await remote.leaves(256, 300)
    assert [leaf_hash(each) for each in leaves] == sealed.hashes[256:556]


async def test_nothing_listens_is_said(tmp_path):
    with pytest.raises(NotFetched, match="gives no answer"):
        await pull(Mirror(tmp_path / "mirror", LOG, "http://127.0.0.1:9"))
    async with asking() as session:
        remote = RemoteLog(session, "http://127.0.0.1:9", 1, tmp_path)
        with pytest.raises(NotFetched):
            await remote.leaves(0, 1)
