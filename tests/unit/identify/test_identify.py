"""Whoever is not proven does not get past this room, and learns only which part failed."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sharegate.errors import Unauthenticated, Unproven
from sharegate.identify.signature import content_digest
from tests.unit.identify.asking import (
    AUDIENCE,
    AUTHORITY,
    BODY,
    CIVIL_AFFAIRS,
    DAY,
    EXCHANGE,
    HOUSING,
    NONCE,
    NOW,
    NOW_S,
    Member,
    b64,
    identify,
    with_header,
)

HEADERS = ("Authorization", "Signature-Input", "Signature", "Content-Digest")
GOOD = CIVIL_AFFAIRS.ask(query="receipt=inline")
IDENTIFY = identify()


def refused(arrived):
    """Why it was refused; fails on any other exception, and on a talkative sentence."""
    with pytest.raises(Unauthenticated) as caught:
        identify()(arrived)
    assert 0 < len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    return caught.value.reason, caught.value.part


def test_a_proven_request_says_who_asks():
    identified = IDENTIFY(GOOD)
    assert identified.caller.consumer == "civil-affairs"
    assert identified.caller.officer == "officer-17"
    assert identified.caller.key_id == "civil-affairs-2026"
    assert identified.caller.issuer == CIVIL_AFFAIRS.issuer
    assert (identified.exchange_id, identified.at) == (EXCHANGE, NOW)
    assert identified.signed_at == NOW_S * 1000
    assert identified.body == BODY
    assert identified.body_digest == sha256(BODY).digest()


def test_the_replay_key_is_of_key_and_nonce_alone():
    wanted = sha256(b"sharegate-replay" + b"civil-affairs-2026" + b"\0" + NONCE.encode()).digest()
    assert IDENTIFY(GOOD).replay_key == wanted
    assert IDENTIFY(CIVIL_AFFAIRS.ask(body=b"{}")).replay_key == wanted
    assert IDENTIFY(HOUSING.ask()).replay_key != wanted
    assert IDENTIFY(CIVIL_AFFAIRS.ask(nonce="n" * 16)).replay_key != wanted


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Authorization", Unproven.TOKEN_MISSING),
        ("Signature-Input", Unproven.SIGNATURE_MISSING),
        ("Signature", Unproven.SIGNATURE_MISSING),
        ("Content-Digest", Unproven.SIGNATURE_MISSING),
    ],
)
def test_a_missing_header_is_named(name, reason):
    assert refused(with_header(GOOD, name, None)) == (reason, name)


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_sent_twice_is_refused(name):
    twice = f"{GOOD.headers[name.lower()]}, {GOOD.headers[name.lower()]}"
    assert refused(with_header(GOOD, name, twice))[1] in {name, "Signature"}


def test_two_signatures_are_refused():
    other = HOUSING.ask(query="receipt=inline").headers
    for name in ("Signature-Input", "Signature"):
        both = f"{GOOD.headers[name.lower()]}, {other[name.lower()].replace('sharegate=', 'b=')}"
        assert refused(with_header(GOOD, name, both)) == (Unproven.SIGNATURE_PROFILE, name)


@pytest.mark.parametrize(
    ("part", "changed", "expected"),
    [
        ("method", "GET", (Unproven.SIGNATURE_WRONG, "Signature")),
        ("method", "post", (Unproven.SIGNATURE_WRONG, "Signature")),
        ("authority", "other.example", (Unproven.SIGNATURE_WRONG, "@authority")),
        ("authority", f"{AUTHORITY}.", (Unproven.SIGNATURE_WRONG, "@authority")),
        ("authority", "gateway.example", (Unproven.SIGNATURE_WRONG, "@authority")),
        ("path", "/v1/exchanges/", (Unproven.SIGNATURE_WRONG, "Signature")),
        ("path", "/v1/%65xchanges", (Unproven.SIGNATURE_WRONG, "Signature")),
        ("path", '/v1/exchanges\n"@query": ?', (Unproven.SIGNATURE_WRONG, "Signature")),
        ("query", "", (Unproven.SIGNATURE_WRONG, "Signature")),
        ("query", "receipt=inline&x", (Unproven.SIGNATURE_WRONG, "Signature")),
        ("body", BODY + b" ", (Unproven.DIGEST_WRONG, "Content-Digest")),
        ("body", b"", (Unproven.DIGEST_WRONG, "Content-Digest")),
    ],
)
def test_any_change_on_the_way_is_refused(part, changed, expected):
    assert refused(replace(GOOD, **{part: changed})) == expected


def test_a_body_changed_with_its_digest_is_refused():
    forged = with_header(replace(GOOD, body=b"{}"), "Content-Digest", content_digest(b"{}"))
    assert refused(forged) == (Unproven.SIGNATURE_WRONG, "Signature")


def test_another_officers_token_under_the_same_signature_is_refused():
    other = f"Bearer {CIVIL_AFFAIRS.token(officer='officer-18')}"
    forged = with_header(GOOD, "Authorization", other)
    assert refused(forged) == (Unproven.SIGNATURE_WRONG, "Signature")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"created={NOW_S}", f"created={NOW_S + 1}"),
        (NONCE, NONCE[:-1] + "X"),
        (CIVIL_AFFAIRS.key_id, HOUSING.key_id),
    ],
)
def test_a_changed_signature_parameter_is_refused(old, new):
    changed = GOOD.headers["signature-input"].replace(old, new)
    forged = with_header(GOOD, "Signature-Input", changed)
    assert refused(forged) == (Unproven.SIGNATURE_WRONG, "Signature")


def test_a_signature_by_anyone_else_is_refused():
    stranger = Member("civil-affairs", HOUSING.signing, CIVIL_AFFAIRS.tokens)
    assert refused(stranger.ask()) == (Unproven.SIGNATURE_WRONG, "Signature")


def test_the_authority_has_no_case_but_only_in_ascii():
    assert IDENTIFY(replace(GOOD, authority=AUTHORITY.upper())).caller
    kelvin = replace(CIVIL_AFFAIRS.ask(authority="k.example"), authority="\u212a.example")
    fresh = identify()
    fresh._authority = "k.example"
    assert fresh(replace(kelvin, authority="K.example")).caller
    with pytest.raises(Unauthenticated):
        fresh(kelvin)


@pytest.mark.parametrize(
    ("age_ms", "believed"),
    [(60_000, True), (60_001, False), (-5_000, True), (-5_001, False), (10**9, False)],
)
def test_a_request_is_fresh_for_a_minute(age_ms, believed):
    arrived = replace(GOOD, at=NOW + age_ms)
    if believed:
        assert IDENTIFY(arrived).signed_at == NOW
    else:
        assert refused(arrived) == (Unproven.SIGNATURE_STALE, "created")


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (NOW - 30 * DAY - 1, Unproven.SIGNATURE_KEY),
        (NOW - 30 * DAY, Unproven.TOKEN_WRONG),  # the key is valid, the token is from later
        (NOW + 30 * DAY - 1, Unproven.TOKEN_EXPIRED),
        (NOW + 30 * DAY, Unproven.SIGNATURE_KEY),
    ],
)
def test_a_key_signs_only_while_it_is_valid(at, reason):
    arrived = replace(CIVIL_AFFAIRS.ask(created=at // 1000), at=at)
    assert refused(arrived)[0] is reason


def test_an_unknown_key_is_refused():
    assert refused(CIVIL_AFFAIRS.ask(key_id="tax-2026")) == (Unproven.SIGNATURE_KEY, "keyid")


def test_a_token_of_another_department_is_refused():
    assert refused(CIVIL_AFFAIRS.ask(token=HOUSING.token())) == (
        Unproven.TOKEN_FOREIGN,
        "Authorization",
    )


def test_a_remembered_token_is_still_foreign_to_another_department():
    room = identify()
    token = HOUSING.token()
    assert room(HOUSING.ask(token=token)).caller.consumer == "housing"
    with pytest.raises(Unauthenticated) as caught:
        room(CIVIL_AFFAIRS.ask(token=token))
    assert caught.value.reason is Unproven.TOKEN_FOREIGN


def test_a_token_is_looked_at_only_after_the_signature():
    forged = with_header(GOOD, "Signature", f"sharegate=:{b64(bytes(64))}:")
    wrong = with_header(forged, "Authorization", "Bearer a.b.c")
    assert refused(wrong) == (Unproven.SIGNATURE_WRONG, "Signature")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", Unproven.TOKEN_WRONG),
        ("Bearer", Unproven.TOKEN_WRONG),
        ("bearer x", Unproven.TOKEN_WRONG),
        ("Basic eDp4", Unproven.TOKEN_WRONG),
        ("Bearer " + "x" * 4097, Unproven.TOKEN_WRONG),  # before any work is done on it
        ("Bearer " + "x" * 4096, Unproven.SIGNATURE_WRONG),
        ("Bearer ", Unproven.SIGNATURE_WRONG),
    ],
)
def test_authorization_is_one_bearer_token(value, reason):
    assert refused(with_header(GOOD, "Authorization", value))[0] is reason


@pytest.mark.parametrize("spelling", ["{}", "bearer {}", "Bearer  {}", "Bearer {}, Bearer {}"])
def test_even_the_signer_spells_authorization_one_way(spelling):
    authorization = spelling.replace("{}", CIVIL_AFFAIRS.token())
    arrived = CIVIL_AFFAIRS.ask(authorization=authorization)
    assert refused(with_header(arrived, "Authorization", authorization)) == (
        Unproven.TOKEN_WRONG,
        "Authorization",
    )


def test_the_signer_may_spell_the_authority_in_capitals_and_the_root_path_as_nothing():
    assert IDENTIFY(CIVIL_AFFAIRS.ask(authority=AUTHORITY.upper())).caller
    assert IDENTIFY(replace(CIVIL_AFFAIRS.ask(path=""), path="/")).caller
    assert IDENTIFY(replace(CIVIL_AFFAIRS.ask(path="/"), path="")).caller


def letters(max_size=40):
    return st.text(st.characters(), max_size=max_size)  # lone surrogates, NUL and all


SPOILERS = st.one_of(
    letters(),
    st.sampled_from(["\0", "\n", "\r\n", "\u2028", "\ud800", "e\u0301", "x" * 2**20, "([" * 2000]),
)


@given(st.sampled_from(HEADERS), SPOILERS, st.integers(0, 800), st.booleans())
def test_no_header_text_brings_anything_but_a_refusal(name, spoiler, place, insert):
    good = GOOD.headers[name.lower()]
    spoilt = good[:place] + spoiler + good[place:] if insert else spoiler
    assume(spoilt != good)
    assert isinstance(refused(with_header(GOOD, name, spoilt))[0], Unproven)


@given(st.sampled_from(["method", "path", "query", "authority"]), SPOILERS)
def test_no_request_line_brings_anything_but_a_refusal(part, text):
    assume(text.lower() != getattr(GOOD, part).lower())
    assert refused(replace(GOOD, **{part: text}))[0] is Unproven.SIGNATURE_WRONG


@given(st.sampled_from(HEADERS), st.data())
def test_no_single_letter_can_be_changed(name, data):
    good = GOOD.headers[name.lower()]
    place = data.draw(st.integers(0, len(good) - 1))
    letter = data.draw(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
    assume(letter != good[place])
    refused(with_header(GOOD, name, good[:place] + letter + good[place + 1 :]))


@given(st.binary(max_size=64), st.integers(0, len(BODY)))
def test_no_byte_of_the_body_can_be_changed(spoiler, place):
    spoilt = BODY[:place] + spoiler + BODY[place + 1 :]
    assume(spoilt != BODY)
    assert refused(replace(GOOD, body=spoilt)) == (Unproven.DIGEST_WRONG, "Content-Digest")


@given(st.binary(max_size=300), letters(200).filter(str.isascii).filter(str.isprintable))
@settings(max_examples=50)
def test_whatever_is_signed_is_identified(body, query):
    arrived = CIVIL_AFFAIRS.ask(body=body, query=query)
    assert IDENTIFY(arrived).body == body


def test_the_room_says_nothing_of_what_was_sent():
    for name in HEADERS:
        with pytest.raises(Unauthenticated) as caught:
            IDENTIFY(with_header(GOOD, name, "secret-marker"))
        assert "secret-marker" not in str(caught.value)


def test_the_room_cannot_reach_the_network():
    # A token that names a URL could only be followed by code that is there to follow it. (The
    # standard library's `email` brings `socket` in; the hook shows that nothing touches it.)
    program = """
import sys
sys.addaudithook(lambda event, _: event.startswith("socket.") and sys.exit(event))
from tests.unit.identify.asking import CIVIL_AFFAIRS, identify
from sharegate.identify import registry
from sharegate.errors import Unauthenticated
from tests.unit.identify.test_officer import forged
room = identify()
room(CIVIL_AFFAIRS.ask())
for name in ("jku", "x5u", "kid"):
    try:
        room(CIVIL_AFFAIRS.ask(token=forged(header={name: "http://127.0.0.1:9/k"})))
    except Unauthenticated:
        print("refused")
"""
    imports = """
import sys
from sharegate.identify import identify, registry
clients = {"ssl", "http.client", "urllib.request", "asyncio", "aiohttp", "requests", "subprocess"}
print(*sorted(clients & set(sys.modules)))
"""
    assert run(program).split() == ["refused"] * 3
    assert run(imports).split() == []


def run(program):
    here = {"PYTHONPATH": str(Path(__file__).parent), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | here,
    ).stdout


def test_the_audience_is_the_configured_one():
    assert IDENTIFY(CIVIL_AFFAIRS.ask(token=CIVIL_AFFAIRS.token(audience=AUDIENCE))).caller
    other = CIVIL_AFFAIRS.token(audience="https://other.example")
    assert refused(CIVIL_AFFAIRS.ask(token=other)) == (Unproven.TOKEN_WRONG, "Authorization")
