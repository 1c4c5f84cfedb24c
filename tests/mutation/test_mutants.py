"""What `make mutants` prints is what mutmut found."""

import json

import pytest

from tests.mutation.mutants import difference, is_wording, score

MUTATED = """
def x_is_open__mutmut_orig(at):
    if at < 5:
        raise ValueError("It is not open yet.")
    return True

def x_is_open__mutmut_1(at):
    if at <= 5:
        raise ValueError("It is not open yet.")
    return True

def x_is_open__mutmut_2(at):
    if at < 5:
        raise ValueError("XXIt is not open yet.XX")
    return True

def x_is_open__mutmut_3(at):
    if at < 6:
        raise ValueError("It is not open yet.")
    return True

class Gate:
    async def xǁGateǁclose__mutmut_orig(self):
        return "closed"

    async def xǁGateǁclose__mutmut_1(self):
        return "CLOSED"
"""


@pytest.fixture
def found(tmp_path):
    mutated, meta = tmp_path / "gate.py", tmp_path / "gate.py.meta"
    mutated.write_text(MUTATED, encoding="utf-8")

    def ended(*codes):
        names = ["x_is_open__mutmut_1", "x_is_open__mutmut_2", "x_is_open__mutmut_3"]
        keys = [f"sharegate.gate.{name}" for name in [*names, "xǁGateǁclose__mutmut_1"]]
        meta.write_text(json.dumps({"exit_code_by_key": dict(zip(keys, codes, strict=True))}))
        return score(mutated, meta)

    return ended


def test_what_no_test_noticed_is_shown_and_wording_is_counted_apart(found):
    said = found(0, 0, 1, 33)
    assert (said.module, said.noticed, said.wording, said.not_run) == ("gate", 1, 1, 0)
    assert said.survivors == [
        "is_open: - if at < 5:  + if at <= 5:",
        'Gate.close: - return "closed"  + return "CLOSED"',
    ]
    assert " ".join(said.line.split()) == "gate 1 of 3 33.3% wording 1"


def test_what_a_test_noticed_or_hung_on_is_noticed(found):
    said = found(1, 1, 36, 24)
    assert (said.noticed, said.wording, said.survivors) == (4, 0, [])


def test_what_was_not_tried_is_not_counted(found):
    said = found(1, None, None, None)
    assert (said.noticed, said.not_run) == (1, 3)
    assert said.line.endswith("not run 3")


def test_a_word_alone_is_no_sentence():
    assert not is_wording('f("deny")', 'f("DENY")')
    assert is_wording('f("No grant.")', 'f("no grant.")')
    assert is_wording('f(f"No {a} grant.")', 'f(f"XXNo {a} grant.XX")')
    assert not is_wording('f("No grant.")', "f(None)")
    assert not is_wording('f(f"No {a} grant.")', 'f(f"No {b} grant.")')
    assert difference("a\nb", "a\nc") == "- b  + c"
