"""A faulty policies folder never loads, and says where it is faulty."""

import hashlib
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from sharegate.authorize import grants, ruleset
from sharegate.authorize.pdp import PolicyDecisionPoint, Question
from sharegate.authorize.ruleset import load_rule_set
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import Mode
from sharegate.model.decision import Reason
from sharegate.model.grant import Effect, Grant
from sharegate.model.party import DepartmentId
from tests.unit.authorize.policy_folder import (
    AT,
    DEPARTMENTS,
    FIELDS,
    MODEL,
    PURPOSES,
    RESOURCES,
    field,
    grant,
    load,
    resource,
    table,
    write,
)


def refuse(folder, files, place, *lines):
    with pytest.raises(Misconfigured) as caught:
        load_rule_set(write(folder, files, *lines), DEPARTMENTS)
    assert re.search(place, caught.value.place), caught.value
    return caught.value


def test_a_sound_folder_loads(tmp_path):
    rules = load(tmp_path, grant(), grant("g2", "deny", "*", mode="*", purpose="*"))
    assert rules.grants[0] == Grant(
        id="g1",
        effect=Effect.ALLOW,
        consumer="beta",
        posts=("*",),
        provider="alpha",
        resource="things",
        modes=(Mode.QUERY,),
        purposes=("review",),
        fields=("name", "number", "year"),
        row_limit=10,
        valid_from=1_767_225_600_000,
        valid_until=1_798_761_600_000,
        assessment="PIA-1",
    )
    assert rules.grants[1].fields == ()
    assert rules.grants[1].row_limit == 0
    assert rules.catalogue.purposes["review"].legal_bases == {
        "norm-one": "《办法一》",
        "norm-two": "《办法二》",
    }
    assert rules.catalogue.resources["alpha", "things"].relation == ("estate", "property")


@pytest.mark.parametrize(
    "line",
    [
        grant(effect="Deny"),
        grant(effect="deny "),
        grant(effect=" allow"),
        grant(effect="ALLOW"),
        grant(effect=""),
        grant(effect="permit"),
        grant(effect="allоw"),  # a Cyrillic letter
        grant(name=""),
        grant(name="G1"),
        grant(name="g 1"),
        grant(name="g1 "),
        grant(name="1g"),
        grant(name="g" * 64),
        grant(name="g1"),  # used by the line above
        grant(consumer="delta"),
        grant(consumer=""),
        grant(consumer="beta "),
        grant(consumer="Beta"),
        grant(consumer="be*"),
        grant(consumer="ｂeta"),
        grant(thing=""),
        grant(thing="*"),
        grant(thing="thing"),
        grant(thing="things/../others"),
        grant(thing="beta-things"),
        grant(thing="closed"),
        grant(mode=""),
        grant(mode="Query"),
        grant(mode="verify"),
        grant(purpose=""),
        grant(purpose="re*"),
        grant(purpose="Review"),
        grant(purpose="other"),
        grant(fields=""),
        grant(fields="*"),
        grant(fields="number  name"),
        grant(fields="number name "),
        grant(fields="number number"),
        grant(fields="number;name"),
        grant(fields="salary"),
        grant(rows=""),
        grant(rows="0"),
        grant(rows="-1"),
        grant(rows="+5"),
        grant(rows="1_0"),
        grant(rows="05"),
        grant(rows="5.0"),
        grant(rows="５"),
        grant(rows="51"),
        grant(since=""),
        grant(since="2026-1-1"),
        grant(since="2026-02-30"),
        grant(since="2026-W01-1"),
        grant(since="2026-01-01T00:00:00"),
        grant(until="2026-01-01"),
        grant(until="2025-01-01"),
        grant(until="9999-99-99"),
        grant(effect="deny").replace("review,,,", "review,number,,"),
        grant(effect="deny").replace("review,,,", "review,,10,"),
        grant() + ",",
        grant().rpartition(",")[0],
        grant().replace(",query,", ","),
        "",
        "# a comment",
        "p," + grant(),
        grant().replace("beta", '"beta"'),
        grant().replace("beta", "beta\r"),
        grant().replace("beta", "be\x00ta"),
        grant().replace("beta", "be\u200bta"),
        grant().replace("beta", "be\u202eta"),
        grant().replace("beta", "be\u2028ta"),
        grant().replace("beta", "be\nta"),
        grant(effect="deny").replace("deny", "de\nny"),
    ],
)
def test_one_faulty_line_refuses_the_folder(tmp_path, line):
    sound = grant("g1") if line.startswith("g1,") and line == grant() else grant("g0")
    refuse(tmp_path, None, r"alpha/grants\.csv:3$", sound, line, grant("g9"))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", 1),
        (b"\n", 1),
        (table([grant()]).replace("row_limit", "limit").encode(), 1),
        (table([grant()]).replace("id,effect", "effect,id").encode(), 1),
        (table([grant()]).replace("valid_until", "valid_until,quota", 1).encode(), 1),
        (table([grant()]).replace("id,", "id ,", 1).encode(), 1),
        (b"\xef\xbb\xbf" + table([grant()]).encode(), 1),
        (table([grant()]).replace("\n", "\r\n").encode(), 1),
        (table([grant()])[:-1].encode(), 2),
        (table([grant()])[:-9].encode(), 2),
        (table([grant()]).encode() + b"\n", 3),
        (table([grant()]).encode() + b"\xff\n", 3),
        (table([grant()]).encode("utf-16"), 1),
    ],
)
def test_a_faulty_table_is_refused(tmp_path, content, line):
    refuse(tmp_path, {"alpha/grants.csv": content}, rf"alpha/grants\.csv:{line}$")


def test_a_byte_order_mark_is_called_by_its_name(tmp_path):
    wrong = refuse(tmp_path, {"alpha/grants.csv": "\ufeff" + table([grant()])}, "grants")
    assert "byte order mark" in wrong.detail


def test_a_table_cut_off_is_called_so(tmp_path):
    for lost in (1, 9):
        cut = {"alpha/grants.csv": table([grant()])[:-lost]}
        assert "cut off" in refuse(tmp_path, cut, r"grants\.csv:2$").detail


def test_no_grant_at_all_is_refused(tmp_path):
    refuse(tmp_path, {"alpha/grants.csv": table([])}, re.escape(str(tmp_path)) + "$")


def test_where_nobody_provides_there_need_be_no_grant_and_nobody_is_permitted(tmp_path):
    shutil.rmtree(write(tmp_path) / "alpha")
    rules = load_rule_set(tmp_path, DEPARTMENTS)
    assert (rules.grants, dict(rules.catalogue.resources)) == ((), {})
    asked = Question("beta", "", "alpha", "things", "query", "review", (), None)
    assert PolicyDecisionPoint(rules).decide(asked, AT).reason is Reason.NO_GRANT


def test_ids_are_unique_over_all_providers(tmp_path):
    beta = {
        "beta/resources.toml": RESOURCES,
        "beta/grants.csv": table([grant("g1", consumer="alpha")]),
    }
    refuse(tmp_path, beta, r"beta/grants\.csv:2$")
    beta["beta/grants.csv"] = table([grant("g2", consumer="alpha")])
    assert [g.id for g in load_rule_set(write(tmp_path, beta), DEPARTMENTS).grants] == ["g1", "g2"]


def test_a_provider_grants_only_its_own(tmp_path):
    beta = {
        "beta/resources.toml": resource("secrets"),
        "beta/grants.csv": table([grant("g2", consumer="alpha", thing="things")]),
    }
    refuse(tmp_path, beta, r"beta/grants\.csv:2$")


def test_so_many_grants_may_share_a_key_and_no_more(tmp_path):
    most = grants.MAX_GRANTS_PER_KEY
    lines = [grant(f"g{i}") for i in range(most + 1)]
    assert len(load(tmp_path, *lines[:most]).grants) == most
    refuse(tmp_path, None, rf"grants\.csv:{most + 2}$", *lines)


def test_the_number_of_grants_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(ruleset, "MAX_GRANTS", 2)
    refuse(tmp_path, None, "grants", grant("a"), grant("b"), grant("c"))


@pytest.mark.parametrize(
    "name",
    ["grant.csv", "alpha/grant.csv", "alpha/grants.CSV", "alpha/grants.csv.bak", "alpha/x/y"],
)
def test_a_file_nobody_reads_is_refused(tmp_path, name):
    refuse(tmp_path, {name: "x\n"}, re.escape(name.removesuffix("/y")) + "$")


@pytest.mark.parametrize(
    "name", ["model.conf", "purposes.csv", "alpha/resources.toml", "alpha/grants.csv"]
)
def test_a_missing_file_is_named(tmp_path, name):
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(Misconfigured, match=re.escape(name)):
        load_rule_set(tmp_path, DEPARTMENTS)


def test_a_missing_folder_and_a_stranger_are_named(tmp_path):
    with pytest.raises(Misconfigured, match="nowhere"):
        load_rule_set(tmp_path / "nowhere", DEPARTMENTS)
    stranger = {"delta/resources.toml": RESOURCES, "delta/grants.csv": table([grant("g2")])}
    refuse(tmp_path, stranger, "delta$")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('id = "things"', 'id = "Things"', "resource"),
        ('id = "things"', 'id = "things\\n"', "resource"),
        ('id = "others"', 'id = "things"', "things"),
        ("version = 1", 'version = "1"', "resources"),
        ("version = 1", "version = 0", "resources"),
        ("version = 1", "version = 1\nspeed = 2", "resources"),
        ("version = 1", "version = 1\nversion = 1", "resources"),
        ("version = 1\n", "", "resources"),
        ('modes = ["query"]', "modes = []", "resources"),
        ('modes = ["query"]', 'modes = ["verify"]', "resources"),
        ("row_limit = 50", "row_limit = 0", "resources"),
        ("row_limit = 50", "row_limit = 100000", "resources"),
        ('"conditional"', '"Conditional"', "resources"),
        ('"conditional"', '"secret"', "resources"),
        ('"estate.property"', '"property"', "resources"),
        ('"estate.property"', '"a.b.c"', "resources"),
        ('"estate.property"', '"estate.property; drop table x"', "resources"),
        ('"estate.property"', '"estate.property\\n"', "resources"),
        ('"estate.property"', "'estate.\"property\"'", "resources"),
        ('name_zh = "资源"', 'name_zh = ""', "resources"),
        ('name_zh = "资源"', 'name_zh = "资\\n源"', "things name_zh"),
        ('name_zh = "字段"', 'name_zh = "字\\u202e段"', "number name_zh"),
        ('column = "number"', 'column = "number, ssn"', "resources"),
        ('column = "number"', 'column = "Number"', "resources"),
        ('column = "name"', 'column = "number"', "things"),
        ('name = "year"', 'name = "number"', "number"),
        ('type = "integer"', 'type = "integer"\nmax = 3', "resources"),
        ("[[resource]]", "owner = 1\n[[resource]]", "resources"),
        ('type = "integer"', 'type = "int"', "resources"),
        ('mask = "name"', 'mask = "Name"', "resources"),
        ('mask = "name"\nkey = false', 'mask = "name"\nkey = true', "field name"),
        ("key = false", 'key = "false"', "resources"),
        ("key = false", "key = 0", "resources"),
        ("[[resource]]", "[[resources]]", "resources"),
        ("[[resource]]", "[[resource", "resources"),
    ],
)  # fmt: skip
def test_a_faulty_catalogue_is_refused(tmp_path, old, new, place):
    assert old in RESOURCES
    refuse(tmp_path, {"alpha/resources.toml": RESOURCES.replace(old, new, 1)}, place)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "resource = []\n",
        resource("things", fields=[("name", "text", "none", False)]),  # no key field
        resource("things", fields=[]),
        resource("things", fields=[(f"f{i}", "text", "none", True) for i in range(65)]),
        b"\xff",
    ],
)
def test_a_hollow_catalogue_is_refused(tmp_path, content):
    refuse(tmp_path, {"alpha/resources.toml": content}, r"alpha/resources\.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (PURPOSES.splitlines()[0] + "\n", ""),
        (PURPOSES.replace("code,", "id,"), ":1"),
        (PURPOSES.replace("survey,调查", "Survey,调查"), ":4"),
        (PURPOSES.replace("norm-two", "Norm-two", 1), ":3"),
        (PURPOSES.replace("Review,norm-two", "Look,norm-two"), ":3"),
        (PURPOSES.replace("review,审核,Review,norm-two", "review,审查,Review,norm-two"), ":3"),
        (PURPOSES.replace("norm-two", "norm-one", 1), ":3"),
        (PURPOSES.replace("调查", " "), ":4"),
        (PURPOSES.replace("《办法二》", "", 1), ":3"),
        (PURPOSES.replace("调查", "调\u200b查"), ":4"),
        (PURPOSES.replace("Survey", '"Survey"'), ":4"),
        (PURPOSES.replace("Survey,", "Survey, or so,"), ":4"),
    ],
)
def test_a_faulty_list_of_purposes_is_refused(tmp_path, text, line):
    assert text != PURPOSES
    refuse(tmp_path, {"purposes.csv": text}, rf"purposes\.csv{line}$")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(g(r.consumer, p.consumer) || p.consumer", "(g(r.consumer, p.consumer) || p.provider"),
        ("r.provider == p.provider", 'r.provider == p.provider || p.provider == "*"'),
        ("r.provider == p.provider", '(r.provider == p.provider || p.provider == "*")'),
        ("r.provider == p.provider && ", ""),
        ("r.resource == p.resource", "keyMatch(r.resource, p.resource)"),
        ("r.resource == p.resource", "regexMatch(r.resource, p.resource)"),
        ("r.resource == p.resource", "eval(p.resource)"),
        ("r.resource == p.resource", "r.resource != p.resource"),
        ("m = ", "m = true || "),
        ('p.mode == "*"', 'p.mode == ""'),
        ("&& !some(where (p.eft == deny))", ""),
        ("e = some(where (p.eft == allow)) && !some", "e = !some"),
        ("p = rule, ", "p = "),
        ("resource, mode, purpose, eft", "resource, mode, purpose"),
        ("r = consumer, officer", "r = officer, consumer"),
        ("g2 = _, _\n", ""),
        ("g2 = _, _\n", "g2 = _, _\ng3 = _, _\n"),
        ("[role_definition]", "p2 = rule, eft\n[role_definition]"),
        ("[matchers]", "[matcher]"),
        ("[matchers]", "junk\n[matchers]"),
        (MODEL, ""),
    ],
)
def test_any_other_model_is_refused(tmp_path, old, new):
    assert old in MODEL
    rules = load_rule_set(write(tmp_path, {"model.conf": MODEL.replace(old, new)}), DEPARTMENTS)
    with pytest.raises(Misconfigured, match=r"model\.conf") as caught:
        PolicyDecisionPoint(rules)
    assert "self-test" not in caught.value.detail  # refused before it was ever tried


def test_the_hash_is_over_every_file_that_decides_and_no_other(tmp_path):
    write(tmp_path)
    first = load_rule_set(tmp_path, DEPARTMENTS).hash
    assert first == load_rule_set(tmp_path, DEPARTMENTS).hash
    parts = ["alpha/grants.csv", "alpha/resources.toml", "model.conf", "posts.csv", "purposes.csv"]
    lines = [f"{hashlib.sha256((tmp_path / n).read_bytes()).hexdigest()}  {n}\n" for n in parts]
    assert first == hashlib.sha256("".join(lines).encode()).hexdigest()
    write(tmp_path, {"README.md": "x", "alpha/grants_test.csv": "x"})
    assert load_rule_set(tmp_path, DEPARTMENTS).hash == first
    for name in parts:
        sound = (tmp_path / name).read_bytes()
        changed = sound.replace("《办法一》".encode(), "《办法三》".encode())
        if name.endswith("grants.csv"):
            changed = sound.replace(b",10,", b",11,")
        elif name == "posts.csv":
            changed = sound.replace(b"Clerk", b"Scribe")
        elif changed == sound:
            changed = b"# a remark\n" + sound
        (tmp_path / name).write_bytes(changed)
        assert load_rule_set(tmp_path, DEPARTMENTS).hash != first, name
        (tmp_path / name).write_bytes(sound)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils are not installed")
def test_an_auditor_gets_the_hash_with_the_usual_tools(tmp_path):
    # Folders come before their names with a hyphen; paths the other way round.
    second = {
        "alpha-2/resources.toml": RESOURCES,
        "alpha-2/grants.csv": table([grant("g2")]),
    }
    rules = load_rule_set(
        write(tmp_path, second),
        DEPARTMENTS | {"alpha-2": replace(DEPARTMENTS["alpha"], id=DepartmentId("alpha-2"))},
    )
    command = re.search(r"sha256sum \*\.conf.*sha256sum$", ruleset.__doc__, re.MULTILINE)[0]
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == rules.hash


def test_a_purpose_without_norm_or_without_basis_is_not_withdrawn_but_faulty(tmp_path):
    for line in ("review,审核,Review,norm-one,", "review,审核,Review,,《办法一》"):
        text = PURPOSES.splitlines()[0] + "\n" + line + "\n"
        refuse(tmp_path, {"purposes.csv": text}, r"purposes\.csv:2$")
    gone = load_rule_set(
        write(tmp_path, {"purposes.csv": PURPOSES + "old,旧,Old,,\n"}), DEPARTMENTS
    ).catalogue.purposes["old"]
    assert gone.legal_bases == {}


def test_a_stray_character_is_found_wherever_it_is(tmp_path):
    """A file is searched in pieces: the last of many, and the seams, are searched too."""
    lines = [grant(f"g{n}", purpose="review", rows=str(n % 50 + 1)) for n in range(2200)]
    whole = table(lines)
    assert len(whole) > 3 * 65_536  # or change the number
    for at in (65_535, 65_536, 131_071, 131_072, len(whole) - 3):
        found = whole[:at] + "\u202e" + whole[at + 1 :]
        line = found.count("\n", 0, at) + 1
        wrong = refuse(tmp_path, {"alpha/grants.csv": found}, rf"alpha/grants\.csv:{line}$")
        assert "U+202E" in wrong.detail


def test_every_field_may_be_open_and_the_persons_are_known(tmp_path):
    named = RESOURCES.replace('name = "number"\n', 'name = "number"\nperson = true\n', 1)
    head, rest = named.split("[[resource.field]]", 1)
    terms = 'accepted_purposes = ["review"]\n'
    terms += f"open_fields = [{', '.join(repr(name) for name, *_ in FIELDS)}]\n"
    text = f"{head.replace('conditional', 'unconditional')}{terms}[[resource.field]]{rest}"
    thing = load_rule_set(
        write(tmp_path, {"alpha/resources.toml": text}, grant(thing="others")), DEPARTMENTS
    ).catalogue.resources["alpha", "things"]
    assert [name for name, each in thing.fields.items() if each.person] == ["number"]
    assert set(thing.open.fields) == {name for name, *_ in FIELDS}
    assert thing.relation == ("estate", "property")


def test_every_field_of_a_catalogue_entry_is_kept(tmp_path):
    thing = load(tmp_path).catalogue.resources["alpha", "things"]
    assert [(f.name, f.type.value, f.mask.value, f.key) for f in thing.fields.values()] == [*FIELDS]
    assert field("number", key=True) in RESOURCES
