"""Time stamps by an authority that nobody here wrote: OpenSSL's."""

import asyncio
import re
import shutil
import subprocess
from hashlib import sha256

import pytest

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.cli.main import main
from tests.integration.searchable import KEY, searchable
from tests.integration.test_sealer import LOG, Sealed
from tests.integration.web_server import listening

CONFIGURATION = """
[tsa]
default_tsa = one
[one]
dir = {place}
serial = {place}/serial
signer_cert = {place}/authority.pem
signer_key = {place}/authority.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
certs = {place}/authority.pem
[usage]
extendedKeyUsage = critical,timeStamping
[root]
basicConstraints = critical,CA:TRUE
"""


class Authority:
    """A time-stamping authority: `openssl ts` behind a small web server."""

    def __init__(self, place):
        self.place = place
        self.url = ""
        self.status = 200
        self.says = None
        place.mkdir()
        (place / "serial").write_text("01\n")
        (place / "configuration").write_text(CONFIGURATION.format(place=place))
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=root",
                     "-days", "30")  # fmt: skip
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-keyout", "authority.key", "-out", "request",
                     "-subj", "/CN=authority")  # fmt: skip
        self.openssl("x509", "-req", "-in", "request", "-CA", "root.pem", "-CAkey", "root.key",
                     "-CAcreateserial", "-days", "30", "-extfile", "configuration",
                     "-extensions", "usage", "-out", "authority.pem")  # fmt: skip

    def openssl(self, *arguments):
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.place, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    def stamp(self, query):
        if self.says is not None:
            return self.says
        (self.place / "query").write_bytes(query)
        self.openssl("ts", "-reply", "-queryfile", "query", "-config", "configuration",
                     "-out", "reply")  # fmt: skip
        return (self.place / "reply").read_bytes()


@pytest.fixture
def authority(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here, so no time-stamping authority was tried")
    made = Authority(tmp_path / "authority")
    with listening(lambda _path, query: (made.status, made.stamp(query))) as made.url:
        yield made


@pytest.fixture
async def sealed(database, tmp_path):
    made = Sealed(await searchable(database), tmp_path / "sealed")
    await made.seal(await made.grow(20))
    return made


def stamped(sealed, authority, roots=None):
    return asyncio.to_thread(
        main,
        ["stamp", str(sealed.place), "--log-key", LOG.vkey, "--authority", authority.url,
         "--roots", str(roots or authority.place / "root.pem"), "--once"],
    )  # fmt: skip


def verified(sealed, authority):
    roots = str(authority.place / "root.pem")
    return main(["audit", "verify", str(sealed.place), "--log-key", LOG.vkey,
                 "--stamp-roots", roots])  # fmt: skip


async def test_every_stamp_holds_and_says_when_the_log_was_how_long(sealed, authority, capsys):
    assert await stamped(sealed, authority) == 0
    assert f"20 entries of {KEY.name}, stamped at 20" in capsys.readouterr().out
    await sealed.seal(await sealed.grow(300))
    assert await stamped(sealed, authority) == 0
    await sealed.seal(await sealed.grow(301))  # grown since
    capsys.readouterr()
    assert verified(sealed, authority) == 0
    said = capsys.readouterr().out
    assert "stamped    20 entries were there at 20" in said
    assert "stamped    300 entries were there at 20" in said
    # As OpenSSL itself sees it.
    authority.openssl(
        "ts", "-verify", "-data", str(sealed.place / "stamps" / "300.checkpoint"),
        "-in", str(sealed.place / "stamps" / "300.tsr"), "-CAfile", "root.pem",
        "-untrusted", "authority.pem",
    )  # fmt: skip


async def test_a_log_that_was_written_anew_has_not_what_was_stamped(sealed, authority, capsys):
    note = sealed.place / "checkpoint"
    kept = note.read_bytes()
    note.write_bytes(sign(Checkpoint(KEY.name, 20, b"\x01" * 32), KEY))  # it showed another then
    assert await stamped(sealed, authority) == 0
    note.write_bytes(kept)
    assert verified(sealed, authority) == 1
    await sealed.seal(await sealed.grow(40))
    capsys.readouterr()
    assert verified(sealed, authority) == 1
    said = capsys.readouterr().out
    assert "entries 0 to 19: the chain holds, but not up to the root" in said
    assert "stamped " not in said


async def test_a_log_that_lost_entries_is_shorter_than_what_was_stamped(sealed, authority, capsys):
    note = sealed.place / "checkpoint"
    kept = note.read_bytes()
    note.write_bytes(sign(Checkpoint(KEY.name, 50, b"\x01" * 32), KEY))
    assert await stamped(sealed, authority) == 0
    note.write_bytes(kept)
    capsys.readouterr()
    assert verified(sealed, authority) == 1
    assert "a checkpoint of 50 entries is known, the files have 20" in capsys.readouterr().err


async def test_a_stamp_of_something_else_is_refused(sealed, authority, tmp_path, capsys):
    assert await stamped(sealed, authority) == 0
    response = sealed.place / "stamps" / "20.tsr"
    good = response.read_bytes()
    authority.says = good  # an old answer to another question: the nonce differs
    assert await stamped(sealed, authority) == 1
    assert "no time stamp over this checkpoint" in capsys.readouterr().err
    authority.says = b"nonsense"
    assert await stamped(sealed, authority) == 1
    authority.says, authority.status = good, 500
    assert await stamped(sealed, authority) == 1
    assert "answers 500" in capsys.readouterr().err
    authority.says, authority.status = None, 200
    assert response.read_bytes() == good

    other = Authority(tmp_path / "other")
    assert await stamped(sealed, authority, other.place / "root.pem") == 1  # not trusted
    assert verified(sealed, other) == 1
    imprint = sha256(response.with_suffix(".checkpoint").read_bytes()).digest()
    moment = re.search(rb"20\d{12}Z", good[good.index(imprint) :])
    for at in (good.index(imprint) + 7, good.index(moment[0]) + 13, len(good) - 5):
        response.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert verified(sealed, authority) == 1
    response.write_bytes(good)
    note = response.with_suffix(".checkpoint")
    kept = note.read_bytes()
    note.write_bytes(kept + kept[kept.index("— ".encode()) :])  # one more line under it
    assert verified(sealed, authority) == 1
    note.unlink()
    assert verified(sealed, authority) == 1
    note.write_bytes(kept)
    assert verified(sealed, authority) == 0


async def test_nobody_answers_or_there_is_nothing_to_stamp(sealed, authority, tmp_path, capsys):
    url, authority.url = authority.url, "http://127.0.0.1:9/"
    assert await stamped(sealed, authority) == 1
    assert "gives no answer" in capsys.readouterr().err
    authority.url = url
    assert await stamped(sealed, authority, tmp_path / "none") == 1
    (tmp_path / "empty").write_text("")
    assert await stamped(sealed, authority, tmp_path / "empty") == 1
    (sealed.place / "checkpoint").unlink()
    assert await stamped(sealed, authority) == 1
    assert not (sealed.place / "stamps").exists()
