"""The catalogue on a terminal: aligned, whole, and nothing in it obeyed."""

import json
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.cli import catalogue
from sharegate.cli.call import NoAnswer, Reply
from sharegate.cli.catalogue import Shown, columns, lines
from sharegate.cli.main import main

HOMES = {
    "provider": "housing",
    "id": "properties",
    "version": 3,
    "name_zh": "不动产登记",
    "name_en": "Property register",
    "sharing_class": "conditional",
    "legal_ground": "《办法》第三条",
    "modes": ["query", "verify"],
    "row_limit": 20,
    "onward_sharing": False,
    "update_frequency": "daily",
    "joint_owners": ["tax"],
    "fields": [
        {
            "name": "owner_id_number", "name_zh": "权利人身份证号", "type": "text",
            "sensitivity": "personal", "mask": "id-number", "key": True,
        },
        {
            "name": "area", "name_zh": "面积", "type": "decimal",
            "sensitivity": "open", "mask": "none", "key": False,
        },
    ],
    "purposes": [
        {
            "code": "review", "name_zh": "复核", "name_en": "Review",
            "legal_bases": {"norm-one": "《办法一》"},
        }
    ],
    "grants": [
        {
            "id": "housing-001", "fields": ["area"], "row_limit": 10, "assurance": "signed",
            "masks": {"area": "redact"}, "quota": ["officer/day=5"], "refer": "heirs",
            "consent": True, "matter": True,
        }
    ],
}  # fmt: skip
CLOSED = {
    **HOMES,
    "id": "files",
    "sharing_class": "not-shared",
    "not_shared_reason": "档案法",
    "purposes": [],
    "grants": [],
}


def written(resource):
    return list(lines(msgspec.convert({"resources": [resource]}, Shown).resources[0]))


def test_a_resource_is_shown_with_its_terms():
    assert written(HOMES) == [
        "housing/properties  不动产登记  Property register  (version 3)",
        "  conditional: 《办法》第三条",
        "  owned together with: tax",
        "  brought up to date: daily",
        "  may be shared on: no",
        "    owner_id_number  权利人身份证号  text     personal  mask id-number  key",
        "    area             面积            decimal  open",
        "  modes: query verify",
        "  for review  复核  Review",
        "    by norm-one  《办法一》",
        (
            "  housing-001 lets out area; at most 10 rows; area masked redact; quota officer/day=5;"
            " signed; an officer decides heirs; with consent; with the matter confirmed"
        ),
    ]


def test_what_is_not_shared_says_why_and_no_terms():
    said = written(CLOSED)
    assert said[-1] == "  not shared: 档案法"
    assert not any("modes" in line or "granted" in line for line in said)


def test_what_is_not_granted_is_said_to_be():
    assert written({**HOMES, "grants": []})[-1] == "  nothing of it is granted to you"


def wide(text):
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


_cells = st.text(st.sampled_from("abz名称面积，-"), max_size=8)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[_cells] * n), min_size=1)))
def test_columns_begin_at_one_place_whatever_they_are_written_in(rows):
    starts = [
        sum(2 + max(wide(row[before]) for row in rows) for before in range(column))
        for column in range(len(rows[0]))
    ]
    for row, line in zip(rows, columns(rows), strict=True):
        for cell, start in zip(row, starts, strict=True):
            at = next((n for n in range(len(line) + 1) if wide(line[:n]) >= start), len(line))
            assert line[at:].startswith(cell)


@pytest.fixture
def answered(monkeypatch):
    """Makes the gateway answer with something."""

    def answer(status, body):
        async def send(_request):
            return Reply(status, None, body, None)

        monkeypatch.setattr(catalogue, "load_caller", lambda _: None)
        monkeypatch.setattr(catalogue, "signed", lambda *_: None)
        monkeypatch.setattr(catalogue, "send", send)

    return answer


def test_a_terminal_is_told_nothing_by_a_name(answered, capsys):
    answered(200, json.dumps({"resources": [{**HOMES, "name_en": "x\u202e\x1b[2Jy"}]}).encode())
    assert main(["catalogue", "--as", "x"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "x\\u202e\\u001b[2Jy" in said


def test_a_refusal_is_shown_as_an_error(answered, capsys):
    answered(401, b'{"status": 401, "title": "\x1b[2J"}')
    assert main(["catalogue", "--as", "x"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "401" in said.err
    assert "\x1b" not in said.err


def test_json_is_printed_as_it_came(answered, capsys):
    body = json.dumps({"resources": [HOMES]}, ensure_ascii=False)
    answered(200, body.encode())
    assert main(["catalogue", "--as", "x", "--json"]) == 0
    assert capsys.readouterr().out == body + "\n"


def test_what_is_no_catalogue_is_not_shown(answered):
    answered(200, b'{"resources": [{}]}')
    with pytest.raises(NoAnswer, match="no catalogue"):
        catalogue._run(type("Chosen", (), {"caller": "x", "json": False}))
