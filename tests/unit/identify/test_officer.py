"""Officer tokens: forged, foreign, stale, talkative or merely odd."""

import hashlib
import hmac
import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from sharegate.errors import Unauthenticated, Unproven
from sharegate.identify.jws import MAX_TOKEN, issuer_key
from sharegate.identify.officer import OfficerTokens, issue_token
from tests.unit.identify.asking import (
    AUDIENCE,
    CIVIL_AFFAIRS,
    HOUSING,
    NOW,
    NOW_S,
    b64url,
    registry,
)

HEADER = {"alg": "EdDSA", "typ": "officer+jwt"}
CLAIMS = {
    "iss": CIVIL_AFFAIRS.issuer,
    "sub": "officer-17",
    "aud": AUDIENCE,
    "iat": NOW_S - 60,
    "exp": NOW_S + 3600,
    "department": "civil-affairs",
}
GONE = object()


def forged(*, header=(), claims=(), signer=CIVIL_AFFAIRS.tokens.sign):
    """A token with anything in it, signed all the same; `GONE` leaves a member out."""
    parts = [
        text
        if isinstance(text, str | bytes)
        else json.dumps({k: v for k, v in (whole | dict(text)).items() if v is not GONE})
        for whole, text in ((HEADER, header), (CLAIMS, claims))
    ]
    signed = ".".join(b64url(p if isinstance(p, bytes) else p.encode()) for p in parts)
    return f"{signed}.{b64url(signer(signed.encode()))}"


def tokens(**changes):
    return OfficerTokens(registry(**changes).issuers, audience=AUDIENCE)


def refused(token, at=NOW, **changes):
    with pytest.raises(Unauthenticated) as caught:
        tokens(**changes).officer(token, at)
    assert caught.value.part == "Authorization"
    assert 0 < len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    return caught.value.reason


def test_a_genuine_token_names_the_officer():
    officer = tokens().officer(forged(), NOW)
    assert officer.id == "officer-17"
    assert officer.department == "civil-affairs"
    assert officer.issuer == CIVIL_AFFAIRS.issuer
    assert officer.until == (NOW_S + 3600) * 1000


@pytest.mark.parametrize("claims", [{"aud": [AUDIENCE]}, {"nbf": NOW_S}, {"name": "王芳"}])
def test_what_else_a_genuine_token_may_say(claims):
    assert tokens().officer(forged(claims=claims), NOW).id == "officer-17"


@pytest.mark.parametrize(
    ("generate", "algorithm"),
    [
        (lambda: OKPKey.generate_key("Ed25519"), "EdDSA"),
        (lambda: OKPKey.generate_key("Ed25519"), "Ed25519"),
        (lambda: ECKey.generate_key("P-256"), "ES256"),
        (lambda: RSAKey.generate_key(2048), "RS256"),
        (lambda: OKPKey.generate_key("Ed25519", {"kid": "k1", "use": "sig"}), "EdDSA"),
    ],
)
@pytest.mark.parametrize("as_jwk", [True, False])
def test_each_accepted_algorithm_issues_and_verifies(generate, algorithm, as_jwk):
    key = generate()
    usual = {"OKP": "EdDSA", "EC": "ES256", "RSA": "RS256"}[key.key_type]
    private = key.as_dict(private=True) if as_jwk else key
    token = issue_token(
        private,
        issuer=CIVIL_AFFAIRS.issuer,
        officer="o",
        department="civil-affairs",
        audience=AUDIENCE,
        now=NOW_S,
        lifetime_s=60,
        algorithm=None if algorithm == usual else algorithm,
    )
    jwk = key.as_dict(private=False)
    assert tokens(jwk=jwk, algorithm=algorithm).officer(token, NOW).id == "o"


def test_an_issuer_is_not_believed_under_another_algorithm():
    # Same key, same mathematics, another name: still not what the registry says.
    assert refused(forged(header={"alg": "Ed25519"})) is Unproven.TOKEN_WRONG
    assert refused(forged(), algorithm="Ed25519") is Unproven.TOKEN_WRONG


def test_alg_none_is_refused():
    for alg in ("none", "None", "NONE", ""):
        assert refused(forged(header={"alg": alg}, signer=lambda _: b"")) is Unproven.TOKEN_WRONG
        assert refused(forged(header={"alg": alg})) is Unproven.TOKEN_WRONG


def test_a_public_key_is_not_a_shared_secret():
    public = CIVIL_AFFAIRS.tokens.public_key()
    for secret in (public.public_bytes_raw(), CIVIL_AFFAIRS.jwk["x"].encode()):
        token = forged(
            header={"alg": "HS256"},
            signer=lambda signed, key=secret: hmac.digest(key, signed, hashlib.sha256),
        )
        assert refused(token) is Unproven.TOKEN_WRONG


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://attacker.example/jwks"},
        {"x5u": "https://attacker.example/cert"},
        {"x5c": ["MIIB"]},
        {"jwk": HOUSING.jwk},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"cty": "JWT"},
        {"kid": "../../../dev/null"},
        {"kid": "' or 1=1 --"},
        {"kid": 1},
        {"kid": None},
        {"typ": GONE},
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"typ": "OFFICER+JWT"},
        {"typ": None},
        {"alg": GONE},
        {"alg": None},
        {"alg": ["EdDSA"]},
        {"alg": "EdDSA "},
        {"alg": "eddsa"},
        "[]",
        '"alg"',
        "null",
        "7",
        "",
        "{",
        '{"alg":"none","alg":"EdDSA","typ":"officer+jwt"}',
        '{"alg":"EdDSA","typ":"JWT","typ":"officer+jwt"}',
        '{"alg":"EdDSA","typ":"officer+jwt"} x',
        b"\xff\xfe{\x00}\x00",
        b'{"alg":"EdDSA","typ":"officer+jwt\xff"}',
        "[" * 2900,
    ],
)
def test_no_header_but_the_plain_one_is_accepted(header):
    assert refused(forged(header=header)) is Unproven.TOKEN_WRONG


def test_a_key_id_must_be_the_registered_one():
    jwk = CIVIL_AFFAIRS.jwk | {"kid": "issuer-1"}
    assert tokens(jwk=jwk).officer(forged(header={"kid": "issuer-1"}), NOW)
    assert tokens(jwk=jwk).officer(forged(), NOW)
    assert refused(forged(header={"kid": "issuer-2"}), jwk=jwk) is Unproven.TOKEN_WRONG


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        *(({name: GONE}, Unproven.TOKEN_WRONG) for name in CLAIMS),
        *(({name: None}, Unproven.TOKEN_WRONG) for name in CLAIMS),
        ({"iss": "https://unknown.example"}, Unproven.TOKEN_WRONG),
        ({"iss": CIVIL_AFFAIRS.issuer + "/"}, Unproven.TOKEN_WRONG),
        ({"iss": ["x"]}, Unproven.TOKEN_WRONG),
        ({"sub": ""}, Unproven.TOKEN_WRONG),
        ({"sub": "x" * 129}, Unproven.TOKEN_WRONG),
        ({"sub": "officer\n17"}, Unproven.TOKEN_WRONG),
        ({"sub": "officer-17\n"}, Unproven.TOKEN_WRONG),
        ({"sub": "\u202e71-reciffo"}, Unproven.TOKEN_WRONG),
        ({"sub": "\u0430dmin"}, Unproven.TOKEN_WRONG),
        ({"sub": "a\0"}, Unproven.TOKEN_WRONG),
        ({"sub": 17}, Unproven.TOKEN_WRONG),
        ({"aud": "https://other.example"}, Unproven.TOKEN_WRONG),
        ({"aud": [AUDIENCE, "https://other.example"]}, Unproven.TOKEN_WRONG),
        ({"aud": AUDIENCE + ".attacker.example"}, Unproven.TOKEN_WRONG),
        ({"aud": []}, Unproven.TOKEN_WRONG),
        ({"aud": {}}, Unproven.TOKEN_WRONG),
        ({"exp": NOW_S}, Unproven.TOKEN_EXPIRED),
        ({"exp": NOW_S - 1}, Unproven.TOKEN_EXPIRED),
        ({"exp": NOW_S - 60 + 86_401}, Unproven.TOKEN_WRONG),
        ({"exp": NOW_S - 60}, Unproven.TOKEN_WRONG),
        ({"exp": NOW_S - 61}, Unproven.TOKEN_WRONG),
        ({"exp": 10**400}, Unproven.TOKEN_WRONG),
        ({"exp": str(NOW_S + 3600)}, Unproven.TOKEN_WRONG),
        ({"exp": True}, Unproven.TOKEN_WRONG),
        ({"exp": float("inf")}, Unproven.TOKEN_WRONG),
        ({"exp": float("nan")}, Unproven.TOKEN_WRONG),
        ({"x": float("nan")}, Unproven.TOKEN_WRONG),  # not JSON, whatever Python says
        ({"exp": NOW_S + 0.5}, Unproven.TOKEN_WRONG),
        ({"iat": NOW_S + 6}, Unproven.TOKEN_WRONG),
        ({"nbf": NOW_S + 6}, Unproven.TOKEN_WRONG),
        ({"nbf": "now"}, Unproven.TOKEN_WRONG),
        ({"department": "housing"}, Unproven.TOKEN_FOREIGN),
        ({"department": "Civil-Affairs"}, Unproven.TOKEN_FOREIGN),
        ("[]", Unproven.TOKEN_WRONG),
        ("", Unproven.TOKEN_WRONG),
        (json.dumps(CLAIMS)[:-1] + ',"sub":"officer-1"}', Unproven.TOKEN_WRONG),
        (json.dumps(CLAIMS)[:-1] + ',"x":{"a":1,"a":2}}', Unproven.TOKEN_WRONG),
        ("[" * 2900, Unproven.TOKEN_WRONG),
        (json.dumps(CLAIMS).encode("utf-16"), Unproven.TOKEN_WRONG),
    ],
)
def test_a_token_without_the_right_claims_is_refused(claims, reason):
    assert refused(forged(claims=claims)) is reason


def test_the_limits_of_time_are_exact():
    day = forged(claims={"iat": NOW_S, "exp": NOW_S + 86_400})
    assert tokens().officer(day, NOW)
    assert tokens().officer(forged(claims={"exp": NOW_S + 1}), NOW + 999)
    assert refused(forged(claims={"exp": NOW_S + 1}), NOW + 1000) is Unproven.TOKEN_EXPIRED
    assert tokens().officer(forged(claims={"iat": NOW_S + 5}), NOW)
    assert tokens().officer(forged(claims={"nbf": NOW_S + 5}), NOW)
    assert refused(forged(claims={"nbf": NOW_S + 5}), NOW - 1) is Unproven.TOKEN_WRONG


def test_a_token_of_one_issuer_under_anothers_name_is_refused():
    assert refused(forged(signer=HOUSING.tokens.sign)) is Unproven.TOKEN_WRONG


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t + ".",
        lambda t: t + "=",
        lambda t: "." + t,
        lambda t: t.replace(".", "..", 1),
        lambda t: t.rsplit(".", 1)[0],
        lambda t: t.rsplit(".", 1)[0] + ".",
        lambda t: t + "\n",
        lambda t: " " + t,
        lambda t: t[:20] + "\n" + t[20:],
        lambda t: t[:-1],
        lambda t: t[:-1] + chr(ord(t[-1]) + 1),  # a stray bit past the last byte
        lambda t: t + "é",
        lambda t: t + "\ud800",
        lambda _: "",
        lambda _: "..",
    ],
)
def test_a_token_has_one_spelling(spoil):
    assert refused(spoil(forged())) is Unproven.TOKEN_WRONG


def test_a_token_is_bounded():
    filler = MAX_TOKEN - len(forged(claims={"x": ""}))
    longest = forged(claims={"x": "y" * (filler * 3 // 4 - 2)})
    assert MAX_TOKEN - 8 < len(longest) <= MAX_TOKEN
    assert tokens().officer(longest, NOW)
    assert refused(forged(claims={"x": "y" * filler})) is Unproven.TOKEN_WRONG
    assert refused("a" * 2**20) is Unproven.TOKEN_WRONG


@given(st.text(max_size=60) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}"))
def test_no_text_brings_anything_but_a_refusal(text):
    assert refused(text) is Unproven.TOKEN_WRONG


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_signed_bytes_bring_anything_but_a_refusal(header, claims):
    assert refused(forged(header=header, claims=claims)) is Unproven.TOKEN_WRONG
    assert refused(forged(claims=claims)) is Unproven.TOKEN_WRONG


def test_a_remembered_token_is_judged_by_the_time_of_asking():
    known = tokens()
    token = forged()
    assert known.officer(token, NOW) is known.officer(token, NOW + 1)
    with pytest.raises(Unauthenticated) as caught:
        known.officer(token, (NOW_S + 3600) * 1000)
    assert caught.value.reason is Unproven.TOKEN_EXPIRED
    with pytest.raises(Unauthenticated):
        known.officer(token, (NOW_S - 60) * 1000 - 5001)
    assert known.officer(token, NOW).id == "officer-17"


def test_nothing_refused_is_remembered_and_memory_is_bounded():
    known = OfficerTokens(registry().issuers, audience=AUDIENCE, remembered=3)
    for token in (forged(signer=lambda _: bytes(64)), forged(claims={"exp": NOW_S - 1})):
        with pytest.raises(Unauthenticated):
            known.officer(token, NOW)
    assert known._verified == {}
    made = [forged(claims={"sub": f"officer-{n}"}) for n in range(5)]
    first = known.officer(made[0], NOW)
    for token in made[1:]:
        known.officer(token, NOW)
    assert len(known._verified) == 3
    assert known.officer(made[0], NOW) == first
    assert all(token.encode() not in known._verified for token in made)


@pytest.mark.parametrize("error", [JoseError, ValueError])
def test_what_cannot_be_checked_is_not_genuine(monkeypatch, error):
    class Unable:
        def verify(self, *_):
            raise error

    token = CIVIL_AFFAIRS.token()
    monkeypatch.setitem(JWSRegistry.algorithms, "EdDSA", Unable())
    assert refused(token) is Unproven.TOKEN_WRONG


def test_no_warning_is_needed_to_verify_eddsa():
    # joserfc warns that RFC 9864 renames EdDSA; we never ask it to choose, so it has no cause.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tokens().officer(CIVIL_AFFAIRS.token(), NOW)


OKP, EC, RSA = (
    OKPKey.generate_key("Ed25519").as_dict(private=False),
    ECKey.generate_key("P-256").as_dict(private=False),
    RSAKey.generate_key(2048).as_dict(private=False),
)


@pytest.mark.parametrize(
    ("algorithm", "jwk"),
    [
        ("none", {}),
        ("HS256", OctKey.generate_key(256).as_dict(private=True)),
        ("EdDSA", OctKey.generate_key(256).as_dict(private=True)),
        ("PS256", RSA),
        ("eddsa", OKP),
        ("EdDSA", RSA),
        ("ES256", OKP),
        ("RS256", EC),
        ("EdDSA", OKPKey.generate_key("Ed448").as_dict(private=False)),
        ("EdDSA", OKPKey.generate_key("X25519").as_dict(private=False)),
        ("ES256", ECKey.generate_key("P-384").as_dict(private=False)),
        ("EdDSA", OKPKey.generate_key("Ed25519").as_dict(private=True)),
        ("EdDSA", OKP | {"x": OKP["x"][:-4]}),
        ("EdDSA", OKP | {"x": OKP["x"] + "="}),
        ("EdDSA", OKP | {"x": "键"}),
        ("EdDSA", OKP | {"x": ""}),
        ("ES256", EC | {"y": EC["x"]}),
        ("RS256", RSA | {"n": "AQAB"}),
        ("RS256", RSA | {"n": RSA["n"] * 3}),
        ("RS256", RSA | {"n": "!"}),
        ("RS256", RSA | {"e": "Ag"}),
        ("RS256", RSA | {"e": ""}),
        ("EdDSA", OKP | {"use": "enc"}),
        ("EdDSA", OKP | {"alg": "Ed25519"}),
        ("EdDSA", OKP | {"key_ops": "verify"}),
        ("EdDSA", OKP | {"key_ops": ["encrypt"]}),
        ("EdDSA", OKP | {"kid": 3}),
        ("EdDSA", {"kty": "OKP", "crv": "Ed25519"}),
        ("EdDSA", {}),
    ],
)
def test_only_a_plain_public_key_is_an_issuers_key(algorithm, jwk):
    with pytest.raises(ValueError) as caught:
        issuer_key(algorithm, jwk)
    for value in jwk.values():
        assert not isinstance(value, str) or len(value) < 10 or value not in str(caught.value)
