"""Who signs the registry manages; nobody who does audits, operates or rules besides."""

import pytest

from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.weak import SMALL_ORDER
from sharegate.errors import Misconfigured
from sharegate.identify.signed_registry import verify_registry
from sharegate.model.party import Role
from sharegate.model.signed import (
    REGISTRY_SET,
    Administrators,
    Fault,
    SetRefused,
    add_signature,
    read_keys,
    state,
)
from tests.unit.identify.asking import registry_text
from tests.unit.identify.test_members import department, person, private, vkey

FIRST, SECOND = SignerKey("first", private(70)), SignerKey("second", private(71))
ADMINISTRATORS = Administrators((FIRST.verifier, SECOND.verifier), 2)


def verified(tmp_path, more):
    path, content = tmp_path / "registry.toml", (registry_text() + more).encode()
    statement = state(REGISTRY_SET, 1, {path.name: content})
    note = add_signature(add_signature(None, statement, FIRST), statement, SECOND)
    return verify_registry(path, content, note, ADMINISTRATORS)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("number", [70, 71, 72])
def test_an_administrator_manages_and_does_nothing_else(tmp_path, role, number):
    more = person("li-na", number, role)
    if number == 72 or role is Role.MANAGE:
        assert verified(tmp_path, more).registry.persons["li-na"].role is role
        return
    with pytest.raises(SetRefused, match="person li-na: is an administrator as well") as caught:
        verified(tmp_path, more)
    assert caught.value.fault is Fault.FAULTY


def test_no_key_rules_the_data_of_two_departments(tmp_path):
    more = "".join(
        department(name, more=f'policy_keys = ["{vkey(name, 73)}"]\n') for name in ("tax", "levy")
    )
    with pytest.raises(SetRefused, match="lists the key of levy twice"):
        verified(tmp_path, more)


@pytest.mark.parametrize("weak", sorted(SMALL_ORDER))
def test_a_key_anyone_can_sign_under_is_no_administrators(weak):
    with pytest.raises(Misconfigured, match="anyone can sign under"):
        read_keys("trust.administrators", [VerifierKey("first", weak).vkey])
