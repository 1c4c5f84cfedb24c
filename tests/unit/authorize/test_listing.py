"""What an officer may learn of the catalogue, and nothing that is only for others."""

from sharegate.authorize import listing as listing_module
from sharegate.authorize.authorize import Authorize
from sharegate.authorize.ruleset import load_rule_set
from tests.unit.authorize.policy_folder import (
    AT,
    DEPARTMENTS,
    RESOURCES,
    body,
    grant,
    identified,
    resource,
    write,
)

OPEN = resource("notices", "unconditional").replace(
    "row_limit = 50\n",
    "row_limit = 50\naccepted_purposes = ['survey']\nopen_fields = ['number']\n"
    "update_frequency = 'daily'\nonward = true\n",
)
HIDDEN = resource("files").replace("row_limit = 50\n", "row_limit = 50\nlisted = 'granted'\n")


def shown(folder, *lines, consumer="beta", posts=()):
    files = {"alpha/resources.toml": RESOURCES + OPEN + HIDDEN}
    authorize = Authorize(load_rule_set(write(folder, files, *lines), DEPARTMENTS))
    said = authorize.catalogue(identified(body(), consumer, posts=posts))
    assert said["rule_set"] == authorize.rule_set.hash
    return {each["id"]: each for each in said["resources"]}


def test_every_member_sees_what_is_listed_and_on_what_terms(tmp_path):
    seen = shown(tmp_path, grant(thing="others"), consumer="gamma")
    assert set(seen) == {"things", "others", "closed", "notices"}
    assert seen["things"]["sharing_class"] == "conditional"
    assert seen["things"]["legal_ground"] == "《条例》"
    assert next(each["name"] for each in seen["things"]["fields"] if each["key"]) == "number"
    assert seen["closed"]["not_shared_reason"] == "档案"
    assert "purposes" not in seen["closed"]
    assert seen["notices"]["update_frequency"] == "daily"
    assert seen["notices"]["onward_sharing"]
    assert not seen["things"]["onward_sharing"]


def test_purposes_and_grants_are_those_for_this_caller(tmp_path):
    lines = (
        grant("mine", purpose="review", masks="name:redact", quota="officer/day=5"),
        grant("another", consumer="gamma", purpose="survey"),
        grant("chiefs", purpose="survey", posts="chief"),
        grant("over", purpose="survey", until="2026-02-01"),
        grant("no", "deny", "beta", purpose="survey"),
    )
    things = shown(tmp_path, *lines)["things"]
    assert [each["id"] for each in things["grants"]] == ["mine"]
    assert things["grants"][0]["masks"] == {"name": "redact"}
    assert things["grants"][0]["quota"] == ["officer/day=5"]
    assert [each["code"] for each in things["purposes"]] == ["review"]
    assert things["purposes"] == [
        {
            "code": "review",
            "name_zh": "审核",
            "name_en": "Review",
            "legal_bases": {"norm-one": "《办法一》", "norm-two": "《办法二》"},
        }
    ]
    chief = shown(tmp_path, *lines, posts=("chief",))["things"]
    assert [each["id"] for each in chief["grants"]] == ["chiefs", "mine"]


def test_every_member_has_the_name_it_is_documented_under(tmp_path):
    question = "\n[[resource.question]]\nid = 'is-it-so'\nzh = '是否'\nen = 'Is it?'\n"
    joint = RESOURCES.replace("row_limit = 50", "row_limit = 50\njoint_owners = ['gamma']", 1)
    things, _, rest = joint.partition('\n[[resource]]\nid = "others"')
    files = {"alpha/resources.toml": f'{things}{question}\n[[resource]]\nid = "others"{rest}'}
    lines = (
        grant("all", fields="number", purpose="*", refer="is-it-so", consent="consent matter"),
        grant("plain", fields="year name", assurance="signed"),
    )
    authorize = Authorize(load_rule_set(write(tmp_path, files, *lines), DEPARTMENTS))
    said = authorize.catalogue(identified(body()))["resources"]
    seen = next(each for each in said if each["id"] == "things")
    assert [each["code"] for each in seen.pop("purposes")] == ["review", "survey"]
    assert seen.pop("fields")[:2] == [
        {
            "name": "number", "name_zh": "字段", "type": "text", "sensitivity": "personal",
            "mask": "none", "key": True,
        },
        {
            "name": "year", "name_zh": "字段", "type": "integer", "sensitivity": "personal",
            "mask": "none", "key": True,
        },
    ]  # fmt: skip
    assert seen == {
        "provider": "alpha",
        "id": "things",
        "version": 1,
        "name_zh": "资源",
        "name_en": "Resource",
        "sharing_class": "conditional",
        "legal_ground": "《条例》",
        "modes": ["query"],
        "row_limit": 50,
        "onward_sharing": False,
        "joint_owners": ["gamma"],
        "grants": [
            {
                "id": "all", "fields": ["number"], "row_limit": 10, "assurance": "channel",
                "refer": "is-it-so", "consent": True, "matter": True,
            },
            {
                "id": "plain", "fields": ["name", "year"], "row_limit": 10,
                "assurance": "signed",
            },
        ],
    }  # fmt: skip


def test_a_grant_is_shown_exactly_while_it_is_valid(tmp_path):
    rules = write(tmp_path, None, grant(since="2026-05-01", until="2026-06-01"))
    authorize = Authorize(load_rule_set(rules, DEPARTMENTS))
    begins, ends = 1_777_593_600_000, 1_780_272_000_000
    for at, valid in ((begins - 1, 0), (begins, 1), (ends - 1, 1), (ends, 0)):
        said = authorize.catalogue(identified(body(), at=at))["resources"]
        assert [len(each["grants"]) for each in said if each["id"] == "things"] == [valid], at


def test_what_was_told_is_told_again_until_a_grant_begins_or_ends(tmp_path):
    rules = write(tmp_path, None, grant(since="2026-05-01", until="2026-06-01"))
    listing = Authorize(load_rule_set(rules, DEPARTMENTS)).catalogue
    begins = 1_777_593_600_000
    first = listing(identified(body(), at=begins))
    assert listing(identified(body(), at=begins + 5)) is first
    assert listing(identified(body(), at=begins - 1)) is not first
    assert listing(identified(body(), "gamma", at=begins)) is not first


def test_what_is_kept_of_the_catalogue_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(listing_module, "_MOST_KEPT", 30)
    lines = [grant(f"g{n}", since=f"2026-{n:02d}-01", until="2027-06-01") for n in range(1, 13)]
    authorize = Authorize(load_rule_set(write(tmp_path, None, *lines), DEPARTMENTS))
    first = authorize.catalogue(identified(body(), at=AT))
    for at in range(AT, AT + 300 * 86_400_000, 10 * 86_400_000):
        authorize.catalogue(identified(body(), at=at))
        authorize.catalogue(identified(body(), "gamma", at=at))
        assert len(authorize._listing._told) * len(authorize.rule_set.catalogue.resources) <= 30
    assert authorize.catalogue(identified(body(), at=AT)) == first


def test_a_resource_for_some_is_seen_by_those_with_a_grant_alone(tmp_path):
    line = grant(thing="files")
    assert "files" in shown(tmp_path, line)
    assert "files" not in shown(tmp_path, line, consumer="gamma")


def test_what_is_open_to_all_says_so(tmp_path):
    notices = shown(tmp_path, grant(), consumer="gamma")["notices"]
    assert [each["code"] for each in notices["purposes"]] == ["survey"]
    assert [each["id"] for each in notices["grants"]] == ["unconditional.alpha.notices"]
