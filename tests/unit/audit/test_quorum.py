"""Quorum files: what they say is read strictly, and arithmetic over witnesses is right."""

from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit import checkpoint, note
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import Note, Signature, SignerKey
from sharegate.audit.quorum import (
    NOBODY,
    Group,
    Log,
    Quorum,
    Witness,
    open_cosigned,
    read_quorum,
    require_quorum,
    write_quorum,
)
from sharegate.audit.verdict import Malformed, Unproven

ORIGIN = "tax.example/log"
LOG = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
OTHER_LOG = SignerKey("other.example", Ed25519PrivateKey.from_private_bytes(b"o" * 32))
COSIGNERS = {
    name: Cosigner(f"{name}.example/witness", Ed25519PrivateKey.from_private_bytes(seed * 32))
    for name, seed in (("a", b"a"), ("b", b"b"), ("c", b"c"))
} | {"d": Cosigner("d.example/witness", MLDSA44PrivateKey.from_seed_bytes(b"d" * 32))}
KEYS = {name: each.verifier.vkey for name, each in COSIGNERS.items()}
FILE = f"""# three of four, and our own log
log {LOG.vkey} https://tax.example/log/
witness a {KEYS["a"]} https://a.example/
  witness\tb   {KEYS["b"]}
witness c {KEYS["c"]}

witness d {KEYS["d"]}
group members 3 a b c d
quorum members
"""
STATE = Checkpoint(ORIGIN, 7, bytes(32))
TEXT = checkpoint.encode(STATE)


def cosigned(*names, by=LOG, at=100, text=TEXT):
    lines = [COSIGNERS[name].cosign(text, at + n) for n, name in enumerate(names)]
    return note.encode(Note(text, (by.sign(text), *lines)))


def test_a_file_is_read():
    quorum = read_quorum(FILE.encode())
    assert [(each.key.vkey, each.url) for each in quorum.logs] == [
        (LOG.vkey, "https://tax.example/log/")
    ]
    assert {name: (one.key.vkey, one.url) for name, one in quorum.witnesses.items()} == {
        "a": (KEYS["a"], "https://a.example/"), "b": (KEYS["b"], None),
        "c": (KEYS["c"], None), "d": (KEYS["d"], None),
    }  # fmt: skip
    assert quorum.groups == {"members": Group(3, ("a", "b", "c", "d"))}
    assert quorum.rule == "members"
    assert read_quorum(write_quorum(quorum)) == quorum


def chained(groups):
    lines = [f"witness w {KEYS['a']}", "group g1 any w"]
    lines += [f"group g{n} any g{n - 1}" for n in range(2, groups + 1)]
    return "\n".join([*lines, f"quorum g{groups}", ""]).encode()


def test_groups_stand_one_in_another_and_not_without_end():
    assert read_quorum(chained(32)).met_by(["w"])
    for groups in (33, 3_000):
        with pytest.raises(Malformed, match="line 34: at most 32 groups"):
            read_quorum(chained(groups))


def test_names_are_bytes_and_a_vkey_is_text():
    odd = Cosigner("见证.example", COSIGNERS["a"].private_key).verifier.vkey
    file = b"witness \xe2\x84\xaa " + odd.encode() + b"\nquorum \xe2\x84\xaa\n"
    quorum = read_quorum(file)
    (witness,) = quorum.witnesses.values()
    assert witness.key.name == "见证.example"
    assert not quorum.met_by(["K"])
    assert quorum.met_by([witness.name])
    assert read_quorum(write_quorum(quorum)) == quorum
    with pytest.raises(Malformed, match="UTF-8"):
        read_quorum(b"witness a \xff+00000000+AA==\nquorum none\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("quorum members\n", ""), "no quorum line"),
        (("quorum members\n", "quorum members\nquorum none\n"), "line 10: there is another"),
        (("quorum members\n", "quorum others\n"), "not defined above"),
        (("quorum members\n", "quorum members"), "whole lines"),
        (("quorum members\n", "quorum members x\n"), "not a line of"),
        (("quorum members\n", "quorum members\r\n"), "control characters"),
        (("quorum members\n", "quorum members\n\x7f"), "whole lines"),
        (("quorum members\n", "quorum\x7f members\n"), "control characters"),
        (("quorum members\n", "quorum\u00a0members\n"), "not a line of"),
        (("group members 3 a b c d\n", "group members 0 a b c d\n"), "1 to 4"),
        (("group members 3 a b c d\n", "group members 5 a b c d\n"), "1 to 4"),
        (("group members 3 a b c d\n", "group members 03 a b c d\n"), "1 to 4"),
        (("group members 3 a b c d\n", "group members +3 a b c d\n"), "1 to 4"),
        (("group members 3 a b c d\n", "group members most a b c d\n"), "1 to 4"),
        (("group members 3 a b c d\n", "group members 3 a b c c\n"), "in a group already"),
        (("group members 3 a b c d\n", "group members 3 a b c none\n"), "not defined above"),
        (("group members 3 a b c d\n", "group members all\n"), "not a line of"),
        (("group members 3 a b c d\n", "group a 3 b c d\n"), "defined already"),
        (("group members 3 a b c d\n", "group members any members\n"), "not defined above"),
        (("group members 3 a b c d\n", "group x any a\ngroup members any a b\n"), "already"),
        (("witness c ", "witness a "), "defined already"),
        (("witness c ", "witness none "), "defined already"),
        (("witness c ", "witnes c "), "not a line of"),
        ((f"witness c {KEYS['c']}", f"witness c {KEYS['a']}"), "another witness has this key"),
        ((f"witness c {KEYS['c']}", f"witness c {LOG.vkey}"), "no cosigner's"),
        ((f"log {LOG.vkey}", f"log {KEYS['a']}"), "only 01"),
        (("# three", f"log {LOG.vkey}\n# three"), "another log has this key"),
        (("# three", "\ufeff# three"), "not a line of"),
    ],
)
def test_what_no_quorum_file_says_is_refused(change, why):
    old, new = change
    assert old in FILE
    with pytest.raises(Malformed, match=why):
        read_quorum(FILE.replace(old, new, 1).encode())


def test_two_logs_of_one_origin_are_refused():
    twin = SignerKey(ORIGIN, OTHER_LOG.private_key)
    with pytest.raises(Malformed, match="this origin"):
        read_quorum(f"log {LOG.vkey}\nlog {twin.vkey}\nquorum none\n".encode())


@pytest.mark.parametrize("count", range(5))
def test_three_of_four_is_three_of_four(count):
    quorum = read_quorum(FILE.encode())
    for names in combinations("abcd", count):
        found = open_cosigned(cosigned(*names), quorum)
        assert set(found.times) == set(names)
        assert found.checkpoint == STATE
        assert found.log_key == LOG.verifier
        if count >= 3:
            require_quorum(found, quorum)
        else:
            with pytest.raises(Unproven, match="not reached"):
                require_quorum(found, quorum)


def test_the_specifications_example_of_groups_of_groups():
    names = ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    keys = [
        Cosigner(name, Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)).verifier.vkey
        for n, name in enumerate(names)
    ]
    lines = [f"witness {name} {key}" for name, key in zip(names, keys, strict=True)]
    lines += ["group X 2 X1 X2 X3", "group Y any Y1 Y2 Y3", "group both all X Y", "quorum both"]
    quorum = read_quorum(("\n".join(lines) + "\n").encode())
    for count in range(7):
        for held in combinations(names, count):
            enough = sum(name[0] == "X" for name in held) >= 2 and any(n[0] == "Y" for n in held)
            assert quorum.met_by(held) is enough


@given(st.integers(1, 9), st.data())
def test_two_quorums_share_an_honest_member(size, data):
    """Of n members, k are safe against f liars exactly if 2k - n > f."""
    least = data.draw(st.integers(1, size))
    liars = data.draw(st.integers(0, size))
    names = [f"w{n}" for n in range(size)]
    quorum = Quorum((), {}, {"all": Group(least, tuple(names))}, "all")
    quorums = [set(held) for held in combinations(names, least)]
    assert all(quorum.met_by(held) for held in quorums)
    assert not any(quorum.met_by(set(list(held)[1:])) for held in quorums)
    smallest = min(len(one & other) for one in quorums for other in quorums)
    assert (smallest > liars) == (max(0, 2 * least - size) > liars)


def test_nobody_and_one_witness():
    none = read_quorum(f"log {LOG.vkey}\nquorum none\n".encode())
    assert none.rule == NOBODY
    require_quorum(open_cosigned(cosigned(), none), none)
    one = read_quorum(f"log {LOG.vkey}\nwitness a {KEYS['a']}\nquorum a\n".encode())
    require_quorum(open_cosigned(cosigned("a"), one), one)
    with pytest.raises(Unproven, match="no known witness"):
        require_quorum(open_cosigned(cosigned("b"), one), one)


def test_only_a_known_logs_checkpoint_counts():
    quorum = read_quorum(FILE.encode())
    with pytest.raises(Unproven, match="no known key of"):
        open_cosigned(cosigned("a", "b", "c", by=OTHER_LOG), quorum)
    with pytest.raises(Unproven, match="no trusted key"):
        open_cosigned(cosigned(by=OTHER_LOG), quorum)
    both = Quorum((*quorum.logs, Log(OTHER_LOG.verifier)), quorum.witnesses)
    posing = SignerKey("other.example", OTHER_LOG.private_key).sign(TEXT)
    with pytest.raises(Unproven, match="no known key of"):
        open_cosigned(note.encode(Note(TEXT, (posing,))), both)


def test_a_witness_that_cosigned_twice_is_one_and_its_newest_time_counts():
    quorum = read_quorum(FILE.encode())
    lines = [COSIGNERS["a"].cosign(TEXT, at) for at in (100, 300, 200)]
    found = open_cosigned(note.encode(Note(TEXT, (LOG.sign(TEXT), *lines))), quorum)
    assert found.times == {"a": 300}


def test_a_line_that_does_not_hold_spoils_the_note():
    quorum = read_quorum(FILE.encode())
    line = COSIGNERS["a"].cosign(TEXT, 100)
    wrong = Signature(line.name, line.key_id, line.signature[:-1] + b"\0")
    with pytest.raises(Unproven, match="does not hold"):
        open_cosigned(note.encode(Note(TEXT, (LOG.sign(TEXT), wrong))), quorum)
    assert isinstance(quorum.witnesses["a"], Witness)
