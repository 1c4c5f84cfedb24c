"""What a grant demands: classes, posts, rows, masks, quotas, assurance, consent, referral."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.authorize.authorize import Authorize
from sharegate.authorize.grants import open_grant
from sharegate.authorize.posts import MAX_CHAIN, read_posts
from sharegate.authorize.roles import Classes, Posts
from sharegate.authorize.ruleset import load_rule_set
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import MaskRule
from sharegate.model.decision import Permit, Reason, Refer
from sharegate.model.grant import Assurance, Per, Period, Quota, RowTerm
from sharegate.model.party import Department, Known, Level, classes_of
from tests.unit.authorize.policy_folder import (
    DEPARTMENTS,
    RESOURCES,
    body,
    grant,
    identified,
    load,
    resource,
    write,
)

QUESTION = """
[[resource.question]]
id = "same-family"
zh = "是否同一家庭"
en = "Is it the same family?"
"""
OPEN = resource("notices", "unconditional").replace(
    "row_limit = 50\n",
    'row_limit = 50\naccepted_purposes = ["survey"]\nopen_fields = ["number", "year"]\n',
)


def decide(folder, *lines, consumer="beta", posts=(), known=Known.SIGNED, files=None, **changes):
    rules = load_rule_set(write(folder, files, *lines), DEPARTMENTS)
    asked = identified(body(**changes), consumer, posts=posts, known=known)
    return Authorize(rules)(asked).decision


def refused(folder, *lines, files=None):
    with pytest.raises(Misconfigured) as caught:
        load_rule_set(write(folder, files, *lines), DEPARTMENTS)
    return str(caught.value)


# --- who: classes and posts ---------------------------------------------------------------------


@pytest.mark.parametrize("consumer", ["county", "county@33", "county@3301", "county@330106"])
def test_a_grant_to_a_class_is_for_its_departments_and_no_other(tmp_path, consumer):
    line = grant(consumer=consumer)
    assert decide(tmp_path, line).grant == "g1"
    assert decide(tmp_path, line, consumer="gamma").reason is Reason.NO_GRANT  # of no level


@pytest.mark.parametrize("consumer", ["county@34", "county@330107", "city", "province@33"])
def test_another_level_or_region_is_another_class(tmp_path, consumer):
    assert decide(tmp_path, grant(consumer=consumer)).reason is Reason.NO_GRANT


def test_a_denial_of_a_class_overrides_a_grant_to_the_department(tmp_path):
    denied = decide(tmp_path, grant(), grant("no", "deny", "county@33"))
    assert (denied.reason, denied.rule) == (Reason.DENIED, "no")


def test_the_narrower_name_comes_first(tmp_path):
    names = ("*", "county", "county@33", "county@3301", "county@330106", "beta")
    for count in range(1, len(names) + 1):
        lines = [grant(f"g{n}", consumer=name) for n, name in enumerate(names[:count])]
        assert decide(tmp_path / str(count), *lines).grant == f"g{count - 1}"


@pytest.mark.parametrize(
    "consumer", ["county@", "county@3", "county@33a", "village", "County", "@33"]
)
def test_what_is_no_class_is_refused(tmp_path, consumer):
    assert "consumer is no registered department" in refused(tmp_path, grant(consumer=consumer))


@given(st.sampled_from(list(Level)), st.sampled_from(["", "33", "3301", "330106"]))
def test_a_department_is_of_its_own_classes_only(level, region):
    one = Department("d", "丁", "D", None, level, region)
    classes = classes_of(one)
    assert classes[0] == level
    assert len(classes) == 1 + len(region) // 2
    links = Classes({"d": one})
    assert all(links.has_link("d", name) for name in classes)
    assert not links.has_link("d", f"{level}@99")
    assert links.of("stranger") == frozenset()


@pytest.mark.parametrize(
    ("held", "permits"),
    [
        ((), False),
        (("clerk",), False),
        (("reviewer",), True),
        (("chief",), True),
        (("clerk", "chief"), True),
        (("unheard-of",), False),
    ],
)
def test_a_post_is_needed_or_one_that_includes_it(tmp_path, held, permits):
    assert isinstance(decide(tmp_path, grant(posts="reviewer"), posts=held), Permit) is permits


def test_posts_are_never_added_up(tmp_path):
    """Each grant stands for itself: two posts do not make a third officer."""
    lines = (
        grant("a", posts="clerk", fields="number"),
        grant("b", posts="chief", fields="number name"),
    )
    assert (
        decide(tmp_path, *lines, posts=("clerk",), fields=["name"]).reason is Reason.FIELD_REFUSED
    )
    assert decide(tmp_path, *lines, posts=("chief",), fields=["name"]).grant == "b"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("a,甲,A,b\nb,乙,B,a\n", "includes itself"),
        ("a,甲,A,a\n", "includes itself"),
        ("a,甲,A,b\n", "no listed post"),
        ("a,甲,A,b  c\nb,乙,B,\nc,丙,C,\n", "a includes , no listed post"),
        ("a,甲,A,\na,甲,A,\n", "listed twice"),
        ("A,甲,A,\n", "identifier"),
        ("a,,A,\n", "two names"),
        (
            "".join(f"p{n},岗,P,{f'p{n + 1}' if n < 14 else ''}\n" for n in range(15)),
            f"more than {MAX_CHAIN}",
        ),
    ],
)
def test_posts_that_are_none_are_refused(table, said):
    with pytest.raises(Misconfigured, match=said) as refused:
        read_posts("posts.csv", f"post,name_zh,name_en,includes\n{table}".encode())
    assert refused.value.place in {"posts.csv:2", "posts.csv:3"}


def test_the_longest_chain_of_posts_reaches_its_end():
    table = "".join(
        f"p{n},岗,P,{f'p{n + 1}' if n < MAX_CHAIN else ''}\n" for n in range(MAX_CHAIN + 1)
    )
    posts = read_posts("posts.csv", f"post,name_zh,name_en,includes\n{table}".encode())
    assert posts["p0"] == {f"p{n}" for n in range(MAX_CHAIN + 1)}
    assert Posts(posts).has_link("p0", f"p{MAX_CHAIN}")
    assert not Posts(posts).has_link(f"p{MAX_CHAIN}", "p0")


# --- what: modes, purposes, unconditional sharing -------------------------------------------------


def test_a_grant_names_several_purposes_and_no_other(tmp_path):
    line = grant(purpose="review survey")
    assert decide(tmp_path, line, purpose="survey", legal_basis="norm-two").grant == "g1"
    single = grant(purpose="review")
    denied = decide(tmp_path, single, purpose="survey", legal_basis="norm-two")
    assert denied.reason is Reason.NO_GRANT


def test_an_unconditional_resource_needs_no_grant_but_an_accepted_purpose(tmp_path):
    files = {"alpha/resources.toml": RESOURCES + OPEN}
    asked = {"resource": "notices", "purpose": "survey", "legal_basis": "norm-two"}
    permit = decide(tmp_path, grant(), files=files, **asked)
    assert (permit.grant, permit.fields) == ("unconditional.alpha.notices", ("number", "year"))
    assert decide(tmp_path, grant(), files=files, consumer="gamma", **asked).grant == permit.grant
    other = decide(tmp_path, grant(), files=files, resource="notices")
    assert other.reason is Reason.NO_GRANT  # `review` is not accepted
    wider = decide(tmp_path, grant(), files=files, **asked, fields=["name"])
    assert wider.reason is Reason.FIELD_REFUSED
    denial = grant("no", "deny", "beta", "notices", purpose="*")
    assert decide(tmp_path, grant(), denial, files=files, **asked).rule == "no"


def test_a_grant_for_this_department_comes_before_what_is_open_to_all(tmp_path):
    files = {"alpha/resources.toml": RESOURCES + OPEN}
    asked = {"resource": "notices", "purpose": "survey", "legal_basis": "norm-two"}
    own = grant(thing="notices", purpose="survey")
    assert decide(tmp_path, own, files=files, **asked).grant == "g1"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('accepted_purposes = ["survey"]\n', "", "needs both"),
        ('open_fields = ["number", "year"]\n', "", "needs both"),
        ('"survey"]', '"surveys"]', "purposes.csv"),
        ('"year"]', '"yeer"]', "open_fields"),
        ('"unconditional"', '"conditional"', "accepted_purposes"),
        ("row_limit = 50\n", 'row_limit = 50\nnot_shared_reason = "x"\n', "not_shared_reason"),
        ("row_limit = 50\n", 'row_limit = 50\njoint_owners = ["omega"]\n', "joint_owners"),
        ("row_limit = 50\n", 'row_limit = 50\njoint_owners = ["alpha"]\n', "joint_owners"),
    ],
)
def test_terms_that_do_not_fit_the_sharing_class_are_refused(tmp_path, old, new, said):
    assert old in OPEN
    assert said in refused(
        tmp_path, files={"alpha/resources.toml": RESOURCES + OPEN.replace(old, new)}
    )


def test_the_id_of_an_open_resource_can_be_no_grants(tmp_path):
    rules = load_rule_set(write(tmp_path, {"alpha/resources.toml": RESOURCES + OPEN}), DEPARTMENTS)
    name = open_grant(rules.catalogue.resources["alpha", "notices"]).id
    assert name in {each.id for each in rules.grants}
    assert "id is a lower-case letter" in refused(tmp_path, grant(name))


# --- how much: rows, masks, quotas ----------------------------------------------------------


def test_rows_are_held_to_a_value_or_to_the_consumers_own_region(tmp_path):
    permit = decide(tmp_path, grant(only="name=Wu number=@region"))
    assert permit.rows == (("name", "Wu", False), ("number", "330106", True))
    province = decide(tmp_path, grant(consumer="alpha", only="number=@region"), consumer="alpha")
    assert province.rows == (("number", "33", True),)


def test_a_region_nobody_registered_is_not_everywhere(tmp_path):
    denied = decide(tmp_path, grant(consumer="gamma", only="number=@region"), consumer="gamma")
    assert denied.reason is Reason.UNDECIDABLE
    assert denied.detail == "The region of this department is not registered."
    nation = DEPARTMENTS | {"gamma": replace(DEPARTMENTS["gamma"], level=Level.NATION)}
    rules = load_rule_set(write(tmp_path, None, grant(consumer="*", only="number=@region")), nation)
    assert Authorize(rules)(identified(body(), "gamma")).decision.rows == ()


@pytest.mark.parametrize(
    "only", ["year=@region", "nothing=x", "name", "name=", "name=*", "name=a name=b", "name=a  x=b"]
)
def test_row_terms_that_are_none_are_refused(tmp_path, only):
    assert "rows" in refused(tmp_path, grant(only=only))


def test_a_mask_may_only_be_stricter(tmp_path):
    permit = decide(tmp_path, grant(masks="year:redact name:redact"))
    assert permit.masks == {"year": MaskRule.REDACT, "name": MaskRule.REDACT}
    for masks in (
        "name:none",
        "name:tail",
        "name:phone",
        "address:redact",
        "x:redact",
        "name",
        "name:",
    ):
        assert "mask" in refused(tmp_path, grant(masks=masks))


def test_what_a_grant_masks_may_not_be_asked_by(tmp_path):
    denied = decide(tmp_path, grant(masks="number:id-number"))
    assert (denied.reason, denied.pointer) == (Reason.FIELD_REFUSED, "/where/number")


def test_a_quota_is_handed_on_to_be_counted(tmp_path):
    permit = decide(tmp_path, grant(quota="officer/day=50 department/month=1000"))
    assert permit.quota == (
        Quota(Per.OFFICER, Period.DAY, 50),
        Quota(Per.DEPARTMENT, Period.MONTH, 1000),
    )
    assert permit.unsettled
    for quota in ("officer/day=0", "officer/week=1", "x/day=1", "officer/day=1 officer/day=2", "1"):
        assert "quota" in refused(tmp_path, grant(quota=quota))


# --- how surely, and with whose word --------------------------------------------------------


def test_a_grant_may_demand_a_signature(tmp_path):
    line = grant(assurance="signed")
    assert decide(tmp_path, line).grant == "g1"
    denied = decide(tmp_path, line, known=Known.CHANNEL)
    assert denied.reason is Reason.ASSURANCE
    assert denied.detail == "The grant demands a request that the department signed."
    assert decide(tmp_path, grant(), known=Known.CHANNEL).grant == "g1"


def test_a_grant_may_demand_that_witnesses_cosign(tmp_path):
    permit = decide(tmp_path, grant(assurance="cosigned"))
    assert permit.cosigned
    assert not decide(tmp_path, grant(assurance="signed")).cosigned
    denied = decide(tmp_path, grant(assurance="cosigned"), known=Known.CHANNEL)
    assert denied.reason is Reason.ASSURANCE


def test_what_this_gateway_cannot_give_is_not_passed_over(tmp_path):
    rules = load_rule_set(write(tmp_path, None, grant(assurance="cosigned")), DEPARTMENTS)
    denied = Authorize(rules, witnessed=False)(identified(body(), "beta")).decision
    assert denied.reason is Reason.UNDECIDABLE
    assert denied.detail == "The grant demands witnesses, and this gateway has none."
    assert Assurance.COSIGNED.value == "cosigned"
    assert "assurance" in refused(tmp_path, grant(assurance="Signed"))


def test_a_consent_must_be_named_where_it_is_needed(tmp_path):
    line = grant(consent="consent matter")
    denied = decide(tmp_path, line)
    assert (denied.reason, denied.pointer) == (Reason.CONSENT, "/consent")
    assert denied.detail == "This needs the consent of the person concerned."
    permit = decide(tmp_path, line, consent="consent-7")
    assert permit.needs_consent
    assert permit.confirm_matter
    assert not decide(tmp_path, grant(consent="matter")).needs_consent
    assert "consent" in refused(tmp_path, grant(consent="matter consent"))


def test_a_rule_may_leave_the_case_to_an_officer(tmp_path):
    files = {"alpha/resources.toml": resource("things") + QUESTION + resource("others")}
    refer = decide(tmp_path, grant(refer="same-family"), files=files)
    assert isinstance(refer, Refer)
    assert (refer.question, refer.detail) == (
        "same-family",
        "是否同一家庭 / Is it the same family?",
    )
    assert refer.permit.grant == "g1"
    assert refer.rule_set == load_rule_set(tmp_path, DEPARTMENTS).hash
    denial = grant("no", "deny", "*")
    assert decide(tmp_path, grant(refer="same-family"), denial, files=files).rule == "no"
    assert "refer names no question" in refused(tmp_path, grant(refer="another"), files=files)


def test_personal_fields_are_granted_with_an_assessment_only(tmp_path):
    assert "assessment is missing" in refused(tmp_path, grant(assessment=""))
    assert "assessment is 1 to 64" in refused(tmp_path, grant(assessment="a b"))
    assert load(tmp_path, grant(assessment="PIA-2026-7")).grants[0].assessment == "PIA-2026-7"


@pytest.mark.parametrize("column", range(7, 16))
def test_a_denial_has_no_terms(tmp_path, column):
    values = grant("no", "deny").split(",")
    values[column] = "x"
    assert "leaves everything" in refused(tmp_path, grant(), ",".join(values))


def test_row_terms_are_read_as_written(tmp_path):
    (read,) = load(tmp_path, grant(only="name=Wu number=@region")).grants
    assert read.rows == (RowTerm("name", "Wu"), RowTerm("number", None))


# --- past the rules, and besides them -----------------------------------------------------------


def test_what_an_opening_stands_in_for_is_asked_everything_else(tmp_path):
    """`under` one grant alone: the rules' own word is not asked, all that depends on none is."""
    rules = load_rule_set(write(tmp_path, None, grant("other", consumer="gamma")), DEPARTMENTS)
    authorize = Authorize(rules)
    (own,) = load(tmp_path / "own", grant("break-glass", fields="number name", rows="3")).grants

    def under(grant_=own, known=Known.SIGNED, **changes):
        asked = authorize(identified(body(**changes), "beta", known=known))
        return asked, authorize.under(asked, grant_)

    asked, opened = under()
    assert asked.decision.reason is Reason.NO_GRANT
    assert (opened.identified, opened.request) == (asked.identified, asked.request)
    permit = opened.decision
    assert (permit.grant, permit.fields, permit.row_limit) == ("break-glass", ("name", "number"), 3)
    assert permit.rule_set == rules.hash
    for changes, reason, pointer in (
        ({"legal_basis": "norm-nine"}, Reason.LEGAL_BASIS, "/legal_basis"),
        ({"resource": "closed"}, Reason.NOT_SHARED, "/resource"),
        ({"where": {"salary": 1}}, Reason.UNKNOWN_FIELD, "/where/salary"),
        ({"fields": ["address"]}, Reason.FIELD_REFUSED, "/fields/0"),
        ({"where": {"name": "x"}}, Reason.FIELD_REFUSED, "/where/name"),
    ):
        asked, refused_ = under(**changes)
        denied = refused_.decision
        assert (denied.reason, denied.pointer) == (reason, pointer)
        assert denied.detail.endswith(".")
        assert (denied.rule_set, denied.rule) == (rules.hash, None)
        assert (refused_.identified, refused_.request) == (asked.identified, asked.request)
    unread = authorize(identified(b"{}", "beta"))
    assert authorize.under(unread, own) is unread


def test_what_no_body_could_mend_is_refused_for_the_reason_given(tmp_path):
    authorize = Authorize(load(tmp_path))
    asked = identified(body(), "beta")
    refused_ = authorize.refuse(asked, Reason.MALFORMED, "Content-Type must be application/json.")
    assert (refused_.identified, refused_.request) == (asked, None)
    denied = refused_.decision
    assert (denied.reason, denied.pointer, denied.rule) == (Reason.MALFORMED, None, None)
    assert denied.detail == "Content-Type must be application/json."
    assert denied.rule_set == authorize.rule_set.hash
