"""The text of a note has one spelling, and the memory of versions only goes forward."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit.note import SignerKey, parse
from sharegate.audit.verdict import Malformed
from sharegate.errors import Misconfigured
from sharegate.in_force.memory import Remembered, SetMemory
from sharegate.model.signed import (
    Fault,
    SetRefused,
    Statement,
    add_signature,
    next_version,
    open_set,
    read_keys,
    read_statement,
    state,
)
from tests.unit.in_force.signed_site import key

FILES = {"grants.csv": b"id\n", "resources.toml": b""}
TEXT = (
    "sharegate-policy/v1\ntax\n7\n"
    "e1c2cc7ee1a4b0ebf4dd38f4b60ec2a0d12c1b8bd2b8ef8b1a4b0e0f0c5a9d11  grants.csv\n"
)
NAME = st.text(st.characters(min_codepoint=33, exclude_characters="\x7f"), min_size=1, max_size=20)
STATEMENTS = st.builds(
    Statement,
    NAME.filter(lambda name: name != "registry"),
    st.integers(1, 2**53 - 1),
    st.dictionaries(NAME, st.text("0123456789abcdef", min_size=64, max_size=64), min_size=1),
)


@given(STATEMENTS)
def test_what_is_written_is_read(statement):
    assert read_statement(statement.text) == statement


@given(STATEMENTS, st.data())
def test_every_other_text_is_another_statement_or_none(statement, data):
    text = statement.text
    at = data.draw(st.integers(0, len(text) - 1))
    other = text[:at] + data.draw(st.sampled_from(["", "0", "+", "\n", " ", "a", "\u2028"])) + (
        text[at + 1 :]
    )  # fmt: skip
    try:
        read = read_statement(other)
    except Malformed:
        return
    assert read.text == other
    assert (read == statement) == (other == text)


@pytest.mark.parametrize(
    ("old", "new"),
    [("7", "07"), ("7", "+7"), ("7", "0"), ("7", "9007199254740992"), ("\n7\n", "\n"), ("v1", "v2"),
     ("  ", " "), ("  ", "\t"), ("tax", "tax "), ("e1c2", "E1C2"), (".csv\n", ".csv"),
     (".csv\n", ".csv\n\n")],
)  # fmt: skip
def test_a_text_that_forgives_nothing(old, new):
    assert read_statement(TEXT).version == 7
    changed = TEXT.replace(old, new, 1)
    try:
        assert (
            read_statement(changed).text == changed
        )  # a name or a hash of another look, signed so
        assert old in {"tax", "e1c2"}
    except Malformed:
        pass


def test_a_signature_over_other_files_is_left_out_and_the_same_keys_replaced():
    one, two = key("tax"), key("housing")
    note = add_signature(None, state("tax", 1, FILES), one)
    both = add_signature(note, state("tax", 1, FILES), two)
    assert [line.name for line in parse(both).signatures] == ["tax", "housing"]
    again = add_signature(both, state("tax", 1, FILES), one)
    assert again == both  # so that nobody who watches the file sees a change
    later = add_signature(both, state("tax", 2, FILES), two)
    assert [line.name for line in parse(later).signatures] == ["housing"]
    assert next_version(both, "tax", FILES) == 1
    assert next_version(both, "tax", {"grants.csv": b""}) == 2
    assert next_version(None, "tax", FILES) == 1


def test_a_line_of_a_trusted_key_that_does_not_hold_spoils_the_note():
    note = add_signature(None, state("tax", 1, FILES), key("tax"))
    forged = SignerKey("housing", key("other").private_key)
    line = forged.sign("x\n")
    genuine = key("housing").verifier
    data = note + type(line)("housing", genuine.key_id, line.signature).line.encode()
    with pytest.raises(SetRefused) as refused:
        open_set("note", "tax", FILES, data, [key("tax").verifier, genuine])
    assert refused.value.fault is Fault.ALTERED


def test_one_key_under_two_names_is_refused():
    twin = SignerKey("administrator-two", key("administrator-one").private_key)
    with pytest.raises(Misconfigured, match="twice"):
        read_keys("trust.administrators", [key("administrator-one").vkey, twin.vkey])


# --- the memory ---------------------------------------------------------------------------------


def digest(number):
    return f"{number:064x}"


def test_it_only_goes_forward(tmp_path):
    memory = SetMemory(tmp_path / "versions.toml")
    assert memory.recall() == {}
    memory.remember({"tax": Remembered(2, digest(2), ("housing", "tax"))})
    memory.remember({"tax": Remembered(2, digest(2), ("housing", "tax"))})
    memory.remember({"root": Remembered(1, digest(1))})
    for other, fault in ((Remembered(1, digest(1)), Fault.OLDER),
                         (Remembered(2, digest(3)), Fault.REUSED)):  # fmt: skip
        with pytest.raises(SetRefused) as refused:
            memory.remember({"root": Remembered(5, digest(5)), "tax": other})
        assert refused.value.fault is fault
    assert memory.recall() == {
        "tax": Remembered(2, digest(2), ("housing", "tax")),
        "root": Remembered(1, digest(1)),  # all of it or nothing
    }


@pytest.mark.parametrize("text", ["x", "[tax]\nversion = 1\n", "\x00", "tax = 1\n",
                                  '[tax]\nversion = 0\ndigest = "' + "0" * 64 + '"\n'])  # fmt: skip
def test_a_damaged_memory_is_no_empty_one(tmp_path, text):
    path = tmp_path / "versions.toml"
    path.write_text(text)
    with pytest.raises(Misconfigured, match="damaged"):
        SetMemory(path).recall()


def test_many_at_once_lose_nothing(tmp_path):
    memory = SetMemory(tmp_path / "versions.toml")
    refused = []

    def remember(name):
        for version in range(1, 21):
            try:
                memory.remember({name: Remembered(version, digest(version))})
            except SetRefused:
                refused.append(version)

    threads = [threading.Thread(target=remember, args=(name,)) for name in "abca"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: one.version for name, one in memory.recall().items()} == dict.fromkeys("abc", 20)


def test_it_is_on_disk_before_it_is_remembered(tmp_path, monkeypatch):
    memory = SetMemory(tmp_path / "versions.toml")
    memory.remember({"tax": Remembered(1, digest(1))})
    steps = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle):
        steps.append("file" if Path(f"/proc/self/fd/{handle}").resolve().is_file() else "folder")
        fsync(handle)

    def replaced(path, to):
        steps.append("replace")
        return replace(path, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    memory.remember({"tax": Remembered(2, digest(2))})
    assert steps == ["file", "replace", "folder"]

    def full(handle):
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        memory.remember({"tax": Remembered(3, digest(3))})
    assert memory.recall()["tax"].version == 2
