"""Reading the body of an access request."""

import base64
import gc
import json
import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sharegate.authorize import read as reading
from sharegate.authorize.read import read_request
from sharegate.model.request import AccessRequest, Unreadable
from tests.unit.authorize.policy_folder import QUESTION, body


def refused(content: bytes) -> str | None:
    read = read_request(content)
    assert isinstance(read, Unreadable), read
    assert read.detail
    assert read.pointer is None or (read.pointer.isascii() and read.pointer.isprintable())
    assert read.pointer is None or len(read.pointer) <= 200
    return read.pointer


def raw(member: str, value: str) -> bytes:
    """The usual question, one member spelt out as JSON text."""
    rest = json.dumps({k: v for k, v in QUESTION.items() if k != member})
    return f'{{"{member}":{value},{rest[1:]}'.encode()


def test_whole_question():
    read = read_request(
        body(
            fields=["name", "year"],
            limit=3,
            grant="g1",
            ruling="r-1",
            consent="c-1",
            where={"a": 1, "b": True},
        )
    )
    assert read == AccessRequest(
        provider="alpha",
        resource="things",
        mode="query",
        purpose="review",
        legal_basis="norm-one",
        matter="DB-2026-000123",
        fields=("name", "year"),
        where={"a": 1, "b": True},
        limit=3,
        grant="g1",
        ruling="r-1",
        consent="c-1",
    )
    assert read_request(body()).fields == ()


def test_a_leaf_hash_is_read_in_its_one_spelling():
    assert read_request(body()).consumer_entry is None
    assert read_request(body(consumer_entry="A" * 43)).consumer_entry == bytes(32)
    hashed = bytes(range(224, 256))
    text = base64.urlsafe_b64encode(hashed).decode().rstrip("=")
    assert read_request(body(consumer_entry=text)).consumer_entry == hashed
    wrong = "A" * 42, "A" * 44, "A" * 43 + "=", "A" * 42 + "B", "+" * 42 + "A", "", " " * 43, 7
    for each in wrong:
        assert read_request(body(consumer_entry=each)).pointer == "/consumer_entry", each


@pytest.mark.parametrize("member", ["grant", "ruling", "consent"])
def test_what_is_optional_is_told_apart(member):
    assert getattr(read_request(body()), member) is None
    named = read_request(body(**{member: "a-1"}))
    assert [getattr(named, each) for each in ("grant", "ruling", "consent")].count("a-1") == 1
    assert getattr(named, member) == "a-1"
    assert read_request(body(**{member: " "})).pointer == f"/{member}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"\xef\xbb\xbf" + body(),
        body() + b"x",
        body() + body(),
        body()[:-1],
        b"\xff" + body(),
        body().replace(b"things", b"\xed\xa0\x80"),
        body().decode().encode("utf-16"),
        b"{'provider':1}",
        body().replace(b"alpha", b"al\x00pha"),
        body().replace(b"alpha", b"al\npha"),
        b"[" * 65_000,
        b'{"a":' * 13_000,
        b'{"where":' + b"[" * 60_000,
        b"-" * 65_000,
        b'"' + b"\\u0000" * 10_000,
    ],
)
def test_bodies_that_are_no_object_of_json(content):
    assert refused(content) is None


@pytest.mark.parametrize("name", ["provider", "resource", "mode", "purpose", "legal_basis"])
@pytest.mark.parametrize(
    "value",
    [
        "1", "1.5", "null", "true", "[]", "{}", '""', '"a b"', '"a\\u0000"', '"a\\nb"', '"\\ud800"',
        '"\\u202ealpha"', '"a\\u200b"', '"ａlpha"', '"аlpha"', '"税务"', f'"{"a" * 64}"', "1e400",
        '{"a":1,"a":2}', "[[[[[[1]]]]]]",
    ],
)  # fmt: skip
def test_codes(name, value):
    assert refused(raw(name, value)) == f"/{name}"


@pytest.mark.parametrize(
    "value", ['"abc"', '"-abc"', '"abcd\\n"', '"ab d"', '"ab/cd"', '"案2026"', f'"{"a" * 65}"', "7"]
)
def test_matter(value):
    assert refused(raw("matter", value)) == "/matter"


@pytest.mark.parametrize("name", list(QUESTION))
def test_missing_member_is_named(name):
    assert refused(body(**{name: None})) == f"/{name}"


@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("limits", "/limits"),
        ("Limit", "/Limit"),
        ("a/b~c", "/a~1b~0c"),
        ("x" * 64, "/" + "x" * 64),
        ("x" * 65, None),
        ("\u202etimil", None),
        ("li\nmit", None),
        ("ｌimit", None),
        ("\ud800", None),
    ],
)
def test_unknown_member_is_named_if_that_is_safe(name, pointer):
    assert refused(body(**{name: 1})) == pointer


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        (b'{"limit":1,' + body(limit=1)[1:], "/limit"),
        (b'{"l\\u0069mit":1,' + body(limit=1)[1:], "/limit"),
        (raw("where", '{"number":"1","number":"2"}'), "/where/number"),
        (raw("where", '{"number":{"a":1,"a":2}}'), "/where/number"),
        (raw("where", '{"\\u202e":"1","\\u202e":"2"}'), "/where"),
    ],
)
def test_a_name_twice_is_refused_at_every_level(content, pointer):
    assert refused(content) == pointer


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ("{}", "/where"),
        ("[]", "/where"),
        ("null", "/where"),
        (json.dumps({f"k{i}": 1 for i in range(9)}), "/where"),
        ('{"":1}', "/where/"),
        ('{"a b":1}', "/where/a b"),
        ('{"名":1}', "/where"),
        ('{"n":""}', "/where/n"),
        ('{"n":null}', "/where/n"),
        ('{"n":1.0}', "/where/n"),
        ('{"n":1e2}', "/where/n"),
        ('{"n":1e400}', "/where/n"),
        ('{"n":NaN}', "/where/n"),
        ('{"n":-Infinity}', "/where/n"),
        ('{"n":9007199254740992}', "/where/n"),
        ('{"n":-9007199254740992}', "/where/n"),
        ('{"n":' + "9" * 60_000 + "}", "/where/n"),
        ('{"n":["1"]}', "/where/n"),
        ('{"n":{"$ne":1}}', "/where/n"),
        (json.dumps({"n": "x" * 257}), "/where/n"),
        ('{"n":"\\u0000"}', "/where/n"),
        ('{"n":"a\\u001b[31m"}', "/where/n"),
        ('{"n":"\\udc00\\ud800"}', "/where/n"),
        ('{"n":"\\u202e1"}', "/where/n"),
        ('{"n":"\\u2066"}', "/where/n"),
        ('{"n":"a\\u200bb"}', "/where/n"),
        ('{"n":"\\u2028"}', "/where/n"),
    ],
)
def test_where(value, pointer):
    assert refused(raw("where", value)) == pointer


@pytest.mark.parametrize("value", ["1.0", "1e2", "1e400", "-0.0", "NaN", "Infinity", "-Infinity"])
def test_a_number_that_readers_round_is_called_so(value):
    assert "fraction" in read_request(raw("where", f'{{"n":{value}}}')).detail


@pytest.mark.parametrize(
    "value", ["0", "-1", "10001", "1.0", '"1"', "true", "null", "[1]", "1e1", "9" * 5000]
)
def test_limit(value):
    assert refused(raw("limit", value)) == "/limit"


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ("[]", "/fields"),
        ("null", "/fields"),
        ('"name"', "/fields"),
        (json.dumps([f"f{i}" for i in range(65)]), "/fields"),
        ('["name",1]', "/fields/1"),
        ('["name","name"]', "/fields/1"),
        ('["name","*\\u0000"]', "/fields/1"),
    ],
)
def test_fields(value, pointer):
    assert refused(raw("fields", value)) == pointer


def test_edges_that_are_still_readable():
    edge = 2**53 - 1
    asked = body(where={"n": edge, "m": -edge, "t": "字" * 256}, limit=10_000, fields=["f" * 63])
    assert read_request(asked).where == {"n": edge, "m": -edge, "t": "字" * 256}


def test_the_longest_readable_body_is_decoded_and_a_longer_list_is_not():
    longest = {f"{i}{'k' * 62}": "," * 256 for i in range(8)}
    fields = [f"{i:02d}{'f' * 61}" for i in range(64)]
    read = read_request(body(where=longest, fields=fields, limit=10_000, grant="g" * 63))
    assert isinstance(read, AccessRequest)
    assert refused(b"[" + b"1," * 4_096 + b"1]") is None
    assert "more members" in read_request(b"[" + b"1," * 4_097 + b"1]").detail
    commas = [f"{',' * 61}{i:02d}" for i in range(64)]
    assert "more members" in read_request(body(where=longest, fields=commas)).detail


def test_values_are_taken_as_sent():
    # GBK data holds ideographs that Unicode normalisation would replace: 0xFD9C is U+F92C.
    name = b"\xfd\x9c".decode("gbk")
    assert unicodedata.normalize("NFC", name) != name
    # Rare family names sit beyond what this Python knows, or in the private use area.
    for value in (name, "\U00031350", "\ue815", "𠮷田", "e\u0301"):
        assert read_request(body(where={"number": value})).where == {"number": value}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*QUESTION, "limit", "fields", "x"]), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(st.binary(max_size=300))
@example(b'{"where":{"a":1}')
def test_no_bytes_raise(content):
    assert isinstance(read_request(content), Unreadable)


@given(json_values)
def test_no_json_raises(value):
    read_request(json.dumps(value).encode())


@given(
    st.dictionaries(
        st.sampled_from([*QUESTION, "limit", "fields", "grant"]), json_values, max_size=3
    )
)
def test_no_variation_of_a_question_raises(changes):
    read = read_request(json.dumps({**QUESTION, **changes}).encode())
    if isinstance(read, Unreadable):
        assert read.pointer is None or read.pointer.startswith("/")


tricky = st.sampled_from([
    '"a"', '"a b"', '"a:b"', '"a\\u003ab"', '""', '"\\ud800"', '"\\u0000"', '"字"', '"\\u200b"',
    '"\ue815"', '"AB-12"', '"AB 12"', "1", "0", "-1", "10001", "1.0", "1e3", "9007199254740993",
    "true", "null", "[]", '["a"]', '["a","a"]', '["a b"]', '["a","b"]', "[1]", "{}", '{"a":"1"}',
    '{"a":"1","a":"2"}', '{"a":"1","b":"x:y"}', '{"a":1}', '{"a b":"1"}', '{"a":" "}', '{"a":""}',
    '{"a":"\\u200b"}', '{"字":"1"}', f'"{"x" * 63}"', f'"{"x" * 64}"', f'{{"a":"{"x" * 257}"}}',
])  # fmt: skip
members = st.tuples(st.sampled_from([*QUESTION, "limit", "fields", "grant", "x"]), tricky)


@settings(max_examples=600)
@given(
    st.lists(members, max_size=3),
    st.lists(st.sampled_from([*QUESTION]), max_size=1),
    st.sampled_from([",", " , "]),
)
@example([("where", '{"a":"1","a":"2"}')], ["where"], ",")
@example([("limit", "7"), ("fields", '["a","b"]')], [], ",")
def test_the_short_way_takes_nothing_that_the_long_way_reads_otherwise(added, left_out, comma):
    usual = [(name, json.dumps(said)) for name, said in QUESTION.items() if name not in left_out]
    text = comma.join(f'"{name}":{said}' for name, said in [*usual, *added])
    content = f"{{{text}}}".encode(errors="surrogatepass")
    short = reading._usual_request(content)
    assert short is None or short == reading._access_request(reading._decoded(content))


@pytest.mark.parametrize(
    "changes", [{}, {"fields": ["name", "year"]}, {"limit": 3}, {"where": {"name": "欧阳娜"}}]
)
def test_what_is_usual_is_read_the_short_way(changes):
    assert reading._usual_request(body(**changes)) is not None


@pytest.mark.parametrize(
    "hostile",
    [
        lambda n: "{" + ",".join(f'"{i:06d}":{i}' for i in range(n)) + "}",
        lambda n: "{" + ",".join('"a":1' for _ in range(n)) + "}",
        lambda n: "[" + ",".join("1e9" for _ in range(n)) + "]",
        lambda n: '{"fields":[' + ",".join(f'"f{i}"' for i in range(n)) + "]}",
        lambda n: '{"where":{"n":' + "9" * n + "}}",
    ],
)
def test_hostile_bodies_are_read_in_linear_steps(hostile):
    def steps(size: int) -> int:
        content = hostile(size).encode()
        count = 0

        def step(frame, event, argument):
            nonlocal count
            count += 1

        gc.disable()  # what others left behind is not cleared away meanwhile
        sys.setprofile(step)
        try:
            read_request(content)
        finally:
            sys.setprofile(None)
            gc.enable()
        return count

    assert steps(4_000) <= 4 * steps(1_000) + 100
