"""Places in the hierarchy, keys, certificates and persons: read as they stand, or not at all."""

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.weak import SMALL_ORDER
from sharegate.errors import Misconfigured
from sharegate.identify.registry import load_registry, read_registry
from sharegate.model.party import Discovery, Level, Role, classes_of
from tests.unit.identify.asking import CIVIL_AFFAIRS, b64, registry_text, write

GOOD = registry_text()
WINDOW = "not_before = 2026-01-01T00:00:00Z\nnot_after = 2027-01-01T00:00:00Z\n"
THUMBPRINT = "ab" * 32
SPIFFE = "spiffe://gov.example/department/civil-affairs"


def private(number):
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def public(number):
    return b64(private(number).public_key().public_bytes_raw())


def vkey(name, number):
    return SignerKey(name, private(number)).verifier.vkey


def department(name, *, level=None, region=None, parent=None, more=""):
    said = {"level": level, "region": region, "parent": parent}
    lines = "".join(f'{key} = "{value}"\n' for key, value in said.items() if value is not None)
    return f'[[department]]\nid = "{name}"\nname_zh = "局"\nname_en = "Bureau"\n{lines}{more}'


def person(name, number, role="audit", of="civil-affairs", window=WINDOW):
    return (
        f'[[person]]\nid = "{name}"\ndepartment = "{of}"\nrole = "{role}"\n'
        f'public = "{public(number)}"\n{window}'
    )


def certificate(key_id="line", *, of="", **names):
    said = "".join(f'{key} = "{value}"\n' for key, value in names.items())
    return f'[[department.certificate]]\nkey_id = "{key_id}"\n{said}{WINDOW}{of}'


def read(tmp_path, more, text=GOOD):
    return load_registry(write(tmp_path / "registry.toml", text + more))


def refused(tmp_path, more, text=GOOD):
    with pytest.raises(Misconfigured) as caught:
        read(tmp_path, more, text)
    assert str(caught.value).startswith(str(tmp_path / "registry.toml"))
    return str(caught.value)


PROVINCE = department("above", level="province", region="33")
CITY = department("between", level="city", region="3301", parent="above")
COUNTY = department("county-tax", level="county", region="330106", parent="between")


def test_a_registry_without_any_of_it_is_read_as_ever(tmp_path):
    loaded = read(tmp_path, "")
    assert (loaded.version, loaded.certificates, loaded.persons) == (1, {}, {})
    housing = loaded.departments["housing"]
    assert (housing.level, housing.region, housing.parent, housing.policy_keys) == (
        None, "", None, (),
    )  # fmt: skip
    assert classes_of(housing) == ()


def test_the_hierarchy_is_read(tmp_path):
    nation = department("capital", level="nation")
    loaded = read(
        tmp_path,
        nation + PROVINCE.replace("name_zh", 'parent = "capital"\nname_zh') + CITY + COUNTY,
    )
    county = loaded.departments["county-tax"]
    assert (county.level, county.region, county.parent) == (Level.COUNTY, "330106", "between")
    assert classes_of(county) == ("county", "county@33", "county@3301", "county@330106")
    assert classes_of(loaded.departments["capital"]) == ("nation",)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (department("x", level="county", region="3301"), "x, region: a county has 6 digits"),
        (department("x", level="province"), "x, region: a province has 2 digits"),
        (department("x", level="nation", region="33"), "x, region: a nation has 0 digits"),
        (department("x", region="33"), "x, region: needs a level"),
        (department("x", level="village", region="33"), "level"),
        (department("x", level="province", region="3"), "region"),
        (department("x", level="province", region="33\\n"), "region"),
        (department("x", level="province", region="３３"), "region"),
        (department("x", level="city", region="3301", parent="y"), "is no listed department"),
        (department("x", level="city", region="3301", parent="housing"), "x, parent: needs a"),
        (PROVINCE + department("x", parent="above"), "x, parent: needs a level"),
        (
            PROVINCE + department("x", level="province", region="34", parent="above"),
            "x, parent: is not of a higher level",
        ),
        (
            PROVINCE + department("x", level="city", region="3401", parent="above"),
            "x, parent: is of another region",
        ),
        (department("x", level="city", region="3301", parent="x"), "is not of a higher level"),
        (
            department("x", level="city", region="3301", parent="y")
            + department("y", level="city", region="3301", parent="x"),
            "is not of a higher level",
        ),
        (department("county"), "named like a class"),
        (department("root"), "entries have for somebody else"),
        (department("registry"), "entries have for somebody else"),
        (department("gateway"), "entries have for somebody else"),
    ],
)
def test_a_place_that_is_none_is_refused(tmp_path, more, named):
    assert named in refused(tmp_path, more)


_regions = st.sampled_from(["", "33", "34", "3301", "3302", "3401", "330106", "330206"])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, *Level]), _regions, st.sampled_from([None, "d0", "d1", "d2"])
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_read_has_no_cycle_and_every_parent_encloses(tmp_path_factory, places):
    path = tmp_path_factory.getbasetemp() / "registry.toml"
    text = "".join(
        department(f"d{n}", level=level, region=region, parent=parent)
        for n, (level, region, parent) in enumerate(places)
    )
    try:
        loaded = read_registry(path, (GOOD + text).encode())
    except Misconfigured:
        return
    levels = list(Level)
    for each in loaded.departments.values():
        chain = [each]
        while chain[-1].parent is not None:
            chain.append(loaded.departments[chain[-1].parent])
            assert len(chain) <= len(levels)
        for below, above in itertools.pairwise(chain):
            assert levels.index(above.level) < levels.index(below.level)
            assert below.region.startswith(above.region)


def test_policy_keys_are_the_departments_own(tmp_path):
    first, second = vkey("tax", 50), vkey("tax", 51)
    keys = f'policy_keys = ["{first}", "{second}"]\n'
    assert read(tmp_path, department("tax", more=keys)).departments["tax"].policy_keys == (
        first, second,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (vkey("housing", 50), "named otherwise"),
        ("tax", "is no verifier key"),
        (vkey("tax", 50)[:-1], "is no verifier key"),
        (vkey("tax", 50).replace("+", "+0", 1), "is no verifier key"),
        (vkey("tax", 50) + "\\n", "is no verifier key"),
        (VerifierKey("tax", bytes(32)).vkey, "anyone can sign"),
        *((VerifierKey("tax", weak).vkey, "anyone can sign") for weak in sorted(SMALL_ORDER)),
    ],
)
def test_a_policy_key_that_is_none_is_refused(tmp_path, key, named):
    more = department("tax", more=f'policy_keys = ["{key}"]\n')
    said = refused(tmp_path, more)
    assert "department tax, policy_keys" in said
    assert named in said


def test_certificates_are_read_by_what_the_connection_shows(tmp_path):
    more = department(
        "tax",
        more=certificate("one", thumbprint=THUMBPRINT) + certificate("two", spiffe=SPIFFE),
    )
    found = read(tmp_path, more).certificates
    assert {name: each.key_id for name, each in found.items()} == {
        THUMBPRINT: "one",
        SPIFFE: "two",
    }
    assert {each.department for each in found.values()} == {"tax"}
    assert found[SPIFFE].not_before == 1_767_225_600_000


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (certificate("one"), "needs a thumbprint or a spiffe id"),
        (certificate("one", thumbprint=THUMBPRINT, spiffe=SPIFFE), "and not both"),
        (certificate("one", thumbprint=THUMBPRINT.upper()), "thumbprint"),
        (certificate("one", thumbprint=THUMBPRINT[:-1]), "thumbprint"),
        (certificate("one", thumbprint=THUMBPRINT + "\\n"), "thumbprint"),
        *(
            (certificate("one", spiffe=wrong), "spiffe")
            for wrong in (
                "https://gov.example/tax",
                "spiffe://gov.example",
                "spiffe://gov.example/",
                "spiffe://Gov.example/tax",
                "spiffe://gov.example/a/../tax",
                "spiffe://gov.example/a//tax",
                "spiffe://gov.example/tax?x",
                "spiffe://gov.example:8443/tax",
            )
        ),
        (
            certificate("one", thumbprint=THUMBPRINT) + certificate("two", thumbprint=THUMBPRINT),
            "certificate two: is listed twice",
        ),
        (
            certificate("one", thumbprint=THUMBPRINT) + certificate("one", spiffe=SPIFFE),
            "certificate one: is listed twice",
        ),
        (certificate(CIVIL_AFFAIRS.key_id, spiffe=SPIFFE), "the id of a signing key as well"),
        (
            certificate("one", spiffe=SPIFFE).replace("2027", "2025"),
            "certificate one, not_after",
        ),
    ],
)
def test_a_certificate_that_is_none_is_refused(tmp_path, lines, named):
    assert named in refused(tmp_path, department("tax", more=lines))


def issuer(**said):
    said = {"issuer": '"https://id.tax.example"'} | said
    return department(
        "tax",
        more="[[department.issuer]]\n" + "".join(f"{k} = {v}\n" for k, v in said.items()),
    )


DISCOVERED = {
    "discovery": "true",
    "audience": '"sharegate"',
    "typ": '"at+jwt"',
    "algorithms": '["ES256", "EdDSA"]',
}


def test_an_issuer_may_publish_its_keys_itself(tmp_path):
    found = read(tmp_path, issuer(**DISCOVERED)).issuers["https://id.tax.example"]
    assert found.discovery == Discovery("sharegate", "at+jwt", ("ES256", "EdDSA"))
    assert (found.algorithm, found.jwk, found.department) == ("", {}, "tax")
    for address in ("http://127.0.0.1:8080", "http://[::1]:8080/realm", "http://localhost"):
        assert read(tmp_path, issuer(**DISCOVERED | {"issuer": f'"{address}"'})).issuers[address]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"discovery": "false"}, "go with discovery = true"),
        ({"audience": None}, "discovery needs audience, typ and algorithms"),
        ({"typ": None}, "discovery needs audience, typ and algorithms"),
        ({"algorithms": None}, "discovery needs audience, typ and algorithms"),
        ({"algorithms": "[]"}, "algorithms"),
        ({"algorithms": '["none"]'}, "algorithms"),
        ({"algorithms": '["HS256"]'}, "algorithms"),
        ({"typ": '""'}, "typ"),
        ({"audience": '"a b"'}, "audience"),
        ({"algorithm": '"EdDSA"'}, "and discovery = true"),
        ({"jwk": '{ kty = "OKP" }'}, "and discovery = true"),
        ({"issuer": '"http://id.tax.example"'}, "https only"),
        ({"issuer": '"file://localhost/keys"'}, "https only"),
        ({"issuer": '"http://localhost.evil.example"'}, "https only"),
        ({"issuer": '"https://id.tax.example?realm=a"'}, "no address of an OpenID provider"),
        ({"issuer": '"https://id.tax.example#a"'}, "no address of an OpenID provider"),
        ({"issuer": '"https://a@id.tax.example"'}, "no address of an OpenID provider"),
        ({"issuer": '"https:///keys"'}, "no address of an OpenID provider"),
        ({"issuer": '"https://[::1"'}, "is no address"),
        ({"issuer": '"https://id.tax.example:65536"'}, "is no address"),
    ],
)
def test_an_issuer_that_cannot_be_asked_is_refused(tmp_path, change, named):
    said = {key: value for key, value in (DISCOVERED | change).items() if value is not None}
    assert named in refused(tmp_path, issuer(**said))


def test_an_issuer_has_a_key_or_is_discovered(tmp_path):
    assert "needs algorithm and jwk, or discovery" in refused(tmp_path, issuer())


def test_persons_are_read(tmp_path):
    more = "".join(person(f"p-{role}", 60 + n, role) for n, role in enumerate(Role))
    found = read(tmp_path, more).persons
    assert {name: each.role for name, each in found.items()} == {f"p-{role}": role for role in Role}
    assert found["p-audit"].department == "civil-affairs"
    assert found["p-audit"].public == private(62).public_key().public_bytes_raw()
    assert found["p-audit"].not_after == 1_798_761_600_000


@pytest.mark.parametrize(
    ("first", "second"), [pair for pair in itertools.product(Role, Role) if pair[0] < pair[1]]
)
@pytest.mark.parametrize("of", ["civil-affairs", "housing"])
def test_nobody_holds_two_roles(tmp_path, first, second, of):
    by_name = person("li-na", 60, first) + person("li-na", 61, second, of)
    assert "person li-na: is listed twice" in refused(tmp_path, by_name)
    by_key = person("li-na", 60, first) + person("li-na-2", 60, second, of)
    assert "is another person's key" in refused(tmp_path, by_key)


def test_nobody_holds_two_roles_one_after_the_other(tmp_path):
    later = WINDOW.replace("2027", "2028").replace("2026", "2027")
    more = person("li-na", 60, "audit") + person("li-na", 61, "operate", window=later)
    assert "person li-na: is listed twice" in refused(tmp_path, more)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (person("li-na", 60, "Audit"), "role"),
        (person("li-na", 60, "audit "), "role"),
        (person("li-na", 60, "audit", of="nobody"), "of a department that is not listed"),
        (person("Li Na", 60), "id"),
        (person("li-na", 60, window=WINDOW.replace("2027", "2026")), "li-na, not_after"),
        (person("li-na", 60).replace(public(60), b64(bytes(32))), "anyone can sign"),
        (person("li-na", 60).replace(public(60), "AAAA"), "li-na, public"),
        (person("li-na", 60) + 'note = "x"\n', "note"),
        (person("housing", 60), "entries have for somebody else"),
        (person("administrators", 60), "entries have for somebody else"),
        (person("gateway", 60), "entries have for somebody else"),
        # The key by which the department asks, and the one by which it rules its own data.
        (person("li-na", 1), "person li-na, public: is a department's key"),
        (
            department("tax", more=f'policy_keys = ["{vkey("tax", 60)}"]\n')
            + person("li-na", 60, "manage"),
            "person li-na, public: is a department's key",
        ),
    ],
)
def test_a_person_that_is_none_is_refused(tmp_path, more, named):
    assert named in refused(tmp_path, more)


@pytest.mark.parametrize("version", ["0", "-1", "1.0", '"1"', "true", str(2**53)])
def test_a_version_counts_from_one(tmp_path, version):
    assert "version" in refused(tmp_path, "", f"version = {version}\n{GOOD}")
    assert read(tmp_path, "", f"version = {2**53 - 1}\n{GOOD}").version == 2**53 - 1
