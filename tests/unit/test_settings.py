"""The settings file: every key described, every fault named, no value repeated in a complaint."""

import contextlib
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.authorize.ruleset import load_rule_set
from sharegate.errors import Misconfigured
from sharegate.identify.registry import load_registry
from sharegate.settings import (
    AuditLogSettings,
    ConfirmSettings,
    KeeperSettings,
    Limits,
    Listen,
    ProjectionSettings,
    QuotaSettings,
    Settings,
    SourceSettings,
    Tls,
    TrustSettings,
    WitnessesSettings,
    examine_settings,
    load_settings,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "gateway.example.toml"
TABLES = {
    "": Settings,
    "listen": Listen,
    "listen.tls": Tls,
    "trust": TrustSettings,
    "audit_log": AuditLogSettings,
    "audit_log.witnesses": WitnessesSettings,
    "sources.tax": SourceSettings,
    "projection": ProjectionSettings,
    "quotas": QuotaSettings,
    "confirm": ConfirmSettings,
    "case_systems.tax": KeeperSettings,
    "consent_registers.tax": KeeperSettings,
    "limits": Limits,
}
INNER = {("listen", "tls"), ("audit_log", "witnesses")}  # tables within tables
GOOD = """\
policies = "policies"
registry = "/etc/registry.toml"
[listen]
exchange = "127.0.0.1:8080"
admin = "[::1]:9080"
authority = "sharegate.example"
[listen.tls]
certificate = "tls.pem"
key = "tls.key"
[trust]
administrators = ["one", "two", "three"]
threshold = 2
[audit_log]
origin = "sharegate.example/log"
append_dsn = "postgresql://a:canary@h/d"
read_dsn = "postgresql://r:canary@h/d"
signing_key = "keys/log.pem"
state = "../state"
[audit_log.witnesses]
stale_seconds = 900
[sources.tax]
dsn = "postgresql://t:canary@h/d"
[projection]
dsn = "postgresql://p:canary@h/d"
search_dsn = "postgresql://s:canary@h/d"
[quotas]
time_zone = "UTC"
[confirm]
signing_key = "keys/confirm.pem"
[case_systems.tax]
url = "https://canary.example/confirm"
public = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[consent_registers.tax]
url = "http://127.0.0.1:1/canary"
public = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[limits]
body_bytes = 1024
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return path

    return write


def described():
    """Every setting: (place, name, description, whether it must be given)."""
    for place, kind in TABLES.items():
        for field in msgspec.structs.fields(kind):
            schema = getattr(msgspec.inspect.type_info(field.type), "extra_json_schema", None)
            yield place, field.name, (schema or {}).get("description"), field.required


def test_it_is_read(write, tmp_path):
    settings = load_settings(write(GOOD))
    assert settings.listen.admin == "[::1]:9080"
    assert settings.sources["tax"].connections == 8
    assert settings.limits == Limits(body_bytes=1024)


def test_who_only_asks_names_no_source(write):
    before, _, after = GOOD.partition("[sources.tax]")
    text = before + after[after.index("[projection]") :]
    assert load_settings(write(text)).sources == {}


def test_what_is_closed_was_stale_before(write):
    wrong = GOOD.replace("stale_seconds = 900", "stale_seconds = 900\nclosed_seconds = 899")
    with pytest.raises(Misconfigured, match="closed_seconds is less than stale_seconds"):
        load_settings(write(wrong))
    load_settings(write(wrong.replace("899", "900")))


def test_relative_paths_are_relative_to_the_file(write, tmp_path, monkeypatch):
    path = write(GOOD)
    monkeypatch.chdir("/")
    settings = load_settings(path)
    assert settings.policies == tmp_path / "policies"
    assert settings.registry == Path("/etc/registry.toml")
    assert settings.audit_log.signing_key == tmp_path / "keys" / "log.pem"
    assert settings.audit_log.state == tmp_path / ".." / "state"


def test_every_setting_is_described():
    tables = {
        "listen",
        "trust",
        "audit_log",
        "projection",
        "quotas",
        "confirm",
        "limits",
    }  # whose own docstrings say what they are
    bare = [
        (place, name)
        for place, name, text, _ in described()
        if not text and not (place == "" and name in tables) and (place, name) not in INNER
    ]
    assert bare == []


@pytest.mark.parametrize("kind", TABLES.values())
def test_settings_are_frozen_and_closed(kind):
    assert kind.__struct_config__.frozen
    assert kind.__struct_config__.forbid_unknown_fields
    assert kind.__doc__


@pytest.mark.parametrize(
    ("place", "name"), [(place, name) for place, name, _, required in described() if required]
)
def test_a_missing_key_is_named(write, place, name):
    raw = tomllib.loads(GOOD)
    table = raw
    for part in filter(None, place.split(".")):
        table = table[part]
    del table[name]
    with pytest.raises(Misconfigured, match=rf"{place}.*`{name}`") as refused:
        load_settings(write(as_toml(raw)))
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(("place", "name"), [(place, name) for place, name, *_ in described()])
def test_a_wrong_type_is_named(write, place, name):
    raw = tomllib.loads(GOOD)
    table = raw
    for part in filter(None, place.split(".")):
        table = table[part]
    table[name] = ["canary"]
    with pytest.raises(Misconfigured, match=rf"{place}.*\b{name}\b") as refused:
        load_settings(write(as_toml(raw)))
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("place", TABLES)
def test_an_unknown_key_is_named_with_its_table_and_the_rest_is_read(write, place):
    raw = tomllib.loads(GOOD)
    table = raw
    for part in filter(None, place.split(".")):
        table = table[part]
    table["typo"] = "canary"
    path = write(as_toml(raw))
    with pytest.raises(Misconfigured, match=rf"{place or 'the file'}: `typo` is not a setting"):
        load_settings(path)
    settings, faults = examine_settings(path)
    assert settings == load_settings(write(GOOD))
    assert len(faults) == 1
    assert "canary" not in faults[0]


def test_every_table_with_a_fault_is_named(write):
    text = GOOD.replace("[limits]", "[limits]\nx = 1").replace('state = "../state"', "state = 5")
    settings, faults = examine_settings(write(text.replace("[listen]", "[listen]\ny = 1")))
    assert settings is None
    assert [fault.partition(":")[0] for fault in faults] == ["listen", "limits", "audit_log"]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('dsn = "postgresql://t', 'dsn = "mysql://t', "sources.tax.*dsn"),
        ('append_dsn = "postgresql://a:canary@h/d"\n', "", "both append_dsn and read_dsn"),
        ("127.0.0.1:8080", "127.0.0.1", "exchange"),
        ("127.0.0.1:8080", "127.0.0.1:65536", "exchange"),
        ("127.0.0.1:8080", "127.0.0.1:0", "exchange"),
        ('exchange = "127.0.0.1:8080"', 'exchange = "[::1]:9080"', "`exchange` and `admin`"),
        ('state = "../state"', 'state = ""', "audit_log: .*got an empty one.*state"),
        ("body_bytes = 1024", "body_seconds = 0.0", "limits.*body_seconds"),
        ("127.0.0.1:8080", "http://127.0.0.1:80", "exchange"),
        ("sharegate.example/log", "two words", "origin"),
        ("sharegate.example/log", "a+b", "origin"),
        ("https://canary", "http://canary", "case_systems.tax.*url"),
        ("1:1/canary", "1:1@canary.example", "consent_registers.tax.*url"),
        ('AAA="\n[consent', 'AAB="\n[consent', "case_systems.tax.*public"),
        ('signing_key = "keys/confirm.pem"', "seconds = 1.0", "confirm: needs signing_key"),
        ("body_bytes = 1024", "body_bytes = 1", "limits.*body_bytes"),
        ("body_bytes = 1024", "body_bytes = true", "limits.*body_bytes"),
        ("body_bytes = 1024", "drain_seconds = nan", "limits.*drain_seconds"),
        ("body_bytes = 1024", "drain_seconds = -1", "limits.*drain_seconds"),
        ("[limits]", "[audit_log.extra]\n[limits]", "extra"),
        ("[listen]", "[listen", "TOML"),
        ("[limits]", "[listen]", "TOML"),
        ("keys/log.pem", "keys\\u0000log.pem", "audit_log.*signing_key"),
    ],
)
def test_a_wrong_value_is_named_and_not_repeated(write, old, new, named):
    assert old in GOOD
    with pytest.raises(Misconfigured, match=named) as refused:
        load_settings(write(GOOD.replace(old, new)))
    assert "canary" not in str(refused.value)
    assert refused.value.place.endswith("gateway.toml")


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"none\.toml: No such file"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Misconfigured, match=r"bytes\.toml: is not TOML"):
        load_settings(tmp_path / "bytes.toml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(place=st.sampled_from([(place, name) for place, name, *_ in described()]), value=JSON)
def test_no_value_at_all_raises_anything_but_misconfigured(tmp_path_factory, place, value):
    raw = tomllib.loads(GOOD)
    table = raw
    for part in filter(None, place[0].split(".")):
        table = table[part]
    table[place[1]] = value
    path = tmp_path_factory.getbasetemp() / "any.toml"
    try:
        path.write_text(as_toml(raw))
    except (TypeError, UnicodeEncodeError):
        return  # TOML has no null and no lone surrogate
    with contextlib.suppress(Misconfigured):
        load_settings(path)


def as_toml(raw):
    """Write a table inline, which TOML allows everywhere."""
    return "".join(f"{quoted(key)} = {as_value(value)}\n" for key, value in raw.items())


def as_value(value):
    match value:
        case dict():
            inside = ", ".join(f"{quoted(key)} = {as_value(one)}" for key, one in value.items())
            return f"{{{inside}}}"
        case list():
            return f"[{', '.join(map(as_value, value))}]"
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case float() | int():
            return str(value)
        case _:
            raise TypeError(value)


def quoted(text):
    escaped = "".join(
        f"\\U{ord(one):08x}" if ord(one) < 32 or ord(one) == 127 or one in '"\\' else one
        for one in text
    )
    return f'"{escaped}"'


def comments_before_keys(text):
    """Each key of an example, in its table, with the comment above it as one line."""
    place, comment, found = "", [], {}
    for line in text.splitlines():
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
            continue
        if heading := re.fullmatch(r"\[([^]]+)\]", line):
            place = heading[1]
        elif key := re.match(r"(\w+) = ", line):
            found[place, key[1]] = " ".join(comment)
        comment = []
    return found


def test_the_example_says_of_every_setting_what_the_setting_says_of_itself():
    annotated = comments_before_keys(EXAMPLE.read_text())
    for place, name, text, required in described():
        if place == "" and name not in {"policies", "registry"}:
            continue
        if (place, name) in INNER:
            continue
        where = place.replace("s.tax", "s.civil-affairs")
        assert text in annotated[where, name], (place, name)
        assert annotated[where, name].endswith("Optional.") is not required, (place, name)


def test_the_examples_are_read_and_are_for_the_policies_here(tmp_path):
    settings = load_settings(EXAMPLE)
    registry = load_registry(EXAMPLE.with_name("registry.example.toml"))
    rule_set = load_rule_set(ROOT / "policies", registry.departments)
    assert {one.source for one in rule_set.catalogue.resources.values()} == set(settings.sources)
    assert {key.department for key in registry.keys.values()} == set(registry.departments)
