"""A log that ended, and the one that goes on; what the old key signs afterwards is worthless."""

import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit import receipt as tlog_proof
from sharegate.audit.carried import pack
from sharegate.audit.chain import parse_leaf
from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import Note, SignerKey, VerifierKey, encode, parse
from sharegate.audit.tree import Frontier, inclusion_path, leaf_hash
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.call import prepare, send
from sharegate.consortium import succession as successions
from sharegate.consortium.succession import Ended, Succession, open_succession, read
from sharegate.model.signed import Administrators
from sharegate.private_keys import load_ed25519
from sharegate.record.entry import read_core
from tests.integration.audit_database import ask
from tests.integration.test_consortium import done, sharegate
from tests.postgres import on_a_thread

OLD, NEW, ONE, TWO = (
    SignerKey(name, Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))
    for n, name in enumerate(("old.example/log", "new.example/log", "one", "two"), start=1)
)
TRUST = Administrators((ONE.verifier, TWO.verifier), 2)
LAST = Checkpoint("old.example/log", 7, b"\x07" * 32)


def said(why=Ended.STOLEN, new=NEW, last=LAST):
    return Succession(OLD.verifier, last, new.verifier, why)


def signed(succession, *by):
    data = successions.draft(succession, NEW)
    for key in by:
        data = successions.sign(data, key)
    return data


def test_what_enough_administrators_signed_is_read_back():
    for why in Ended:
        assert open_succession(signed(said(why), ONE, TWO), TRUST) == (said(why), ("one", "two"))
    assert signed(said(), ONE, TWO, ONE).count("— one ".encode()) == 1


@pytest.mark.parametrize("by", [(), (ONE,), (ONE, ONE), (ONE, OLD)])
def test_too_few_are_not_enough(by):
    with pytest.raises(Unproven, match="of the 2 administrators"):
        open_succession(signed(said(), *by), TRUST)


def test_nobody_is_made_the_successor_who_has_not_signed():
    note = parse(signed(said(), ONE, TWO))
    without = [each for each in note.signatures if each.name != NEW.name]
    with pytest.raises(Unproven, match="new log's key"):
        open_succession(encode(Note(note.text, tuple(without))), TRUST)
    with pytest.raises(Malformed, match="not the new log's"):
        successions.draft(said(), ONE)


def test_every_change_of_the_text_is_refused():
    text = said().text
    assert read(text) == said()
    for changed in (
        text.replace("v1", "v2"),
        text.replace("\n7\n", "\n07\n"),
        text.replace("stolen", "mislaid"),
        text + "more\n",
        text.removesuffix("\n"),
        text.replace("new.example", "other.example"),
        "",
    ):
        with pytest.raises(Malformed):
            read(changed)
    data = signed(said(), ONE, TWO)
    with pytest.raises((Malformed, Unproven)):
        open_succession(data.replace(b"\n7\n", b"\n8\n"), TRUST)


def test_a_log_does_not_succeed_itself():
    again = SignerKey(OLD.name, NEW.private_key)
    same = SignerKey(NEW.name, OLD.private_key)
    for new in (again, same):
        with pytest.raises(Malformed):
            successions.draft(said(new=new), new)
        with pytest.raises(Malformed):
            read(said(new=new).text)


@pytest.mark.parametrize("why", Ended)
def test_what_still_counts(why):
    before = Checkpoint("old.example/log", 6, b"\x06" * 32)
    after = Checkpoint("old.example/log", 8, b"\x08" * 32)
    other = Checkpoint("old.example/log", 7, b"\x08" * 32)
    for cosigned in (False, True):
        said(why).judge(LAST, cosigned=cosigned)
        for late in (after, other):
            with pytest.raises(Unproven, match="ended with 7"):
                said(why).judge(late, cosigned=cosigned)
    said(why).judge(before, cosigned=True)
    if why is Ended.STOLEN:
        with pytest.raises(Unproven, match="no quorum"):
            said(why).judge(before, cosigned=False)
    else:
        said(why).judge(before, cosigned=False)


# --- as people do it ------------------------------------------------------------------------------


@pytest.fixture
def administrators(tmp_path):
    """Two, with keys of their own, and an invitation that names them."""
    keys = [
        done("key", "rules", tmp_path / f"{name}.pem", "--origin", name).strip()
        for name in ("one", "two")
    ]
    done("consortium", "init", tmp_path / "consortium.toml", "--name", "province-33")
    done("consortium", "invite", tmp_path / "consortium.toml", "--administrator", keys[0],
         "--administrator", keys[1], "--out", tmp_path / "invitation.toml")  # fmt: skip
    return keys


def test_what_a_thief_signs_with_a_log_s_key_counts_no_more(site, administrators, tmp_path):
    gateway = site.gateway()
    gateway.start()
    answer = on_a_thread(send(prepare(site.caller("civil-affairs"), site.properties())))
    assert answer.status == 200
    gateway.stop()
    key = VerifierKey.parse(site.log_key)
    pem = gateway.config.parent / "keys" / "log.pem"
    stolen = SignerKey(key.name, load_ed25519(pem))
    rows = on_a_thread(ask(site.audit_dsn(), "select leaf from sharegate.entry order by seq"))
    leaves = [row["leaf"] for row in rows]
    hashes = [leaf_hash(leaf) for leaf in leaves]

    def note(size):
        root = Frontier.empty().extend(hashes[:size]).root()
        return sign(Checkpoint(key.name, size, root), stolen)

    last, file = tmp_path / "last.note", tmp_path / "succession"
    last.write_bytes(note(len(leaves)))
    new_key = tmp_path / "new.pem"
    done("key", "log", new_key, "--origin", "after.example/log")
    drafting = ["succession", "draft", file, "--old-key", site.log_key, "--last", last,
                "--new-key", new_key, "--origin", "after.example/log",
                "--why", "stolen"]  # fmt: skip
    assert "ended with" in done(*drafting)
    assert sharegate(*drafting)[0] == 1  # never overwritten
    check = ["succession", "check", file, "--invitation", tmp_path / "invitation.toml"]
    assert "signed by 0 of the 2" in sharegate(*check)[2]
    for name in ("one", "two"):
        done("succession", "sign", file, "--key", tmp_path / f"{name}.pem", "--as", name)
    assert "signed by one, two" in done(*check)

    # A receipt that consumers hold, and one that the thief makes of the same entry later.
    body = tmp_path / "answer"
    body.write_bytes(answer.body)
    index = len(leaves) - 1

    def receipt(checkpoint, path):
        data = tlog_proof.encode(tlog_proof.Receipt(index, path, checkpoint, pack(leaves[index])))
        (tmp_path / "receipt").write_bytes(data)
        return ["verify", body, tmp_path / "receipt", "--log-key", site.log_key]

    def fetch(level, n):
        return Frontier.empty().extend(hashes[n << level : n + 1 << level]).root()

    ended = ["--succession", file, "--invitation", tmp_path / "invitation.toml"]
    good = receipt(note(len(leaves)), inclusion_path(index, len(leaves), fetch))
    assert sharegate(*good)[0] == 0
    assert sharegate(*good, *ended)[0] == 0
    assert sharegate(*good, *ended[:2])[0] == 1  # whose word counts is not said
    hashes.append(leaf_hash(b"never asked"))
    late = receipt(note(len(hashes)), inclusion_path(index, len(hashes), fetch))
    assert sharegate(*late)[0] == 0  # the thief's signature is as good as the log's
    code, _, err = sharegate(*late, *ended)
    assert code == 1
    assert "the log ended with" in err


def test_recorded_once_in_the_log_that_goes_on(site, tmp_path, capsys):
    """The site's own log goes on for one that ended elsewhere; its administrators sign."""
    gateway = site.gateway()
    gateway.start()
    new = SignerKey(
        VerifierKey.parse(site.log_key).name,
        load_ed25519(gateway.config.parent / "keys" / "log.pem"),
    )
    succession = Succession(OLD.verifier, LAST, new.verifier, Ended.LOST)
    file = tmp_path / "succession"
    file.write_bytes(successions.draft(succession, new))
    record = ["succession", "record", file, "--config", gateway.config]
    assert "signed by 0" in sharegate(*record)[2]
    for pem in sorted((site.place / "keys").glob("administrator-*.pem"))[:2]:
        name = pem.name.removesuffix(".pem").removesuffix(".rules")
        done("succession", "sign", file, "--key", pem, "--as", name)
    code, out, err = sharegate(*record)
    assert code == 0, err
    index = int(re.search(r"entry (\d+) of", out)[1])
    rows = on_a_thread(
        ask(site.audit_dsn(), f"select leaf from sharegate.entry where seq = {index}")
    )
    core = read_core(parse_leaf(rows[0]["leaf"]).core)
    assert (core["kind"], core["by"]) == ("succession", "administrators")
    assert core["facts"]["old"] == "old.example/log"
    assert (core["facts"]["size"], core["facts"]["why"]) == (7, "lost")
    assert core["facts"]["root"] == LAST.root.hex()
    assert len(core["facts"]["signers"]) == 2
    code, _, err = sharegate(*record)
    assert code == 1
    assert "was recorded before" in err
    capsys.readouterr()
