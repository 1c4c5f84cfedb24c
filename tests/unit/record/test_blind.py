"""Who can be searched for: the officer, the matter, and the persons asked by or shown in full."""

import hmac
from dataclasses import replace

import pytest
from msgspec import structs

from sharegate.model.catalogue import FieldName, MaskRule
from sharegate.record.blind import TOKEN_BYTES, Token, blind_index, officer_value, token
from tests.unit.record.exchanges import (
    catalogue,
    denied,
    disclosed,
    permit,
    request,
    resource,
    under,
)

KEY = bytes(range(32))
OWNER, ADDRESS = FieldName("owner"), FieldName("address")


def listed(**persons):
    """The register, with fields that name a person."""
    plain = resource()
    fields = {
        name: replace(field, person=name in persons, mask=persons.get(name, field.mask))
        for name, field in plain.fields.items()
    }
    return replace(plain, fields=fields)


def tokens(fetched, known):
    found = blind_index(KEY)(under(catalogue((known,)), fetched))
    size = 1 + TOKEN_BYTES
    assert len(found) % size == 0
    return [found[at : at + size] for at in range(0, len(found), size)]


def of_person(value):
    return token(KEY, Token.PERSON, value)


def test_a_token_is_the_documented_hmac():
    digest = hmac.digest(KEY, b"person\0" + b"470102", "sha256")
    assert of_person("470102") == b"p" + digest[:16]


def test_officer_matter_and_person_asked_by_are_found_in_any_exchange():
    asked = request(where={OWNER: "470102"}, matter="DB-1")
    known = listed(owner=MaskRule.NONE)
    assert tokens(denied(asked), known) == [
        token(KEY, Token.OFFICER, officer_value("civil-affairs", "kanarie")),
        token(KEY, Token.MATTER, "DB-1"),
        of_person("470102"),
    ]


def test_what_could_not_be_read_leaves_the_officer():
    (only,) = tokens(denied(), listed())
    assert only[:1] == b"o"


def test_everyone_shown_is_found_once():
    known = listed(address=MaskRule.NONE)
    rows = (("b",), ("a",), ("b",), (None,))
    found = tokens(disclosed(rows, listed=known), known)
    assert found[2:] == [of_person("a"), of_person("b")]


@pytest.mark.parametrize("masked_by", ["resource", "grant"])
def test_a_masked_person_is_not_found(masked_by):
    """What is left of an id under a mask is shared by many: nobody is named by it."""
    known = listed(address=MaskRule.REDACT if masked_by == "resource" else MaskRule.NONE)
    fetched = disclosed((("***",),), listed=known)
    if masked_by == "grant":
        allowed = structs.replace(permit(known), masks={ADDRESS: MaskRule.REDACT})
        outcome = structs.replace(fetched.outcome, permit=allowed)
        fetched = structs.replace(fetched, outcome=outcome)
    assert of_person("***") not in tokens(fetched, known)


def test_two_departments_may_use_one_id_for_two_officers():
    one, other = officer_value("tax", "li"), officer_value("housing", "li")
    assert token(KEY, Token.OFFICER, one) != token(KEY, Token.OFFICER, other)
