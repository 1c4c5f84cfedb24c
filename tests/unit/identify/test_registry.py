"""The registry file is read whole or not at all."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.jwk import RSAKey

from sharegate.audit.weak import SMALL_ORDER
from sharegate.errors import Misconfigured, Unauthenticated
from sharegate.identify.identify import Identify
from sharegate.identify.registry import load_registry
from tests.unit.identify.asking import (
    AUDIENCE,
    AUTHORITY,
    CIVIL_AFFAIRS,
    HOUSING,
    b64,
    b64url,
    registry,
    registry_text,
    write,
)

GOOD = registry_text()
PUBLIC = b64(CIVIL_AFFAIRS.signing.public_key().public_bytes_raw())


def refused(tmp_path, text):
    path = write(tmp_path / "registry.toml", text)
    with pytest.raises(Misconfigured) as caught:
        load_registry(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def test_a_registry_is_read_as_it_stands(tmp_path):
    loaded = load_registry(write(tmp_path / "registry.toml", GOOD))
    assert list(loaded.departments) == ["civil-affairs", "housing"]
    assert loaded.departments["housing"].name_en == "Department 1"
    assert loaded.departments["housing"].name_zh == "部门"
    assert len(loaded.departments["housing"].detail_key) == 32
    assert loaded.departments["housing"].detail_key != loaded.audit_office_key
    key = loaded.keys["civil-affairs-2026"]
    assert key.department == "civil-affairs"
    assert key.public == CIVIL_AFFAIRS.signing.public_key().public_bytes_raw()
    assert key.not_before == 1_767_225_600_000  # 2026-01-01T00:00:00Z
    assert key.not_after == 1_798_761_600_000  # 2027-01-01T08:00:00+08:00 is midnight UTC
    assert loaded.issuers == registry().issuers


def test_a_loaded_registry_identifies(tmp_path):
    text = GOOD.replace("2026-01-01T00", "2025-01-01T00")
    room = Identify(
        load_registry(write(tmp_path / "registry.toml", text)),
        authority=AUTHORITY,
        audience=AUDIENCE,
    )
    assert room(HOUSING.ask()).caller.consumer == "housing"
    with pytest.raises(Unauthenticated):
        room(HOUSING.ask(token=CIVIL_AFFAIRS.token()))


def test_a_department_may_only_provide_or_only_ask(tmp_path):
    text = GOOD + '[[department]]\nid = "tax"\nname_zh = "税务局"\nname_en = "Tax Bureau"\n'
    loaded = load_registry(write(tmp_path / "registry.toml", text))
    assert loaded.departments["tax"].detail_key is None
    assert {key.department for key in loaded.keys.values()} == {"civil-affairs", "housing"}


ISSUER = f'issuer = "{HOUSING.issuer}"'
SECOND_KEY = (
    '[[department.key]]\nkey_id = "{0}"\npublic = "{1}"\n'
    "not_before = 2026-01-01T00:00:00Z\nnot_after = 2027-01-01T00:00:00Z\n"
)
RSA_1024 = b64url(b"\xff" * 128)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("audit_office_key", "auditor_key", "unknown field `auditor_key`"),
        ('name_zh = "部门"\n', "", "name_zh"),
        ('name_zh = "部门"', 'name_zh = ""', "name_zh"),
        ('name_zh = "部门"', 'name_zh = "部\\u202e门"', "name_zh"),
        ('name_zh = "部门"', "name_zh = 3", "name_zh"),
        ('id = "housing"', 'id = "Housing"', "department[1].id"),
        ('id = "housing"', 'id = "housing\\n"', "department[1].id"),
        ('id = "housing"', 'id = "1housing"', "department[1].id"),
        ('id = "housing"', f'id = "{"h" * 64}"', "department[1].id"),
        ('id = "housing"', 'id = "housing"\nurl = "x"', "url"),
        ('key_id = "housing-2026"', 'key_id = "housing 2026"', "key_id"),
        ('key_id = "housing-2026"', 'key_id = "housing-2026"\nkind = "x"', "kind"),
        ('algorithm = "EdDSA"', 'algorithm = "none"', f"issuer {CIVIL_AFFAIRS.issuer}"),
        ('algorithm = "EdDSA"', 'algorithm = "HS256"', f"issuer {CIVIL_AFFAIRS.issuer}"),
        ('algorithm = "EdDSA"', 'algorithm = "ES256"', f"issuer {CIVIL_AFFAIRS.issuer}"),
        ('algorithm = "EdDSA"', 'jwks_uri = "https://x"\nalgorithm = "EdDSA"', "jwks_uri"),
        ('kty = "OKP", crv = "Ed25519", ', 'kty = "OKP", d = "AA", crv = "Ed25519", ', "issuer"),
        (ISSUER, 'issuer = ""', "issuer"),
        (ISSUER, 'issuer = "a b"', "issuer"),
        (PUBLIC, PUBLIC[:-4], "civil-affairs-2026, public"),
        (PUBLIC, PUBLIC[:-1], "civil-affairs-2026, public"),
        (PUBLIC, PUBLIC[:-2] + "B=", "civil-affairs-2026, public"),
        (PUBLIC, PUBLIC + "\\n", "civil-affairs-2026, public"),
        (PUBLIC, "钥", "civil-affairs-2026, public"),
        (PUBLIC, b64(bytes(31)), "civil-affairs-2026, public"),
        (PUBLIC, b64(bytes(33)), "civil-affairs-2026, public"),
        (PUBLIC, b64(bytes(32)), "civil-affairs-2026, public"),
        ('detail_key = "', 'detail_key = "AA', "civil-affairs, detail_key"),
        ("not_before = 2026-01-01T00:00:00Z", "not_before = 2026-01-01T00:00:00", "not_before"),
        ("not_before = 2026-01-01T00:00:00Z", "not_before = 2026-01-01", "not_before"),
        ("not_before = 2026-01-01T00:00:00Z", "not_before = 1767225600", "not_before"),
        (
            "not_before = 2026-01-01T00:00:00Z",
            "not_before = 2027-01-01T00:00:00Z",
            "civil-affairs-2026, not_after",
        ),
        ('id = "housing"', 'id = "civil-affairs"', "civil-affairs: is listed twice"),
        (HOUSING.key_id, CIVIL_AFFAIRS.key_id, "civil-affairs-2026: is listed twice"),
        (ISSUER, f'issuer = "{CIVIL_AFFAIRS.issuer}"', "is listed twice"),
        (
            "[[department.issuer]]",
            SECOND_KEY.format("second", PUBLIC) + "[[department.issuer]]",
            "second, public: is listed under another key id",
        ),
        ('id = "housing"', 'id = "housing"\nid = "tax"', "is not TOML"),
        (GOOD, "", "audit_office_key"),
        (GOOD, GOOD.split("\n")[0], "department"),
        (GOOD, "\0", "is not TOML"),
        (GOOD, f'audit_office_key = "{b64(bytes(32))}"\ndepartment = []', "department"),
    ],
)
def test_a_faulty_registry_is_refused_and_the_place_named(tmp_path, old, new, named):
    assert old in GOOD
    assert named in refused(tmp_path, GOOD.replace(old, new, 1))


def test_an_rsa_issuer_needs_a_real_key(tmp_path):
    good = RSAKey.generate_key(2048).as_dict(private=False)
    for n, believed in ((good["n"], True), (RSA_1024, False)):
        text = GOOD.replace('algorithm = "EdDSA"', 'algorithm = "RS256"', 1).replace(
            f'kty = "OKP", crv = "Ed25519", x = "{CIVIL_AFFAIRS.jwk["x"]}"',
            f'kty = "RSA", e = "AQAB", n = "{n}"',
        )
        if believed:
            assert load_registry(write(tmp_path / "r.toml", text)).issuers
        else:
            assert "2048" in refused(tmp_path, text)


def test_keys_of_small_order_are_refused(tmp_path):
    weak = [*SMALL_ORDER, *(y[:31] + bytes([y[31] | 0x80]) for y in SMALL_ORDER)]
    for y in weak:
        assert "anyone can sign" in refused(tmp_path, GOOD.replace(PUBLIC, b64(y)))
    # Why: under such a key the signature (identity, 0) fits some of any few messages.
    forgery = (1).to_bytes(32, "little") + bytes(32)
    forged = {y for y in weak for n in range(64) if fits(y, forgery, bytes([n]))}
    assert len(forged) >= 7
    office = GOOD.split('"')[1]
    assert "audit_office_key" in refused(tmp_path, GOOD.replace(office, b64(bytes(32))))


def fits(key, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"none\.toml"):
        load_registry(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'audit_office_key = "\xff"')
    with pytest.raises(Misconfigured, match="is not TOML"):
        load_registry(tmp_path / "latin.toml")
