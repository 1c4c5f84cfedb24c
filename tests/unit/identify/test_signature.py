"""The signature profile, against http-message-signatures in both directions."""

import base64
import datetime as dt
import hashlib

import pytest
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    algorithms,
)
from hypothesis import given
from hypothesis import strategies as st

from sharegate.errors import Unauthenticated, Unproven
from sharegate.identify.signature import (
    COVERED,
    content_digest,
    field_value,
    parse_content_digest,
    parse_profile,
    parse_signature,
    sign,
    signature_base,
)
from tests.unit.identify.asking import (
    AUTHORITY,
    BODY,
    CIVIL_AFFAIRS,
    NONCE,
    NOW_S,
    identify,
    with_header,
)

NAMES = tuple(name.strip('"') for name in COVERED)
NONCES = st.from_regex(r"[A-Za-z0-9_-]{16,64}", fullmatch=True)
QUERIES = ["", "receipt=inline", "a=1&b=%2F"]
KEY_IDS = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)


class Message:
    """A request as the oracle wants it."""

    def __init__(self, arrived):
        self.method = arrived.method
        self.url = f"https://{arrived.authority}{arrived.path}"
        self.url += f"?{arrived.query}" if arrived.query else ""
        self.headers = {
            name.title(): arrived.headers[name]
            for name in ("content-type", *NAMES[4:], "signature-input", "signature")
        }
        self.body = arrived.body


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return CIVIL_AFFAIRS.signing

    def resolve_public_key(self, key_id):
        return CIVIL_AFFAIRS.signing.public_key()


class ProfileSigner(HTTPMessageSigner):
    """The oracle writes keyid before nonce; the profile has them the other way round."""

    def _build_signature_base(self, message, *, signature_params, **rest):
        order = ("created", "nonce", "keyid", "alg", "tag")
        ordered = {name: signature_params[name] for name in order if name in signature_params}
        return super()._build_signature_base(message, signature_params=ordered, **rest)


def oracle(kind):
    return kind(signature_algorithm=algorithms.ED25519, key_resolver=Keys())


def signed_by_oracle(kind, arrived, nonce=NONCE, names=NAMES, **changes):
    message = Message(arrived)
    arguments = {
        "key_id": CIVIL_AFFAIRS.key_id,
        "created": dt.datetime.fromtimestamp(NOW_S, dt.UTC),
        "nonce": nonce,
        "label": "sharegate",
        "tag": "sharegate",
        "include_alg": False,
        "covered_component_ids": names,
        "use_existing_digest": True,
    }
    oracle(kind).sign(message, **(arguments | changes))
    for name in ("Signature-Input", "Signature"):
        arrived = with_header(arrived, name, message.headers[name])
    return arrived


@given(nonce=NONCES, query=st.sampled_from(QUERIES))
def test_the_oracle_verifies_what_we_sign(nonce, query):
    (result,) = oracle(HTTPMessageVerifier).verify(
        Message(CIVIL_AFFAIRS.ask(nonce=nonce, query=query)),
        max_age=None,
        require_components=NAMES,
        expect_tag="sharegate",
        expect_label="sharegate",
        body=BODY,
    )
    assert result.parameters == {
        "created": NOW_S,
        "nonce": nonce,
        "keyid": CIVIL_AFFAIRS.key_id,
        "tag": "sharegate",
    }
    assert result.covered_components['"@query"'] == f"?{query}"


@given(nonce=NONCES, query=st.sampled_from(QUERIES))
def test_we_accept_what_the_oracle_signs(nonce, query):
    arrived = signed_by_oracle(ProfileSigner, CIVIL_AFFAIRS.ask(query=query), nonce)
    assert identify()(arrived).caller.key_id == CIVIL_AFFAIRS.key_id


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (HTTPMessageSigner, {}),  # the oracle's own order of parameters
        (ProfileSigner, {"include_alg": True}),
        (ProfileSigner, {"label": "sig1"}),
        (ProfileSigner, {"tag": None}),
        (ProfileSigner, {"tag": "other"}),
        (ProfileSigner, {"nonce": None}),
        (ProfileSigner, {"names": ()}),
        (ProfileSigner, {"names": NAMES[:-1]}),
        (ProfileSigner, {"names": tuple(reversed(NAMES))}),
        (ProfileSigner, {"names": (*NAMES, "content-type")}),
    ],
)
def test_a_genuine_signature_outside_the_profile_is_refused(kind, changes):
    with pytest.raises(Unauthenticated) as refused:
        identify()(signed_by_oracle(kind, CIVIL_AFFAIRS.ask(), **changes))
    assert refused.value.reason is Unproven.SIGNATURE_PROFILE
    assert refused.value.part == "Signature-Input"


@given(nonce=NONCES, key_id=KEY_IDS, created=st.integers(1, 10**12 - 1))
def test_what_is_signed_reads_back(nonce, key_id, created):
    headers = sign(
        CIVIL_AFFAIRS.signing,
        key_id=key_id,
        nonce=nonce,
        created=created,
        method="POST",
        authority=AUTHORITY,
        path="/v1/exchanges",
        query="",
        content_digest=content_digest(BODY),
        authorization="Bearer x",
    )
    claimed = parse_profile(headers["Signature-Input"])
    assert (claimed.created, claimed.nonce, claimed.key_id) == (created, nonce, key_id)
    assert f"sharegate={claimed.params}" == headers["Signature-Input"]
    assert len(parse_signature(headers["Signature"])) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "short"},
        {"nonce": "n" * 65},
        {"nonce": 'n" ;' + "n" * 16},
        {"key_id": "Civil"},
        {"key_id": "k" * 64},
        {"created": -1},
        {"created": 0},
        {"path": '/v1\n"@query": ?'},
        {"query": "名"},
        {"authorization": "Bearer x\r"},
    ],
)
def test_nothing_outside_the_profile_is_signed(changes):
    with pytest.raises(ValueError):
        CIVIL_AFFAIRS.ask(**changes)


GOOD = CIVIL_AFFAIRS.ask().headers["signature-input"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sharegate",
        GOOD + "\n",
        " " + GOOD,
        GOOD + ", " + GOOD,
        GOOD + ', sig1=("@method");created=1',
        GOOD.replace("sharegate=", "Sharegate=", 1),
        GOOD.replace(";nonce", "; nonce"),
        GOOD.replace(' "@query"', ""),
        GOOD.replace(' "@query"', ' "@query";req'),
        GOOD.replace('"@method" "@authority"', '"@authority" "@method"'),
        GOOD.replace(f"created={NOW_S}", f"created={NOW_S}.0"),
        GOOD.replace(f"created={NOW_S}", f"created=0{NOW_S}"),
        GOOD.replace(f"created={NOW_S}", f"created=+{NOW_S}"),
        GOOD.replace(f"created={NOW_S}", f"created={NOW_S // 1000}_000"),
        GOOD.replace(f"created={NOW_S}", "created=١٧٩٠٠٠٠٠٠٠"),
        GOOD.replace(NONCE, NONCE[:15]),
        GOOD.replace(NONCE, "n" * 65),
        GOOD.replace(NONCE, NONCE + "="),
        GOOD.replace(";tag", ";expires=9999999999;tag"),
        GOOD.replace(";tag", ';alg="ed25519";tag'),
        GOOD.replace(';tag="sharegate"', ""),
        GOOD.replace(';tag="sharegate"', ';tag="sharegate2"'),
        GOOD + ";tag",
    ],
)
def test_only_one_spelling_of_signature_input_is_read(text):
    with pytest.raises(Unauthenticated) as refused:
        parse_profile(text)
    assert refused.value.reason is Unproven.SIGNATURE_PROFILE


@given(st.binary(min_size=64, max_size=64))
def test_signature_has_one_spelling(data):
    text = base64.b64encode(data).decode()
    assert parse_signature(f"sharegate=:{text}:") == data
    for spoilt in stray_bits(text) | {text[:-2], text.replace("A", "-", 1), f"{text}\n"}:
        if spoilt != text:
            with pytest.raises(Unauthenticated):
                parse_signature(f"sharegate=:{spoilt}:")


@given(st.binary(max_size=200))
def test_content_digest_has_one_spelling(body):
    header = content_digest(body)
    assert parse_content_digest(header) == hashlib.sha256(body).digest()
    for spoilt in (
        *(header[:9] + other + ":" for other in stray_bits(header[9:-1])),
        header + ", " + header,
        header + ", sha-512=::",
        header.upper(),
        header + ";a=1",
        header[:-2] + ":",
        header + "\n",
        "sha-256=::",
    ):
        with pytest.raises(Unauthenticated):
            parse_content_digest(spoilt)


def stray_bits(text):
    """Other texts that a forgiving reader decodes to the same bytes."""
    data = base64.b64decode(text)
    body = text.rstrip("=")
    padding = text[len(body) :]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    others = {body[:-1] + letter + padding for letter in letters} - {text}
    return {other for other in others if base64.b64decode(other) == data}


def test_rfc_9530_example():
    assert (
        content_digest(b'{"hello": "world"}\n')
        == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    )


def test_field_values_are_combined_as_rfc_9421_shows():
    # The examples of RFC 9421 section 2.1.
    assert field_value("www.example.com") == "www.example.com"
    assert field_value(" max-age=60", "   must-revalidate ") == "max-age=60, must-revalidate"
    assert field_value("Obsolete\r\n    line folding.") == "Obsolete line folding."
    assert field_value("") == ""
    assert field_value("   Trim me\t") == "Trim me"


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(st.sampled_from([*COVERED, '"date"', '"x";bs']), TEXTS, max_size=5), TEXTS)
def test_a_base_reads_back_or_is_not_made(components, params):
    covered = tuple(components.items())
    text = "".join(components.values()) + params
    signable = all(letter == "\t" or " " <= letter <= "~" for letter in text)
    if not signable:
        with pytest.raises(ValueError):
            signature_base(covered, params)
        return
    lines = signature_base(covered, params).decode("ascii").split("\n")
    assert [tuple(line.split(": ", 1)) for line in lines] == [
        *covered,
        ('"@signature-params"', params),
    ]


def test_no_component_is_covered_twice():
    with pytest.raises(ValueError, match="twice"):
        signature_base([('"@path"', "/a"), ('"@path"', "/b")], "()")
