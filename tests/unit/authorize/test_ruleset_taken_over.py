"""A rule set made from the one before it is the one that reading everything anew would make."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharegate.authorize.ruleset import compose
from sharegate.errors import Misconfigured
from tests.unit.authorize.policy_folder import (
    DEPARTMENTS,
    MODEL,
    POSTS,
    PURPOSES,
    RESOURCES,
    grant,
    resource,
    table,
)

FOLDER = Path("policies")
OTHER_POSTS = POSTS.replace("reviewer,审核人", "auditor,审计人").replace(",reviewer\n", ",clerk\n")
# Files that a change may bring in; what does not fit the others is refused either way.
CHOICES = {
    "model.conf": [MODEL],
    "purposes.csv": [PURPOSES, PURPOSES + "audit,审计,Audit,norm-two,《办法二》\n"],
    "posts.csv": [POSTS, OTHER_POSTS],
    "alpha/resources.toml": [RESOURCES, RESOURCES.replace("row_limit = 50", "row_limit = 5")],
    "alpha/grants.csv": [
        table([grant("g1"), grant("g2", "deny")]),
        table([grant("g1", rows="4"), grant("g3", posts="reviewer", rows="4")]),
        table([grant("b1")]),
        table([grant("g1", purpose="audit")]),
    ],
    "beta/resources.toml": [None, resource("secrets")],
    "beta/grants.csv": [
        table([grant("b1", consumer="alpha", thing="secrets")]),
        table([grant("b2", consumer="alpha", thing="secrets")]),
        table([grant("g1", consumer="alpha", thing="secrets")]),
    ],
}  # fmt: skip
MEMBERS = [
    DEPARTMENTS,
    {name: each for name, each in DEPARTMENTS.items() if name != "gamma"},
    {name: replace(each, region="") for name, each in DEPARTMENTS.items()},
]
STATES = st.tuples(
    st.fixed_dictionaries({name: st.sampled_from(texts) for name, texts in CHOICES.items()}),
    st.sampled_from(MEMBERS),
)


def composed(state, before=None):
    files, members = state
    read = {name: text.encode() for name, text in files.items() if text is not None}
    try:
        return compose(FOLDER, read, members, before)
    except Misconfigured as error:
        return error


@settings(max_examples=400)
@given(st.lists(STATES, min_size=2, max_size=5))
def test_it_is_the_one_that_reading_everything_would_make(states):
    before = None
    for state in states:
        fresh, made = composed(state), composed(state, before)
        assert isinstance(fresh, Misconfigured) == isinstance(made, Misconfigured)
        if not isinstance(fresh, Misconfigured):
            assert made == fresh
            assert made.catalogue == fresh.catalogue
            before = made


FIRST = {name: texts[0] for name, texts in CHOICES.items()} | {
    "beta/resources.toml": resource("secrets")
}


def test_what_did_not_change_is_not_read_again():
    before = composed((FIRST, DEPARTMENTS))
    changed = {**FIRST, "alpha/grants.csv": CHOICES["alpha/grants.csv"][1].replace(",4,", ",9,")}
    made = composed((changed, DEPARTMENTS), before)
    assert made.provided["beta"] is before.provided["beta"]
    assert made.provided["alpha"] != before.provided["alpha"]


@pytest.mark.parametrize("changed", ["alpha/grants.csv", "beta/grants.csv"])
def test_an_id_that_a_provider_left_alone_uses_is_refused(changed):
    before = composed((FIRST, DEPARTMENTS))
    taken = {"alpha/grants.csv": 2, "beta/grants.csv": 2}
    state = {**FIRST, changed: CHOICES[changed][taken[changed]]}
    refused = composed((state, DEPARTMENTS), before)
    assert isinstance(refused, Misconfigured)
    assert changed in refused.place
