"""Old entries leave the database for files; everything that is left is proven as before."""

import asyncio
import json
import shutil

import asyncpg
import pytest

from sharegate.cli.call import prepare, send
from sharegate.cli.main import main
from sharegate.consortium.archive import Archive
from sharegate.record.archiving import Archiving
from sharegate.record.migrate import provisioned_erasure
from tests.faults.callers import asking
from tests.integration.audit_database import ask, until
from tests.integration.test_audit_reads import ANSWER, core_of, entries, office, run
from tests.integration.test_erasing import aged, erase
from tests.postgres import on_a_thread

__all__ = ["aged", "office"]  # the fixtures

SIZE = 512


class Archived:
    """A site, and where its log's files are and the details go."""

    def __init__(self, site, place):
        self.site = site
        self.files, self.details = place / "files", place / "details"
        self.config = str(site.gateways[0].config)

    def seal(self, out=None):
        return main(["seal", "--once", "--config", self.config, "--out", str(out or self.files)])

    def archive(self, before=SIZE, person="op-er", **changed):
        site = self.site
        chosen = {
            "dsn": provisioned_erasure(site.server.dsn, site.audit_database),
            "files": str(self.files),
            "details": str(self.details),
        } | changed
        options = [part for name, value in chosen.items() for part in (f"--{name}", value)]
        return run(site, "archive", str(before), *options, person=person)

    def verify(self, *more):
        key = self.site.log_key
        return main(["audit", "verify", str(self.files), "--log-key", key, *more])

    def ask(self, statement):
        return on_a_thread(ask(self.site.audit_dsn(), statement))


async def grown(site, size):
    """Ask until the log has so many entries that are signed, kept and projected."""
    question = site.properties
    async with asking(site.caller("civil-affairs"), question, callers=16) as load:
        while len(load.asked) < size:
            await asyncio.sleep(0.05)

    async def followed():
        (row,) = await ask(
            site.audit_dsn(),
            "select h.size = p.size and exists (select from sharegate.checkpoint c "
            "where c.size = h.size) from sharegate.head h, sharegate.search_place p",
        )
        return row[0]

    await until(followed)


@pytest.fixture(scope="module")
def filled(office):
    on_a_thread(grown(office, SIZE + 100))
    return office


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("archive")


@pytest.fixture
def made(filled, place):
    """The log's files, as far as it is signed."""
    made = Archived(filled, place)
    assert made.seal() == 0
    return made


def test_what_is_young_or_held_or_not_published_stays(made, aged, capsys):
    before = made.ask("select count(*) from sharegate.entry")[0][0]
    for size, why in ((10**9, "not so many"), (100, "left before")):
        # Of 100, none fill a bundle: there is nothing to do, and nothing is said.
        assert made.archive(size) == (1 if size > SIZE else 0), why
    assert run(aged, "hold", str(ANSWER)) == 0
    assert made.archive() == 1
    assert "an auditor holds" in capsys.readouterr().err
    assert run(aged, "hold", str(ANSWER), "--lift") == 0
    dsn = provisioned_erasure(aged.server.dsn, aged.audit_database)
    said = on_a_thread(ask(dsn, f"select sharegate.archive({SIZE}, {ANSWER}, '', '', 0)"))
    assert said[0][0] == "untold"  # that entry says something else
    assert made.verify("--details", str(made.details)) == 1
    assert "has no details" in capsys.readouterr().err
    assert made.archive(person="ma-na") == 1
    assert "this is for the role operate" in capsys.readouterr().err
    assert made.archive(files=str(made.details)) == 1
    whole = (made.files / "tile/entries/000").read_bytes()
    (made.files / "tile/entries/000").write_bytes(whole[:-1] + b"!")
    assert made.archive() == 1
    assert "entry 255: the bytes are not those" in capsys.readouterr().err
    (made.files / "tile/entries/000").write_bytes(whole)
    after = made.ask("select count(*) from sharegate.entry")[0][0]
    assert after == before + 2  # the hold, and that it was lifted
    assert {core_of(each)["kind"] for each in entries(aged)} & {"archive"} == set()


def test_a_young_log_is_retained(made, capsys):
    assert made.archive() == 1
    assert "must be kept longer" in capsys.readouterr().err
    assert not made.details.exists()


def test_old_entries_leave_and_all_that_stays_is_proven(made, aged, capsys):
    assert erase(aged, ANSWER, person="ho-us") == 0
    assert made.seal() == 0
    receipt_of = core_of(entries(aged)[SIZE + 10])
    capsys.readouterr()
    assert made.archive(SIZE + 77) == 0  # in whole bundles
    assert f"{SIZE} entries left the database" in capsys.readouterr().out
    left = entries(aged)
    assert left[0]["seq"] == SIZE
    told = left[-1]
    assert core_of(told)["kind"] == "archive"
    assert core_of(told)["by"] == "op-er"
    assert core_of(told)["facts"]["to"] == SIZE

    assert main(["audit", "verify", "--config", made.config]) == 0
    said = capsys.readouterr().out
    assert f"archived   the first {SIZE} entries" in said
    assert made.seal() == 0
    for whole in (made.details, made.details.with_name("lost")):
        assert made.verify("--details", str(whole)) == (0 if whole.exists() else 1)
    said = capsys.readouterr()
    assert f"details    of the first {SIZE} entries are theirs" in said.out
    assert "detail/000 is missing" in said.err
    assert made.archive(SIZE) == 0  # again, as where it was broken off
    assert "0 entries left" in capsys.readouterr().out

    reply = on_a_thread(send(prepare(aged.caller("civil-affairs"), aged.properties())))
    assert reply.status == 200  # and the gateway goes on
    caller = aged.gateways[0].config.parent / "callers" / "civil-affairs.toml"
    fetch = ["receipt", reply.exchange_id, "--as", str(caller)]
    assert main(fetch) == 0
    assert run(aged, "show", str(SIZE + 10)) == 0
    assert receipt_of["kind"] in capsys.readouterr().out
    assert run(aged, "show", str(ANSWER)) == 1
    assert f"among the {SIZE} that archives alone have" in capsys.readouterr().err

    assert made.ask(f"select from sharegate.search_entry where seq < {SIZE}") == []
    assert made.ask(f"select from sharegate.search_person where seq < {SIZE}") == []
    rebuilt = ["project", "--config", made.config, "--rebuild", "--once"]
    rows = made.ask("select count(*), min(seq) from sharegate.search_entry")
    assert main(rebuilt) == 0
    assert made.ask("select count(*), min(seq) from sharegate.search_entry")[0][1] == SIZE
    assert rows[0][1] == SIZE
    capsys.readouterr()

    key = receipt_of["caller"]["key"]
    relied = ("relied", "--member-key", key, "--since", "2020-01-01T00:00:00Z")
    assert run(aged, *relied, "--json") == 0
    assert json.loads(capsys.readouterr().out)["archived"] == SIZE
    assert run(aged, *relied) == 0
    assert f"from {SIZE} on (archives have those before)" in capsys.readouterr().out

    (fresh := made.files.with_name("fresh")).mkdir()
    assert made.seal(fresh) == 1
    assert "left for an archive" in capsys.readouterr().err


def test_an_archived_entry_is_shown_proven_and_opened_from_the_files(made, aged, capsys):
    office_key = str(aged.place / "keys" / "audit-office.detail.pem")
    read = ["--files", str(made.files), "--details", str(made.details)]
    assert run(aged, "show", str(ANSWER + 5), "--open", "--office-key", office_key, *read) == 0
    assert f"body.matter: {aged.properties()['matter']}" in capsys.readouterr().out
    assert core_of(entries(aged)[-1])["kind"] == "audit-read"
    assert run(aged, "show", str(ANSWER), "--open", "--office-key", office_key, *read) == 0
    assert "its detail is erased by ho-us" in capsys.readouterr().out
    assert run(aged, "show", "99999", *read) == 1
    assert "the files have" in capsys.readouterr().err
    assert run(aged, "show", str(ANSWER), *read[:2]) == 1
    assert "go together" in capsys.readouterr().err


def test_a_gateway_starts_over_a_log_whose_beginning_is_archived(made, aged, capsys):
    (gateway,) = aged.gateways
    assert gateway.stop() == 0
    gateway.start()
    reply = on_a_thread(send(prepare(aged.caller("civil-affairs"), aged.properties())))
    assert reply.status == 200
    known = made.ask("select archived_frontier from sharegate.head")[0][0]
    for edge in ("sha256('')", "''", "'x'"):
        made.ask(f"update sharegate.head set archived_frontier = {edge}")
        assert main(["audit", "verify", "--config", made.config]) == 1
    made.ask(f"update sharegate.head set archived_frontier = decode('{known.hex()}', 'hex')")
    assert main(["audit", "verify", "--config", made.config]) == 0
    capsys.readouterr()


def changed_line(change):
    def damage(file):
        lines = file.read_bytes().splitlines(keepends=True)
        line = json.loads(lines[7])
        change(line)
        lines[7] = json.dumps(line).encode() + b"\n"
        file.write_bytes(b"".join(lines))

    return damage


def swapped(file):
    lines = file.read_bytes().splitlines(keepends=True)
    lines[7], lines[8] = lines[8], lines[7]
    file.write_bytes(b"".join(lines))


DAMAGE = {
    "a line less": lambda file: file.write_bytes(file.read_bytes().rpartition(b"{")[0]),
    "swapped": swapped,
    "empty": lambda file: file.write_bytes(b""),
    "gone": lambda file: file.unlink(),
    "no JSON": lambda file: file.write_bytes(b"{" + file.read_bytes()),
    "another id": changed_line(lambda line: line.update(id="AAAA")),
    "another ciphertext": changed_line(lambda line: line.update(sealed="AAAA")),
    "not base64": changed_line(lambda line: line.update(sealed="!")),
    "a member more": changed_line(lambda line: line.update(more="x")),
    "the key gone": changed_line(lambda line: line.update(wrapped=None)),
    "the key gone, and another entry named": changed_line(
        lambda line: line.update(wrapped=None, erased_by=3)
    ),
    "the key gone, and none such named": changed_line(
        lambda line: line.update(wrapped=None, erased_by=10**6)
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_archive_that_is_not_whole_is_found(made, tmp_path, capsys, damage):
    details = tmp_path / "details"
    shutil.copytree(made.details, details)
    assert made.verify("--details", str(details)) == 0
    DAMAGE[damage](details / "detail" / "001")
    assert made.verify("--details", str(details)) == 1
    said = capsys.readouterr().err
    assert any(each in said for each in ("detail/001", "entry 263", "entry 7"))
    assert "canary" not in said


HOLD = Archive.hold


def erased(site, index):
    """Whether the detail is erased by now, by whose data it is of."""
    return entries(site)[index - SIZE]["wrapped"] is None or erase(site, index, person="ho-us") == 0


async def fails(*_):
    raise OSError("broken off")


def test_more_leaves_only_onto_an_archive_that_is_whole(made, aged, tmp_path, capsys, monkeypatch):
    """Broken off before the entries are said to be gone, and before they are, it is done again."""
    on_a_thread(grown(aged, 256))
    assert made.seal() == 0
    details = tmp_path / "details"
    assert made.archive(SIZE + 256, details=str(details)) == 1
    assert "is missing or damaged" in capsys.readouterr().err
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(
            Archive, "hold", lambda self, n: (n == SIZE or erased(aged, SIZE + 3)) and HOLD(self, n)
        )
        assert made.archive(SIZE + 256) == 1
    assert "a detail was erased meanwhile" in capsys.readouterr().err
    assert made.archive(SIZE + 256) == 1
    assert "the files end before" in capsys.readouterr().err
    assert made.seal() == 0
    with monkeypatch.context() as broken:
        broken.setattr(Archiving, "archive", fails)
        assert made.archive(SIZE + 256) == 1
    assert entries(aged)[0]["seq"] == SIZE
    with monkeypatch.context() as broken:
        broken.setattr(Archiving, "detach", fails)
        assert made.archive(SIZE + 256) == 1
    assert made.ask("select archived from sharegate.head")[0][0] == SIZE + 256
    assert entries(aged)[0]["seq"] == SIZE
    assert main(["audit", "verify", "--config", made.config]) == 0
    assert erase(aged, SIZE + 4, person="ho-us") == 1  # the archive has it already
    assert "no such entry" in capsys.readouterr().err
    assert made.archive(SIZE + 256) == 0
    assert "256 entries left" in capsys.readouterr().out
    assert made.verify("--details", str(made.details)) == 0
    assert main(["audit", "verify", "--config", made.config]) == 0
    written = [core_of(each) for each in entries(aged)]
    said = [core["facts"] for core in written if core["kind"] == "archive"]
    assert [facts["from"] for facts in said[-2:]] == [SIZE, SIZE]


def test_nothing_goes_that_no_archive_has(made):
    dsn = made.site.server.dsn(made.site.audit_database)
    size = made.ask("select size from sharegate.head")[0][0]
    with pytest.raises(asyncpg.PostgresError, match="the audit log only grows"):
        on_a_thread(ask(dsn, f"delete from sharegate.entry where seq = {size - 1}"))
