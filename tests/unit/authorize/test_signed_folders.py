"""Who must have signed a folder of rules, and what a refusal says and where."""

from dataclasses import replace

import pytest

from sharegate.authorize.signed import verify_provider, verify_root
from sharegate.model.party import Department, DepartmentId
from sharegate.model.signed import (
    ROOT_SET,
    Administrators,
    Fault,
    SetRefused,
    add_signature,
    state,
)
from tests.unit.in_force.signed_site import key

TAX = DepartmentId("tax")
DEPARTMENTS = {
    name: Department(name, "局", "Bureau", None, policy_keys=(key(name).vkey,))
    for name in (TAX, DepartmentId("housing"))
}
FILES = {"resources.toml": b"[[resource]]\nid = 'a'\n", "grants.csv": b"id\n"}
JOINT = {**FILES, "resources.toml": b"[[resource]]\njoint_owners = ['housing']\n"}
ROOT = {"model.conf": b"m", "purposes.csv": b"p", "posts.csv": b"q"}
ADMINISTRATORS = Administrators((key("one").verifier, key("two").verifier), 2)
PLACE = "policies/tax/policy.note"


def note(name, files, *signers, version=1):
    signed = None
    for signer in signers:
        signed = add_signature(signed, state(name, version, files), key(signer))
    return signed


def provider(files=FILES, signers=("tax",), name=TAX, before=None, departments=DEPARTMENTS):
    return verify_provider(PLACE, name, files, note("tax", files, *signers), departments, before)


def refused(call, *values, **named):
    with pytest.raises(SetRefused) as caught:
        call(*values, **named)
    assert caught.value.place == PLACE
    return caught.value.fault, caught.value.detail


def test_what_the_owner_signed_is_verified():
    verified = provider()
    assert verified.statement == state("tax", 1, FILES)
    assert (verified.signers, verified.owners) == (("tax",), (TAX,))
    tested = {**FILES, "grants_test.csv": b""}
    assert provider(tested).statement == state("tax", 1, tested)


def test_every_joint_owner_has_signed():
    verified = provider(JOINT, ("tax", "housing"))
    assert set(verified.signers) == {"tax", "housing"}
    assert verified.owners == ("housing", "tax")
    said = refused(provider, JOINT, ("tax",))
    assert said == (Fault.FOREIGN, "is not signed by housing, a joint owner")
    before = ("0" * 64, ["housing", "tax"])
    assert refused(provider, FILES, ("tax",), before=before) == said
    assert provider(FILES, ("tax", "housing"), before=before).owners == (TAX,)


def test_what_is_in_force_already_needs_no_more_than_it_did():
    digest = state("tax", 1, FILES).digest
    assert provider(before=(digest, ["housing", "tax"])).owners == (TAX,)


def test_a_folder_of_nobody_is_foreign():
    said = refused(provider, name=DepartmentId("omega"))
    assert said == (Fault.FOREIGN, "is in a folder of no registered department")


def test_a_key_that_is_listed_twice_is_refused():
    weak = {TAX: replace(DEPARTMENTS[TAX], policy_keys=(*DEPARTMENTS[TAX].policy_keys,) * 2)}
    with pytest.raises(Exception, match="lists the key of tax twice") as caught:
        provider(departments=weak)
    assert caught.value.place == PLACE
    owner = replace(DEPARTMENTS["housing"], policy_keys=weak[TAX].policy_keys)
    with pytest.raises(Exception, match="lists the key of tax twice") as caught:
        provider(JOINT, departments=DEPARTMENTS | {"housing": owner})
    assert caught.value.place == PLACE


@pytest.mark.parametrize(
    ("files", "detail"),
    [
        ({**FILES, "grant.csv": b""}, "names grant.csv, which is no policy file"),
        ({"grants.csv": b"id\n"}, "names no resources.toml"),
        ({"resources.toml": b""}, "names no grants.csv"),
        *(
            ({**FILES, "resources.toml": content}, "names a resources.toml that cannot be read")
            for content in (b"\xff", b"[", b"resource = 1", b"resource = [1]",
                            b"[[resource]]\njoint_owners = 1", b"[[resource]]\njoint_owners = [[]]")
        ),
    ],
)  # fmt: skip
def test_a_folder_has_the_files_of_one_and_no_others(files, detail):
    assert refused(provider, files) == (Fault.FAULTY, detail)


def test_a_provider_may_have_no_resource():
    assert provider({**FILES, "resources.toml": b""}).owners == (TAX,)


def root(files, signed):
    return verify_root(PLACE, files, signed, ADMINISTRATORS)


def test_the_common_files_are_signed_by_enough_administrators():
    verified = root(ROOT, note(ROOT_SET, ROOT, "one", "two"))
    assert verified.statement == state(ROOT_SET, 1, ROOT)
    assert (verified.signers, verified.owners) == (("one", "two"), ())
    assert refused(root, ROOT, note(ROOT_SET, ROOT, "one")) == (
        Fault.FOREIGN,
        "is signed by 1 of the 2 administrators needed",
    )
    assert refused(root, ROOT, None)[0] is Fault.UNSIGNED


@pytest.mark.parametrize("name", sorted(ROOT))
def test_the_common_files_are_all_there_and_no_others(name):
    fewer = {each: content for each, content in ROOT.items() if each != name}
    signed = note(ROOT_SET, fewer, "one", "two")
    assert refused(root, fewer, signed) == (Fault.FAULTY, f"names no {name}")
    more = {**ROOT, f"{name}~": b""}
    signed = note(ROOT_SET, more, "one", "two")
    assert refused(root, more, signed) == (
        Fault.FAULTY,
        f"names {name}~, which is no policy file",
    )
