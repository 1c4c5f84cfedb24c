"""A duty is proven by its holder, with the key, in time, and by nobody else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.identify.persons import NotInRole, prove
from sharegate.model.party import DepartmentId, Person, PersonId, Role
from tests.unit.identify.asking import NOW, registry
from tests.unit.identify.test_members import private

FROM, UNTIL = NOW - 1000, NOW + 1000


def member(number, role):
    return Person(
        PersonId(f"p-{role}"),
        DepartmentId("housing"),
        role,
        private(number).public_key().public_bytes_raw(),
        FROM,
        UNTIL,
    )


HOLDERS = {role: member(60 + n, role) for n, role in enumerate(Role)}
REGISTRY = replace(registry(), persons={each.id: each for each in HOLDERS.values()})
KEYS = {role: private(60 + n) for n, role in enumerate(Role)}


@given(
    st.sampled_from(Role), st.sampled_from(Role), st.sampled_from(Role),
    st.sampled_from([FROM - 1, FROM, NOW, UNTIL - 1, UNTIL]),
)  # fmt: skip
def test_only_the_holder_of_a_duty_proves_it(said, held, needed, at):
    def proven():
        return prove(REGISTRY, f"p-{said}", KEYS[held], needed, at)

    if said == held == needed and FROM <= at < UNTIL:
        assert proven() is HOLDERS[needed]
    else:
        with pytest.raises(NotInRole):
            proven()


@pytest.mark.parametrize(
    ("said", "held", "at", "why"),
    [
        ("nobody", Role.AUDIT, NOW, "no such person"),
        ("p-manage", Role.MANAGE, NOW, "has the role manage; this is for the role audit"),
        ("p-audit", Role.AUDIT, UNTIL, "not valid now"),
        ("p-audit", Role.RULE, NOW, "not that person's"),
    ],
)
def test_it_is_said_what_is_missing(said, held, at, why):
    with pytest.raises(NotInRole, match=why):
        prove(REGISTRY, said, KEYS[held], Role.AUDIT, at)
