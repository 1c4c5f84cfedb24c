"""``sharegate verify`` of what a log or a witness made up: told in words, line by line."""

import os
from hashlib import sha256

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit import checkpoint, note, receipt
from sharegate.audit.carried import pack
from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import Note, SignerKey
from sharegate.audit.tree import leaf_hash
from sharegate.cli.main import main
from sharegate.record.entry import Label, b64, commit

KEY = SignerKey("log.example", Ed25519PrivateKey.from_private_bytes(b"l" * 32))
WITNESS = Cosigner("witness.example", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
SALT = bytes(32)
ANSWER = msgspec.json.encode({"salt": b64(SALT)})
DIGEST = b64(commit(SALT, Label.RESPONSE, sha256(ANSWER).digest()))
AT = 1_700_000_000
ENTRY = {
    "kind": "release", "time": AT * 1000, "mode": "query", "provider": "housing",
    "response": {"digest": DIGEST, "rows": 1},
}  # fmt: skip


class Kept:
    """What a consumer keeps of one answer."""

    def __init__(self, place):
        self.place = place
        (place / "answer").write_bytes(ANSWER)
        (place / "log.vkey").write_text(KEY.vkey)
        lines = [f"log {KEY.vkey}", f"witness w {WITNESS.verifier.vkey}", "quorum w", ""]
        (place / "quorum").write_text("\n".join(lines))
        self.write(ENTRY)

    def write(self, entry, cosigned=AT):
        leaf = encode_leaf(0, GENESIS, msgspec.json.Encoder(order="sorted").encode(entry))
        signed = note.parse(checkpoint.sign(Checkpoint(KEY.name, 1, leaf_hash(leaf)), KEY))
        lines = (*signed.signatures, WITNESS.cosign(signed.text, cosigned))
        proof = receipt.Receipt(0, (), note.encode(Note(signed.text, lines)), pack(leaf))
        (self.place / "receipt").write_bytes(receipt.encode(proof))

    def verify(self, *more):
        return main(["verify", str(self.place / "answer"), str(self.place / "receipt"), *more])

    def verify_cosigned(self):
        return self.verify("--quorum", str(self.place / "quorum"))


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path)


def test_what_was_proven_is_told_in_four_lines(kept, capsys):
    assert kept.verify_cosigned() == 0
    assert capsys.readouterr().out.splitlines() == [
        "verified: entry 0 of log.example, under its signed checkpoint of 1 entry",
        "  2023-11-14T22:13:20.000Z  None asked housing/None (query)",
        "  for None (None), by grant None; rows: 1",
        "  cosigned by w (2023-11-14T22:13:20.000Z)",
    ]


@pytest.mark.parametrize("seconds", [2**40, 2**62])
def test_a_cosignature_of_no_date_is_told_as_a_number(kept, capsys, seconds):
    kept.write(ENTRY, cosigned=seconds)
    assert kept.verify_cosigned() == 0
    assert f"cosigned by w ({seconds * 1000} ms)" in capsys.readouterr().out


@pytest.mark.parametrize("time", [2**53 - 1, -(2**53 - 1), "noon", None, ["x"]])
def test_an_entry_of_no_date_is_told_as_it_is(kept, capsys, time):
    kept.write({name: each for name, each in (ENTRY | {"time": time}).items() if each is not None})
    assert kept.verify() == 0
    said = f"{time} ms" if isinstance(time, int) else time
    assert capsys.readouterr().out.splitlines()[1].startswith(f"  {said}  None asked housing")


def test_a_log_key_file_that_is_no_text_is_misconfigured(kept, capsys):
    (kept.place / "log.vkey").write_bytes(b"\xff\xfe")
    assert kept.verify() == 1
    assert "log.vkey: is not a key: a line of UTF-8 text" in capsys.readouterr().err


def test_a_log_key_may_be_longer_than_the_name_of_a_file(kept, capsys):
    name = "a" * 300
    assert kept.verify("--log-key", SignerKey(name, KEY.private_key).vkey) == 1
    assert "no trusted key has signed this note" in capsys.readouterr().err
    assert kept.verify("--log-key", f"{name}+00000000+AAAA") == 1
    assert "only 01 (Ed25519) is read here" in capsys.readouterr().err


FORGED = "x)\n  cosigned by ministry (2026-01-01T00:00:00+00:00)\x1b[8m\x9b8m\u2028"
WHERE = ["time", "mode", "provider", "caller.consumer", "resource.id", "purpose.code",
         "purpose.legal_basis", "decision.rule", "response.rows"]  # fmt: skip


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("value", [FORGED, [FORGED], {"x": FORGED}], ids=["text", "list", "map"])
def test_no_value_of_an_entry_makes_a_line(kept, capsys, where, value):
    name, _, member = where.partition(".")
    kept.write(ENTRY | {name: ENTRY.get(name, {}) | {member: value} if member else value})
    assert kept.verify() == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 3
    assert said.replace("\n", "").isprintable()
    assert "cosigned by ministry" in said


@pytest.mark.parametrize("name", ["receipt", "quorum", "log.vkey"])
def test_a_file_without_end_proves_nothing(kept, capsys, name):
    os.truncate(kept.place / name, 2**40)
    assert kept.verify_cosigned() == 1
    said = capsys.readouterr().err
    assert f"{name} has more than 1000000 bytes" in said or "log.vkey: is not a key" in said
