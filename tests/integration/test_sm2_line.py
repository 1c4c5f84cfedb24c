"""What is published, vouched for with SM2 by a program outside: `openssl`, which also checks it."""

import shlex
import shutil
import subprocess
import sys

import pytest

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import Signature, SignerKey, parse
from sharegate.audit.sm2 import Sm2Key
from sharegate.cli.call import prepare, send
from sharegate.cli.keys import load_sm2
from sharegate.cli.main import main
from sharegate.private_keys import load_ed25519
from tests.integration.audit_database import ask, until
from tests.postgres import on_a_thread

USER = "distid:1234567812345678"


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """A key that openssl made, and its public half."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here, so nothing was signed with SM2")
    place = tmp_path_factory.mktemp("sm2")
    for command in (
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:SM2 -out key.pem",
        "pkey -in key.pem -pubout -out public.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=place, check=True, capture_output=True)
    return place


@pytest.fixture
def seal(module_site, module, tmp_path):
    """A log of one answer, whose files are written by `sharegate seal`; gives its code."""
    site = module_site
    gateway = site.gateways[0]
    reply = on_a_thread(send(prepare(site.caller("civil-affairs"), site.properties())))
    assert reply.status == 200
    on_a_thread(until(lambda: kept(site.audit_dsn())))

    def run(command=None, key="public.pem"):
        command = command or f"openssl dgst -sm3 -sign {module / 'key.pem'} -sigopt {USER}"
        files = ["--config", str(gateway.config), "--out", str(tmp_path / "files"), "--once"]
        sm2 = ["--sm2-key", str(module / key), "--sm2-command", command]
        return main(["seal", *files, *sm2])

    return run


async def kept(dsn):
    (row,) = await ask(
        dsn, "select exists (select from sharegate.checkpoint join sharegate.head using (size))"
    )
    return row[0]


def verified(site, files, vkey):
    return main(["audit", "verify", str(files), "--log-key", site.log_key, "--sm2-key", vkey])


def test_the_line_stands_under_what_is_published_and_openssl_accepts_it(
    module_site, module, seal, tmp_path, capsys
):
    assert seal() == 0
    files = tmp_path / "files"
    published = (files / "checkpoint").read_bytes()
    origin = module_site.log_key.partition("+")[0]
    capsys.readouterr()
    public = ["key", "public", str(module / "public.pem"), "--as", "sm2", "--origin", origin]
    assert main(public) == 0
    vkey = capsys.readouterr().out.strip()
    assert verified(module_site, files, vkey) == 0
    note = parse(published)
    (line,) = (one for one in note.signatures if one.key_id == Sm2Key.parse(vkey).key_id)
    (tmp_path / "text").write_text(note.text)
    (tmp_path / "signature").write_bytes(line.signature)
    check = f"openssl dgst -sm3 -verify {module / 'public.pem'} -sigopt {USER} -signature"
    done = subprocess.run(
        [*shlex.split(check), str(tmp_path / "signature"), str(tmp_path / "text")],
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"Verified OK\n"
    assert seal(command="false") == 0  # the same text is not signed again
    assert (files / "checkpoint").read_bytes() == published
    spoilt = Signature(origin, line.key_id, b"0" * 70).line
    (files / "checkpoint").write_text(published.decode().replace(line.line, spoilt))
    assert seal() == 0  # but where its line does not hold
    assert verified(module_site, files, vkey) == 0


def test_without_the_line_or_with_another_keys_it_is_not_right(
    module_site, module, seal, tmp_path, capsys
):
    assert seal() == 0
    files = tmp_path / "files"
    whole = (files / "checkpoint").read_bytes()
    key = load_sm2(module / "public.pem", module_site.log_key.partition("+")[0])
    other = load_sm2(module / "public.pem", "sharegate.example/other")
    assert verified(module_site, files, other.vkey) == 1
    assert "no trusted key has signed" in capsys.readouterr().err
    lines = whole.decode().splitlines(keepends=True)
    (files / "checkpoint").write_text("".join(lines[:-1]))
    assert verified(module_site, files, key.vkey) == 1
    assert "no trusted key has signed" in capsys.readouterr().err
    spoilt = Signature(key.name, key.key_id, b"0" * 70).line
    (files / "checkpoint").write_text("".join([*lines[:-1], spoilt]))
    assert verified(module_site, files, key.vkey) == 1
    assert "does not hold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("false", "false ends with 1"),
        ("true", "true gives no signature"),
        ("echo no", "gives a signature that does not hold"),
        (f"{sys.executable} -c 'print(20000 * chr(65))'", "gives no signature"),
        ("/nowhere/at-all", "No such file"),
    ],
)
def test_a_program_that_does_not_sign_publishes_nothing_and_is_named(
    seal, tmp_path, capsys, command, says
):
    assert seal(command=command) == 1
    said = capsys.readouterr().err
    assert "the SM2 line cannot be made" in said
    assert says in said
    assert not (tmp_path / "files" / "checkpoint").exists()
    assert seal() == 0


def test_what_goes_together_and_what_is_no_key_is_said(module_site, module, seal, capsys):
    config = str(module_site.gateways[0].config)
    only = ["seal", "--config", config, "--out", "x", "--sm2-key", str(module / "public.pem")]
    assert main(only) == 1
    assert "go together" in capsys.readouterr().err
    assert seal(key="key.pem") == 1
    assert "is no key" in capsys.readouterr().err
    assert seal(key="none.pem") == 1
    assert "No such file" in capsys.readouterr().err
    for command, says in ((" ", "names no program"), ("a 'b", "No closing quotation")):
        assert seal(command=command) == 1
        assert says in capsys.readouterr().err
    assert main(["audit", "verify", "x", "--log-key", module_site.log_key, "--sm2-key", "x"]) == 1
    assert "--sm2-key" in capsys.readouterr().err


def test_nothing_is_signed_that_is_not_the_logs(module_site, seal, tmp_path, capsys):
    """A checkpoint that stands in the database is not one that its entries lead to."""
    dsn = module_site.server.dsn(module_site.audit_database)
    (gateway,) = module_site.gateways
    assert gateway.stop() == 0
    origin = module_site.log_key.partition("+")[0]
    key = SignerKey(origin, load_ed25519(module_site.place / "keys" / "log.pem"))
    (head,) = on_a_thread(ask(dsn, "select size from sharegate.head"))
    forged = sign(Checkpoint(origin, head["size"] - 1, b"f" * 32), key)
    on_a_thread(ask(dsn, "delete from sharegate.checkpoint"))
    on_a_thread(ask(dsn, "insert into sharegate.checkpoint (size, note) values ($1, $2)",
                    head["size"] - 1, forged))  # fmt: skip
    assert seal(command=f"touch {tmp_path / 'signed'}") == 1
    assert "SM2" not in capsys.readouterr().err
    assert not (tmp_path / "signed").exists()
