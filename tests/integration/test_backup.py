"""A key among keepers: any so many bring it back, fewer nothing, and another key is never taken."""

import itertools
import json

import pytest
from shamir_mnemonic import combine_mnemonics

from sharegate.cli.main import main
from tests.integration.test_audit_reads import ANSWER, office, run

__all__ = ["office"]  # the fixture


@pytest.fixture(params=["detail", "member", "index"])
def key(request, tmp_path, capsys):
    """A private key of each kind, in a file."""
    file = tmp_path / "key"
    if request.param == "index":
        file.write_bytes(bytes(range(32)))
    else:
        assert main(["key", request.param, str(file)]) == 0
    capsys.readouterr()
    return file


def split(key, out, needed=3, of=5):
    return main(["key", "split", str(key), "--needed", str(needed), "--of", str(of),
                 "--out", str(out)])  # fmt: skip


def recover(shares, *how):
    return main(["key", "recover", *map(str, shares), *map(str, how)])


@pytest.fixture
def shares(key, tmp_path, capsys):
    assert split(key, tmp_path / "shares") == 0
    said = capsys.readouterr().out
    found = [tmp_path / "shares" / f"share-{n}" for n in range(1, 6)]
    check = found[0].read_text().splitlines()[3].removeprefix("check ")
    assert f"check value {check}" in said
    assert all(check in share.read_text() for share in found)
    return found


def test_any_so_many_bring_it_back_byte_for_byte(key, shares, tmp_path):
    for number, some in enumerate(itertools.combinations(shares, 3)):
        out = tmp_path / f"again-{number}"
        assert recover(some, "--out", out) == 0
        assert out.read_bytes() == key.read_bytes()
        assert out.stat().st_mode & 0o777 == 0o600


def test_fewer_bring_nothing_and_no_word_of_theirs_is_repeated(shares, tmp_path, capsys):
    for some in (shares[:1], shares[:2], [*shares[:2], shares[0]]):
        assert recover(some, "--out", tmp_path / "again") == 1
    assert not (tmp_path / "again").exists()
    said = capsys.readouterr().err
    assert "do not join" in said
    assert not any(word in said.split() for word in shares[0].read_text().splitlines()[4].split())


def test_more_than_are_needed_are_all_tried(shares, tmp_path, capsys):
    for some in (shares[:4], shares, shares[::-1]):
        assert recover(some, "--rehearse") == 0
    words = shares[4].read_text().split()
    shares[4].write_text(shares[4].read_text().replace(words[-1], words[-2]))
    for some in (shares, shares[::-1]):
        assert recover(some, "--rehearse") == 1
    capsys.readouterr()


def test_a_rehearsal_writes_nothing(shares, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert recover(shares[2:], "--rehearse") == 0
    assert "rehearsed: 3 shares bring the" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_or_foreign_share_is_never_taken(key, shares, tmp_path, capsys):
    assert split(key, tmp_path / "others") == 0  # the same key, shared anew
    other = tmp_path / "other-key"
    other.write_bytes(bytes(32))
    assert split(other, tmp_path / "foreign") == 0
    capsys.readouterr()
    text = shares[0].read_text()
    words = text.splitlines()[-1].split()
    damaged = {
        "a word": text.replace(words[-1], "academic" if words[-1] != "academic" else "zero"),
        "check": text.replace("check ", "check 0", 1),
        "kind": text.replace("kind ", "kind rsa-"),
        "form": text.replace("v1", "v2", 1),
        "nothing": "",
        "not ASCII": "é" * 100,
        "anew": (tmp_path / "others" / "share-1").read_text(),
        "foreign": (tmp_path / "foreign" / "share-1").read_text(),
    }
    wrong = tmp_path / "wrong"
    for what, share in damaged.items():
        wrong.write_text(share)
        assert recover([wrong, *shares[1:3]], "--rehearse") == 1, what
    assert recover([tmp_path / "none", *shares[1:3]], "--rehearse") == 1
    capsys.readouterr()


def test_shares_that_all_lie_about_the_check_value_give_no_key(shares, tmp_path, capsys):
    """The mutant: without the check value whatever the words give would be written."""
    for share in shares:
        share.write_text(share.read_text().replace("check ", "check 0", 1))
    assert recover(shares[:3], "--out", tmp_path / "again") == 1
    assert "another key" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_other_software_brings_it_back(tmp_path, capsys):
    key = tmp_path / "index.key"
    key.write_bytes(bytes(range(32)))
    assert split(key, tmp_path / "shares", needed=2, of=2) == 0
    capsys.readouterr()
    words = [
        " ".join((tmp_path / "shares" / f"share-{n}").read_text().splitlines()[4:]) for n in (1, 2)
    ]
    assert combine_mnemonics(words) == key.read_bytes()


@pytest.mark.parametrize(("needed", "of"), [(1, 3), (4, 3), (0, 0), (2, 17)])
def test_so_many_keepers_there_cannot_be(tmp_path, capsys, needed, of):
    key = tmp_path / "index.key"
    key.write_bytes(bytes(32))
    assert split(key, tmp_path / "shares", needed, of) == 1
    assert "≤" in capsys.readouterr().err
    assert not (tmp_path / "shares").exists()


def test_what_is_no_key_of_32_bytes_is_not_split(tmp_path, capsys):
    for name, content in (("none", None), ("text", b"text"), ("short", bytes(31))):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        assert split(file, tmp_path / "shares") == 1
    assert main(["key", "witness-ml-dsa", str(tmp_path / "ml"), "--origin", "a"]) == 0
    assert split(tmp_path / "ml", tmp_path / "shares") == 1
    capsys.readouterr()


def test_nothing_is_overwritten(key, shares, tmp_path):
    assert split(key, tmp_path / "shares") == 1
    assert recover(shares[:3], "--out", key) == 1


def test_the_audit_office_opens_an_entry_again_after_its_key_was_lost(office, tmp_path, capsys):
    """The recovery rehearsal, whole: split, lose, bring back from three of five, open."""
    lost = office.place / "keys" / "audit-office.detail.pem"
    assert split(lost, tmp_path / "shares") == 0
    kept = lost.read_bytes()
    lost.unlink()
    try:
        arguments = ("show", str(ANSWER), "--json", "--open", "--office-key", str(lost))
        assert run(office, *arguments) == 1
        shares = [tmp_path / "shares" / f"share-{n}" for n in (5, 1, 3)]
        assert recover(shares, "--out", lost) == 0
        capsys.readouterr()
        assert run(office, *arguments) == 0
        assert json.loads(capsys.readouterr().out)["detail"]["officer"] == "zhang.wei"
    finally:
        lost.write_bytes(kept)
