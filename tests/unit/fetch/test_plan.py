from dataclasses import replace as replaced

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sharegate.fetch import fetch as fetches
from sharegate.fetch import plan as plans
from sharegate.fetch.fetch import within
from sharegate.fetch.plan import Column, may_not_ask_by, plan
from sharegate.fetch.sql import arguments, statement
from sharegate.model.catalogue import FieldType, MaskRule
from tests.unit.fetch.estate import ALL, EXCHANGE, field, permit, request, resource

KEY = "certificate_no"
KEYED = resource(fields=[field(name, key=True) for name in ALL])


def test_a_plan_holds_the_permits_columns_and_the_requests_values():
    planned = plan(permit(("address", "area_m2"), row_limit=7), request(certificate_no="c1"))
    assert planned.shape.relation == ("estate", "property")
    assert planned.shape.columns == (
        Column("address", FieldType.TEXT),
        Column("area_m2", FieldType.DECIMAL),
    )
    assert planned.shape.keys == (Column(KEY, FieldType.TEXT),)
    assert planned.values == ("c1",)
    assert planned.row_limit == 7


def test_no_row_can_match_what_does_not_exist():
    assert plan(permit(), request(certificate_no="c1", registered_on="2023-02-30")) is None


@given(st.permutations(["certificate_no", "owner_id_number", "address"]))
def test_the_order_of_members_makes_no_new_shape(order):
    listed = resource(fields=[field(name, key=True) for name in ALL])
    asked = request(**{name: name for name in order})
    planned = plan(permit(listed=listed), asked)
    assert planned.values == ("address", "certificate_no", "owner_id_number")
    assert [key.name for key in planned.shape.keys] == list(planned.values)


def test_a_changed_catalogue_makes_a_new_shape():
    asked = request(certificate_no="c1")
    before = permit((KEY,), listed=resource(fields=[field(KEY, key=True)]))
    after = permit((KEY,), listed=resource(fields=[replaced(field(KEY, key=True), column="no_2")]))
    for allowed, column in ((before, KEY), (after, "no_2"), (before, KEY)):
        planned = plan(allowed, asked)
        assert [each.name for each in (*planned.shape.columns, *planned.shape.keys)] == [column] * 2


@given(
    st.lists(st.sampled_from(ALL), min_size=1, unique=True),
    st.lists(st.sampled_from(ALL), min_size=1, unique=True),
    st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from("ab"), st.booleans())),
)
def test_what_is_kept_is_what_would_be_made(fields, keys, rows):
    allowed = replace(permit(tuple(fields), listed=KEYED), rows=tuple(rows))
    asked = request(**dict.fromkeys(keys, "x"))
    kept = plan(allowed, asked)
    plans._askings._made.clear()
    assert plan(allowed, asked) == kept


def test_what_is_kept_of_a_permit_is_by_what_is_asked_by():
    allowed = permit(listed=resource())
    first = plan(allowed, request(certificate_no="c1"))
    assert [key.name for key in first.shape.keys] == ["certificate_no"]
    other = plan(allowed, request(registered_on="2024-01-01"))
    assert [key.name for key in other.shape.keys] == ["registered_on"]
    assert may_not_ask_by(allowed, request(certificate_no="c1")) is None
    assert may_not_ask_by(allowed, request(owner_name="x")) == "/where/owner_name"
    assert plan(allowed, request(certificate_no="c2")).values == ("c2",)


def test_what_is_kept_is_bounded():
    for _ in range(2056):
        listed = permit(listed=resource())
        plan(listed, request(certificate_no="c1"))
        within(listed, [])
    assert 0 < len(plans._askings) <= 2048
    assert 0 < len(fetches._leaving) <= 2048


@pytest.mark.parametrize(
    ("where", "pointer"),
    [
        ({}, "/where"),
        ({"address": "x"}, "/where/address"),
        ({"owner_name": "x"}, "/where/owner_name"),
        ({"certificate_no": "x", "a/b~c": "x"}, "/where/a~1b~0c"),
        ({"certificate_no": "x"}, None),
    ],
)
def test_what_may_not_be_asked_by(where, pointer):
    assert may_not_ask_by(permit(), request(**where)) == pointer


def test_a_masked_key_may_not_be_asked_by():
    listed = resource(fields=[field(KEY, mask=MaskRule.TAIL, key=True)])
    assert may_not_ask_by(permit((KEY,), listed=listed), request(certificate_no="x"))


def test_the_statement_word_by_word():
    planned = plan(
        permit(("owner_name", "area_m2", "storeys")),
        request(registered_on="2024-01-01", certificate_no="c1"),
    )
    made = statement(planned.shape)
    assert " ".join(made.text.split()) == (
        'SELECT CAST("estate"."property"."area_m2" AS TEXT) AS "area_m2", '
        'pg_catalog.left(CAST("estate"."property"."owner_name" AS TEXT), 65537) AS left_1, '
        '"estate"."property"."storeys" '
        'FROM "estate"."property" '
        "WHERE (SELECT pg_catalog.set_config('application_name', $1::VARCHAR, false) "
        "AS set_config_1) IS NOT NULL "
        'AND "estate"."property"."certificate_no" = $2 '
        'AND "estate"."property"."registered_on" = CAST($3::VARCHAR AS DATE) '
        "LIMIT $4::BIGINT"
    )
    assert made.text_keys == (1,)
    assert arguments(planned, EXCHANGE) == (str(EXCHANGE), "c1", "2024-01-01", 20)


@given(st.permutations(ALL))
def test_the_order_of_the_fields_makes_no_new_statement(fields):
    listed = permit(tuple(fields))
    asked = request(certificate_no="c1")
    assert plan(listed, asked).shape == plan(permit(ALL, listed=listed.resource), asked).shape


@given(value=st.text(min_size=1), limit=st.integers(1, 1000))
def test_nothing_of_a_request_makes_a_new_statement(value, limit):
    first = plan(permit(row_limit=5), request(certificate_no="c1"))
    other = plan(permit(row_limit=limit), request(certificate_no=value))
    if other is not None:
        assert statement(other.shape) is statement(first.shape)


def test_names_of_the_catalogue_are_quoted():
    shape = plan(
        permit(("use",), listed=resource(("s", 'a"; DROP'), [field("use", key=True)])),
        request(use="x"),
    ).shape
    assert 'FROM "s"."a""; DROP"' in statement(shape).text
    assert '"use" = $2' in statement(shape).text


def test_statements_kept_are_bounded():
    assert statement.cache_info().maxsize is not None


def held(*rows):
    return replace(permit(), rows=rows)


def test_a_grants_rows_are_part_of_the_statement():
    planned = plan(held(("address", "x", False), ("owner_id_number", "3301", True)),
                   request(certificate_no="c1"))  # fmt: skip
    assert [key.name for key in planned.shape.keys] == [KEY, "address"]
    assert [region.name for region in planned.shape.regions] == ["owner_id_number"]
    assert planned.values == ("c1", "x", "3301")
    text = statement(planned.shape).text
    assert "starts_with" in text
    assert arguments(planned, EXCHANGE) == (str(EXCHANGE), "c1", "x", "3301", 20)
    assert plan(permit(), request(certificate_no="c1")).shape != planned.shape


def test_what_the_grant_masks_may_not_be_asked_by():
    masked = replace(permit(), masks={KEY: MaskRule.REDACT})
    assert may_not_ask_by(masked, request(certificate_no="x")) == f"/where/{KEY}"


def test_what_leaves_is_of_this_resource_and_of_these_fields():
    fields = "address", "owner_id_number"
    hidden = resource(fields=[field(name, mask=MaskRule.REDACT) for name in fields])
    partly = resource(fields=[field("address"), field("owner_id_number", mask=MaskRule.REDACT)])
    for listed, leaves in ((partly, ("x", None)), (hidden, (None, None))):
        assert within(permit(fields, listed=listed), [("x", "y")]) == (leaves,)
    assert within(permit(fields[::-1], listed=partly), [("x", "y")]) == ((None, "x"),)


def test_of_what_is_redacted_nothing_is_read():
    redacted = permit(("use",), listed=resource(fields=[field("use", mask=MaskRule.REDACT)]))
    for found in ("x" * 20_000, b"\xff", 7):
        assert within(redacted, [(found,)]) == ((None,),)


def test_the_grants_mask_replaces_the_resources():
    listed = permit(("address",))
    assert within(listed, [("No. 7 Row Lane",)]) == (("No. 7 Row Lane",),)
    hidden = replace(listed, masks={"address": MaskRule.REDACT})
    assert within(hidden, [("No. 7 Row Lane",)]) == ((None,),)
