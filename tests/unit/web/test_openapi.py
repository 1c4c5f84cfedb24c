"""The description says what the code does."""

import json
from dataclasses import replace

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate

from sharegate.authorize import read
from sharegate.authorize.read import read_request
from sharegate.errors import Unavailable, Unproven
from sharegate.model.catalogue import (
    Catalogue,
    Field,
    FieldType,
    Listed,
    MaskRule,
    Mode,
    Resource,
    Sensitivity,
    SharingClass,
)
from sharegate.model.request import AccessRequest
from sharegate.web import problems
from sharegate.web.openapi import openapi_document
from sharegate.web.schemas import ASKED

CATALOGUE = Catalogue(
    {
        ("tax", "incomes"): Resource(
            "tax", "incomes", 1, "收入", "Incomes", SharingClass.CONDITIONAL, "《办法》", "tax",
            ("levy", "income"), frozenset({Mode.QUERY}), 10,
            {
                "id_number": Field("id_number", "身份证号", "id", FieldType.TEXT,
                                   Sensitivity.PERSONAL, MaskRule.NONE, key=True),
                "gross": Field("gross", "收入", "gross", FieldType.DECIMAL,
                               Sensitivity.SENSITIVE, MaskRule.REDACT, key=False),
            },
        ),
    },
    {},
)  # fmt: skip
DOCUMENT = json.loads(openapi_document(CATALOGUE))
SCHEMAS = DOCUMENT["components"]["schemas"]


def validator(schema):
    return jsonschema_rs.validator_for(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, **DOCUMENT},
        validate_formats=True,
    )


ASKS = validator({"$ref": "#/components/schemas/AccessRequest"})
PROBLEM = validator({"$ref": "#/components/schemas/Problem"})


def responses():
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                yield f"{method} {path} {status}", int(status), response


def test_it_is_openapi_3_1():
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)


def test_it_is_ascii_and_the_same_each_time():
    assert openapi_document(CATALOGUE).isascii()
    assert openapi_document(CATALOGUE) == openapi_document(CATALOGUE)


def test_every_problem_type_is_listed_and_no_other():
    listed = SCHEMAS["Problem"]["properties"]["type"]["enum"]
    assert listed == [problems.TYPE_PREFIX + row.name for row in problems.EVERY]
    why = {row.value for row in (*Unproven, *Unavailable)}
    assert set(SCHEMAS["Problem"]["properties"]["reason"]["enum"]) == why


def test_every_problem_type_but_those_of_other_paths_belongs_to_an_operation():
    given_out = set()
    for _, status, response in responses():
        for content in response.get("content", {}).values():
            if status >= 400:
                _, narrowed = content["schema"]["allOf"]
                assert narrowed["properties"]["status"] == {"const": status}
                given_out |= set(narrowed["properties"]["type"]["enum"])
    everything = {problems.TYPE_PREFIX + row.name for row in problems.EVERY}
    elsewhere = {problems.NOT_ALLOWED.name, problems.NOT_FOUND.name}
    assert everything - given_out == {problems.TYPE_PREFIX + name for name in elsewhere}


@pytest.mark.parametrize(("_where", "status", "response"), list(responses()))
def test_every_example_fits_its_own_schema(_where, status, response):
    for kind, content in response.get("content", {}).items():
        assert (kind == problems.CONTENT_TYPE) == (status >= 400)
        if "example" in content:
            assert list(validator(content["schema"]).iter_errors(content["example"])) == []


def test_the_examples_of_the_documents_fit():
    for name, schema in SCHEMAS.items():
        for shown in schema.get("examples", ()):
            validator({"$ref": f"#/components/schemas/{name}"}).validate(shown)
    for parameter in DOCUMENT["components"]["parameters"].values():
        validator(parameter["schema"]).validate(parameter["example"])
    ASKS.validate(ASKED)


def test_a_recorded_problem_has_its_entry_and_another_has_none():
    for row in problems.EVERY:
        document = {
            "type": problems.TYPE_PREFIX + row.name,
            "title": row.title,
            "status": row.status,
            "detail": "No.",
        }
        entry = {
            "instance": "urn:uuid:0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e57",
            "entry": 0,
        }
        assert PROBLEM.is_valid(document | entry) is row.recorded
        assert PROBLEM.is_valid(document) is not row.recorded
        assert not PROBLEM.is_valid(document | {"rows": []})


texts = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["a", "DB-2026-000123", "x" * 63, "x" * 64, "x" * 65, "x" * 256, "x" * 257]),
    st.sampled_from(
        ["", "\n", "a\n", "a\x00", "\u202e", "\U000e0041", "\ufeff", "邓", "郎", "~", "é"]
    ),
)
scalars = st.one_of(
    texts,
    st.booleans(),
    st.none(),
    st.integers(-(2**54), 2**54),
    st.sampled_from([0, 1, 10_000, 10_001, 2**53, 2**53 - 1, -(2**53), 1.5]),
)
values = st.one_of(
    scalars,
    st.lists(texts, max_size=3),
    st.lists(texts, min_size=62, max_size=66, unique=True),
    st.dictionaries(texts, scalars, max_size=10),
)


@st.composite
def bodies(draw):
    """A question that may be asked, with some members changed, added or gone."""
    body = dict(ASKED)
    names = st.sampled_from([*body, "grant", "where", "fields", "limits"])
    for name in draw(st.lists(names, max_size=3)):
        if draw(st.booleans()):
            body[name] = draw(values)
        else:
            body.pop(name, None)
    return body


@given(bodies())
@example(ASKED | {"fields": [f"f{i}" for i in range(read.MAX_FIELDS)]})
@example(ASKED | {"fields": [f"f{i}" for i in range(read.MAX_FIELDS + 1)]})
@example(ASKED | {"fields": []})
@example(ASKED | {"fields": ["a", "a"]})
@example(ASKED | {"where": {f"f{i}": i for i in range(read.MAX_WHERE)}})
@example(ASKED | {"where": {f"f{i}": i for i in range(read.MAX_WHERE + 1)}})
@example(ASKED | {"limit": True})
@example(ASKED | {"provider": "housing\n"})
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_schema_and_the_reader_agree(body):
    readable = isinstance(read_request(json.dumps(body).encode()), AccessRequest)
    assert ASKS.is_valid(body) is readable


@pytest.mark.parametrize("member", [*(m for m in ASKED if isinstance(ASKED[m], str)), "grant"])
def test_the_schema_and_the_reader_agree_on_each_length(member):
    for length in (*range(70), read.MAX_VALUE, read.MAX_VALUE + 1):
        body = ASKED | {
            member: "x" * length,
        }
        readable = isinstance(read_request(json.dumps(body).encode()), AccessRequest)
        assert ASKS.is_valid(body) is readable, length


def test_the_schema_and_the_reader_agree_on_each_length_of_a_value():
    for length in range(read.MAX_VALUE + 3):
        body = ASKED | {"where": {"name": "郎" * length}}
        readable = isinstance(read_request(json.dumps(body).encode()), AccessRequest)
        assert ASKS.is_valid(body) is readable, length


def test_the_schema_and_the_reader_agree_on_each_letter():
    for letter in (*range(0x2100), *range(0xFE00, 0x10000), *range(0xDFFF0, 0xE0090)):
        body = ASKED | {"where": {"name": f"a{chr(letter)}b"}}
        readable = isinstance(read_request(json.dumps(body).encode()), AccessRequest)
        assert ASKS.is_valid(body) is readable, hex(letter)


def test_the_modes_are_those_there_are():
    described = SCHEMAS["AccessRequest"]["properties"]["mode"]["description"]
    assert all(mode.value in described for mode in Mode)


def test_each_resource_is_described_with_fields_of_its_own():
    schemas = DOCUMENT["components"]["schemas"]
    where, row = schemas["tax.incomes.where"], schemas["tax.incomes.row"]
    assert list(where["properties"]) == ["id_number"]
    assert where["properties"]["id_number"]["type"] == "string"
    assert row["properties"]["gross"]["type"] == ["string", "null"]
    assert "pattern" not in row["properties"]["gross"]  # what is masked has no form


def test_a_resource_for_some_is_not_described_to_all():
    incomes = replace(CATALOGUE.resources["tax", "incomes"], listed=Listed.GRANTED)
    document = openapi_document(Catalogue({("tax", "incomes"): incomes}, {}))
    assert b"tax.incomes" not in document
