"""A search finds what a scan over every opened entry finds, in the same order."""

import argparse
import json
from datetime import UTC, datetime
from random import Random

import msgspec
import pytest

from sharegate.audit.chain import parse_leaf
from sharegate.cli.audit import search as searching
from sharegate.cli.audit.search import criteria, reading
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import Mode
from sharegate.record.entry import read_core, unb64
from sharegate.record.opening import open_detail
from sharegate.record.search import Criteria, statement
from tests.integration.searchable import (
    CONSUMERS,
    INDEX_KEY,
    MATTERS,
    OFFICERS,
    PEOPLE,
    invented,
    searchable,
)
from tests.unit.record.exchanges import NOW, OFFICE

ENTRIES = 300
WORDS = {
    "kind": ["release", "refusal", "failure", "policy"],
    "consumer": [*CONSUMERS, "nobody"],
    "provider": ["housing", "tax"],
    "mode": [Mode.QUERY.value, "verify"],
    "purpose": ["review", "collection"],
    "reason": ["no-grant", "replayed", "source-timeout", "malformed-request"],
    "decision": ["permit", "deny", "refer"],
    "matter-of": [*MATTERS, "DB-9"],
    "concerned": [*PEOPLE, "nobody"],
}


def parsed(*arguments):
    """The command's own reading of its arguments."""
    parser = argparse.ArgumentParser()
    searching.add_to(parser.add_subparsers())
    who = ["--config", "c", "--as", "li-na", "--key", "k", "--matter", "A-1"]
    return parser.parse_args(["search", *who, *arguments])


@pytest.fixture(scope="module")
def chance():
    return Random(20261121)


def any_criteria(chance):
    """Arguments of a search: few or many, of which some fit nothing."""
    chosen = {
        name: chance.choice(values) for name, values in WORDS.items() if chance.random() < 0.2
    }
    if "consumer" in chosen and chance.random() < 0.5:
        chosen["officer"] = chance.choice(OFFICERS)
    if "provider" in chosen and chance.random() < 0.5:
        chosen["resource"] = chance.choice(["properties", "transfers", "incomes"])
    if chance.random() < 0.4:
        chosen["since"] = moment(chance)
    if chance.random() < 0.4:
        chosen["until"] = moment(chance)
    if chance.random() < 0.5:
        chosen["limit"] = str(chance.choice([1, 2, 10, 1000]))
    return [part for name, value in chosen.items() for part in (f"--{name}", value)]


def moment(chance):
    seconds = NOW // 1000 + chance.randrange(-10, ENTRIES // 2 + 10)
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def opened(stored):
    """An entry as the audit office knows it, with everything in it that is sealed."""
    core = read_core(parse_leaf(stored["leaf"]).core)
    detail = open_detail(
        core,
        OFFICE,
        entry_id=stored["exchange_id"].bytes,
        sealed=stored["sealed"],
        wrapped=stored["wrapped"],
    )
    body = unb64(detail["body"])
    asked = {} if body == b"{" else json.loads(body)
    return core | {"officer": detail["officer"], "asked": asked}


def fits(entry, chosen):
    """Whether an opened entry is looked for, by the plain meaning of each criterion."""
    asked, people = entry["asked"], set()
    if asked:
        people = {asked["where"]["owner"], PEOPLE[0]}
    said = {
        "kind": entry["kind"],
        "consumer": entry["caller"]["consumer"],
        "officer": entry["officer"],
        "provider": entry.get("provider"),
        "resource": entry.get("resource", {}).get("id"),
        "mode": entry.get("mode"),
        "purpose": entry.get("purpose", {}).get("code"),
        "reason": entry["decision"].get("reason"),
        "decision": entry["decision"]["effect"],
        "matter_of": asked.get("matter"),
    }
    return (
        all(getattr(chosen, name) in (None, value) for name, value in said.items())
        and (chosen.concerned is None or chosen.concerned in people)
        and (chosen.since is None or entry["time"] >= chosen.since)
        and (chosen.until is None or entry["time"] < chosen.until)
    )


async def test_a_search_finds_what_a_scan_over_every_opened_entry_finds(database, chance):
    place = await searchable(database)
    await place.append(*(invented(chance, number) for number in range(ENTRIES)))
    await place.sign()
    following = place.follower()
    await following.catch_up()
    await following._projection.close()
    stored = await place.database.ask("select * from sharegate.entry order by seq")
    entries = [opened(each) for each in stored]
    newest = sorted(range(ENTRIES), key=lambda at: (entries[at]["time"], at), reverse=True)
    searcher, found_some = place.searcher(), 0
    try:
        for _ in range(400):
            arguments = any_criteria(chance)
            chosen = parsed(*arguments)
            found = await searcher.find(criteria(chosen, INDEX_KEY))
            scanned = [at for at in newest if fits(entries[at], chosen)][: chosen.limit]
            assert [row.seq for row in found.rows] == scanned, arguments
            assert (found.reach, found.size) == (ENTRIES, ENTRIES)
            for row in found.rows:
                assert row.kind == entries[row.seq]["kind"]
                assert row.rule == entries[row.seq]["decision"].get("rule")
            found_some += 0 < len(scanned) < ENTRIES
    finally:
        await searcher.close()
    assert found_some > 150  # most of them must be able to tell a wrong answer from a right one


async def test_what_cannot_be_searched_yet_is_said(database, chance):
    place = await searchable(database)
    await place.append(*(invented(chance, number) for number in range(4)))
    await place.sign(3)
    following = place.follower()
    await following.catch_up()
    await following._projection.close()
    searcher = place.searcher()
    found = await searcher.find(Criteria())
    await searcher.close()
    assert (len(found.rows), found.reach, found.size) == (3, 3, 4)


def test_every_value_is_bound_and_none_is_spelt():
    words = {field.name: f"'; drop {field.name}" for field in msgspec.structs.fields(Criteria)} | {
        "limit": 7
    }
    text, values = statement(Criteria(**words))
    assert "'" not in text
    assert "drop" not in text
    assert len(values) == len(words)
    assert set(values) == set(words.values())
    assert all(f"${number}" in text for number in range(1, len(values) + 1))


def test_a_token_needs_the_index_key_and_an_officer_his_department():
    for name in ("matter-of", "concerned"):
        with pytest.raises(Misconfigured, match="index_key"):
            criteria(parsed(f"--{name}", "x"), None)
    with pytest.raises(Misconfigured, match="--consumer"):
        criteria(parsed("--officer", "x"), INDEX_KEY)
    with pytest.raises(Misconfigured, match="--provider"):
        criteria(parsed("--resource", "x"), INDEX_KEY)
    assert criteria(parsed("--reason", "x"), None) == Criteria(reason="x")


def test_an_officer_is_another_in_another_department():
    officers = {
        criteria(parsed("--officer", "li", "--consumer", each), INDEX_KEY).officer
        for each in ("tax", "housing")
    }
    assert len(officers) == 2


def test_the_entry_says_which_criteria_and_only_seals_their_values():
    chosen = parsed("--concerned", PEOPLE[0], "--since", "2026-01-01T08:00+08:00", "--limit", "5")
    said = reading(chosen)
    assert said.facts == {"reads": "search", "criteria": ("concerned", "since"), "limit": 5}
    assert said.values == {"criteria": {"concerned": PEOPLE[0], "since": 1_767_225_600_000}}
    assert said.matter == "A-1"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--limit", "0"), ("--limit", "10001"), ("--limit", "+5"), ("--limit", "1_0"),
        ("--limit", "\uff15"), ("--since", "2026-01-01"), ("--since", "2026-01-01T00:00"),
        ("--since", "\uff12026-01-01T00:00Z"), ("--until", "yesterday"), ("--consumer", ""),
        ("--consumer", "tax\n"), ("--concerned", "1\u202e2"), ("--matter-of", "x" * 501),
        ("--decision", "Deny"), ("--kin", "release", "--unknown"),
    ],
)  # fmt: skip
def test_what_is_no_criterion_is_refused_without_repeating_it(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        parsed(*arguments)
    assert left.value.code == 2
    assert "\u202e" not in capsys.readouterr().err
