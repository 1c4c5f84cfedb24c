"""What one registry changes of another is named, and nothing else."""

import base64
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sharegate.identify.changes import registry_changes
from sharegate.model.party import (
    Certificate,
    Department,
    DepartmentId,
    KeyId,
    OfficerId,
    Role,
    TokenIssuer,
)
from tests.unit.identify.asking import DAY, NOW, registry
from tests.unit.identify.test_persons import member

OLD = registry()
HOUSING = DepartmentId("housing")


def line(until):
    return Certificate(KeyId("line"), HOUSING, NOW, until)


def test_nothing_changed_is_nothing_said():
    assert registry_changes(OLD, registry()) == {}
    assert registry_changes(OLD, replace(OLD, version=9)) == {}


def test_a_role_is_named_with_who_has_it():
    auditor = member(60, Role.AUDIT)
    first = replace(OLD, persons={auditor.id: auditor})
    assert registry_changes(OLD, first) == {"persons_added": ("p-audit=audit",)}
    operator = replace(auditor, role=Role.OPERATE)
    second = replace(OLD, persons={auditor.id: operator})
    assert registry_changes(first, second) == {"persons_changed": ("p-audit=operate",)}
    assert registry_changes(second, OLD) == {"persons_removed": ("p-audit=operate",)}


def test_every_list_is_named():
    key = OLD.keys[KeyId("housing-2026")]
    new = replace(
        OLD,
        departments={
            HOUSING: replace(OLD.departments[HOUSING], region="33"),
            DepartmentId("tax"): Department(DepartmentId("tax"), "局", "Tax", None),
        },
        keys={KeyId("next"): replace(key, key_id=KeyId("next")), key.key_id: key},
        issuers={"https://new.example": TokenIssuer("https://new.example", HOUSING, "", {})},
        certificates={"ab" * 32: line(NOW + DAY)},
        audit_office_key=bytes(range(32)),
    )
    assert registry_changes(OLD, new) == {
        "audit_office_key_changed": (base64.b64encode(bytes(range(32))).decode(),),
        "certificates_added": ("line",),
        "departments_added": ("tax",),
        "departments_changed": ("housing",),
        "departments_removed": ("civil-affairs",),
        "issuers_added": ("https://new.example",),
        "issuers_removed": (
            "https://officers.civil-affairs.example", "https://officers.housing.example",
        ),
        "keys_added": ("next",),
        "keys_removed": ("civil-affairs-2026",),
    }  # fmt: skip
    shown_anew = replace(new, certificates={"cd" * 32: line(NOW + DAY)})
    assert registry_changes(new, shown_anew) == {"certificates_changed": ("line",)}


def test_no_revoked_officer_is_named():
    new = replace(
        OLD,
        revoked_officers=frozenset(
            (HOUSING, OfficerId(name)) for name in ("zhang.wei", "wang.fang")
        ),
    )
    assert registry_changes(OLD, new) == {"revoked_officers_added": ("housing=2",)}
    assert registry_changes(new, OLD) == {"revoked_officers_removed": ("housing=2",)}


_persons = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.tuples(st.sampled_from(Role), st.integers(1, 3))
)


def with_persons(chosen):
    return replace(
        OLD,
        persons={name: replace(member(n, role), id=name) for name, (role, n) in chosen.items()},
    )


@given(_persons, _persons)
def test_each_person_is_in_one_list_and_back_again_mirrors_it(before, after):
    there = registry_changes(with_persons(before), with_persons(after))
    back = registry_changes(with_persons(after), with_persons(before))
    named = [name.partition("=")[0] for names in there.values() for name in names]
    assert sorted(named) == sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    assert there.get("persons_added") == back.get("persons_removed")
    assert there.keys() <= {"persons_added", "persons_removed", "persons_changed"}
