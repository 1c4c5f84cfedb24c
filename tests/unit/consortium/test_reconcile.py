"""Two departments' logs compared: every way in which an exchange can be in one of them only."""

import json

import pytest

from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.audit.tree import leaf_hash
from sharegate.audit.verdict import Malformed
from sharegate.consortium.reconcile import OneSided, Side, reconcile
from sharegate.record.entry import b64, counterpart

CIVIL, HOUSING = "civil.example/log", "housing.example/log"
LATE = 10_000_000


class Log:
    def __init__(self, origin, department):
        self.origin, self.department = origin, department
        self.leaves, self.at = [], 0

    def add(self, kind, **core):
        prev = leaf_hash(self.leaves[-1]) if self.leaves else GENESIS
        self.at += 1000
        text = json.dumps(
            {"kind": kind, "time": self.at} | core, sort_keys=True, separators=(",", ":")
        )
        self.leaves.append(encode_leaf(len(self.leaves), prev, text.encode()))
        return len(self.leaves) - 1, b64(counterpart(leaf_hash(self.leaves[-1])))

    def request(self, other):
        return self.add("request", by=self.department, facts={"log": other.origin})

    def received(self, request, **facts):
        self.add("received", by=self.department, facts={"request": request, **facts})

    def answer(self, consumer, request=None, kind="release"):
        named = {} if request is None else {"consumer_entry": request}
        return self.add(kind, caller={"consumer": consumer}, **named)

    def later(self):
        self.at += LATE
        self.add("policy", by="administrators", facts={})

    def side(self):
        return Side(self.origin, self.leaves)


@pytest.fixture
def logs():
    civil, housing = Log(CIVIL, "civil-affairs"), Log(HOUSING, "housing")
    ask(civil, housing)  # one that both have
    return civil, housing


def ask(civil, housing):
    index, name = civil.request(housing)
    place, theirs = housing.answer("civil-affairs", name)
    civil.received(index, effect="answered", entry=place, counterpart=theirs)


def found(civil, housing):
    return [
        (each.why, each.origin, each.index, each.certain)
        for each in reconcile(civil.side(), housing.side())
    ]


def test_what_both_have_is_not_listed(logs):
    civil, housing = logs
    ask(*logs)
    index, name = civil.request(housing)
    housing.answer("civil-affairs", name, "refusal")
    civil.received(index, effect="refused", status=403)
    assert found(*logs) == []
    civil.later()
    housing.later()
    assert found(*logs) == []
    assert list(reconcile(housing.side(), civil.side())) == []


def test_an_answer_that_the_provider_s_log_does_not_have(logs):
    civil, housing = logs
    index, _ = civil.request(housing)
    civil.received(index, effect="answered", entry=1, counterpart=b64(b"c" * 32))
    assert found(*logs) == [(OneSided.NEVER_RECORDED, CIVIL, index, False)]
    housing.later()  # by now there is an entry 1, and it is another one
    assert found(*logs) == [(OneSided.NEVER_RECORDED, CIVIL, index, True)]


@pytest.mark.parametrize("said", [None, "unanswered", "unproven"])
def test_a_request_of_which_the_provider_s_log_has_nothing(logs, said):
    civil, housing = logs
    index, _ = civil.request(housing)
    if said is not None:
        civil.received(index, effect=said)
    assert found(*logs) == [(OneSided.NEVER_ANSWERED, CIVIL, index, False)]
    housing.later()
    assert found(*logs) == [(OneSided.NEVER_ANSWERED, CIVIL, index, True)]


@pytest.mark.parametrize(("status", "listed"), [(401, 0), (429, 0), (503, 0), (403, 1), (200, 1)])
def test_what_a_provider_turns_away_without_an_entry_is_not_one_sided(logs, status, listed):
    civil, housing = logs
    index, _ = civil.request(housing)
    civil.received(index, effect="refused", status=status)
    housing.later()
    assert len(found(*logs)) == listed


def test_an_answer_to_a_request_that_was_never_made(logs):
    civil, housing = logs
    place, _ = housing.answer("civil-affairs", b64(b"r" * 32))
    assert found(*logs) == [(OneSided.NEVER_ASKED, HOUSING, place, False)]
    civil.later()
    assert found(*logs) == [(OneSided.NEVER_ASKED, HOUSING, place, True)]


def test_an_answer_that_was_asked_for_past_the_consumer_s_gateway(logs):
    _, housing = logs
    place, _ = housing.answer("civil-affairs")
    housing.answer("civil-affairs", kind="refusal")  # nothing left
    housing.answer("tax")  # another department, whose log this is not
    assert found(*logs) == [(OneSided.NOT_THROUGH_ITS_GATEWAY, HOUSING, place, True)]


@pytest.mark.parametrize("said", [None, "unanswered"])
def test_an_answer_that_never_arrived(logs, said):
    civil, housing = logs
    index, name = civil.request(housing)
    place, _ = housing.answer("civil-affairs", name)
    if said is not None:
        civil.received(index, effect=said)
    assert found(*logs) == [(OneSided.NEVER_RECEIVED, HOUSING, place, False)]
    civil.later()
    assert found(*logs) == [(OneSided.NEVER_RECEIVED, HOUSING, place, True)]


def test_requests_to_other_logs_are_others_business(logs):
    civil, housing = logs
    civil.request(Log("tax.example/log", "tax"))
    housing.later()
    assert found(*logs) == []


def test_a_received_that_names_no_request_is_passed_over(logs):
    civil, housing = logs
    civil.received(77, effect="answered", entry=0, counterpart="x")
    assert found(*logs) == []
    housing.later()
    assert found(*logs) == []


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("request", {"facts": {}}),
        ("request", {"facts": {"log": CIVIL}}),
        ("received", {"facts": {"request": ["a list"]}}),
        ("release", {"time": "noon"}),
    ],
)
def test_an_entry_that_no_gateway_writes_is_named(logs, kind, members):
    civil, _ = logs
    index, _ = civil.add(kind, **members)
    with pytest.raises(Malformed, match=f"entry {index} says what no gateway writes"):
        Side(civil.origin, civil.leaves)


def test_what_is_no_json_is_named(logs):
    civil, _ = logs
    civil.leaves[:] = [encode_leaf(0, GENESIS, b"[" * 600)]
    with pytest.raises(Malformed, match="entry 0 says"):
        Side(civil.origin, civil.leaves)
