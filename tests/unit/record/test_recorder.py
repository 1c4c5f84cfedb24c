"""The recorder: what it hands on was written, covered, and is what the entry commits to."""

import asyncio
from dataclasses import replace as replaced
from uuid import UUID

import pytest
from msgspec.structs import replace

from sharegate.audit.chain import parse_leaf
from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.model.act import Act, ActKind
from sharegate.model.decision import Reason
from sharegate.model.passage import Disclosure, Recorded, Refusal
from sharegate.record.answer import open_answer
from sharegate.record.detail import reader_id
from sharegate.record.entry import read_core
from sharegate.record.recorder import Recorder
from tests.unit.record.exchanges import (
    EXCHANGE,
    HOUSING,
    OFFICE,
    REGISTRY,
    Dice,
    denied,
    disclosed,
    failed,
    identified,
    public,
    request,
)
from tests.unit.record.memory_log import Kept, MemoryAuditLog


def recorder(audit_log, *, checkpoints=None, seconds=5.0):
    return Recorder(audit_log, checkpoints or audit_log, REGISTRY, random=Dice(), seconds=seconds)


def entry_of(recorded):
    return read_core(parse_leaf(recorded.covered.leaf).core)


@pytest.fixture
def audit_log():
    return MemoryAuditLog(Kept())


async def test_an_answer_is_handed_on_with_the_entry_that_commits_to_it(audit_log):
    recorded = await recorder(audit_log).record(disclosed())
    assert recorded.exchange_id == EXCHANGE
    assert isinstance(recorded.outcome, Disclosure)
    assert open_answer(recorded.answer, parse_leaf(recorded.covered.leaf).core)["kind"] == "release"


@pytest.mark.parametrize(
    ("fetched", "kind"),
    [(denied(request()), "refusal"), (denied(None), "refusal"), (failed(), "failure")],
)
async def test_refusals_and_failures_are_recorded_and_carry_no_answer(audit_log, fetched, kind):
    recorded = await recorder(audit_log).record(fetched)
    assert recorded.answer is None
    assert recorded.outcome == fetched.outcome
    assert entry_of(recorded)["kind"] == kind


@pytest.mark.parametrize("first", [disclosed(), denied(request()), failed()])
async def test_a_replay_gets_no_answer_and_one_entry_for_all_its_copies(audit_log, first):
    room = recorder(audit_log)
    await room.record(first)
    ids = [UUID(int=EXCHANGE.int + n) for n in range(1, 4)]
    copies = [
        await room.record(disclosed(who=identified(exchange_id=each), asked=request()))
        for each in ids
    ]
    assert len(audit_log.kept.leaves) == 2
    for copy in copies:
        assert copy.answer is None
        assert copy.outcome == Refusal(
            Reason.REPLAYED, None, "This signed request was sent before."
        )
        assert copy.exchange_id == ids[0]  # the exchange whose entry it is
        assert copy.covered.index == 1
    assert entry_of(copies[0])["decision"]["reason"] == "replayed"
    assert entry_of(copies[0])["kind"] == "refusal"
    assert "response" not in entry_of(copies[0])


async def test_copies_at_once_leave_one_answer(audit_log):
    room = recorder(audit_log)
    made = await asyncio.gather(*(room.record(disclosed()) for _ in range(20)))
    assert sum(recorded.answer is not None for recorded in made) == 1
    assert len(audit_log.kept.leaves) == 2


async def test_what_was_signed_before_what_is_remembered_is_refused_and_recorded(audit_log):
    audit_log.kept.forget(0)
    recorded = await recorder(audit_log).record(disclosed(who=identified(at=1)))
    assert recorded.answer is None
    assert recorded.outcome.reason is Reason.STALE
    assert entry_of(recorded)["decision"]["reason"] == "stale-request"


async def test_a_log_that_refuses_its_own_clock_is_unavailable(audit_log):
    audit_log.kept.remembers_from = audit_log.kept.now + 1
    with pytest.raises(AuditLogUnavailable):
        await recorder(audit_log).record(disclosed())
    assert audit_log.kept.leaves == []


# --- nothing is handed on that is not certain -------------------------------------------------


class Stubborn(MemoryAuditLog):
    """Hangs, or covers another entry than was asked for."""

    def __init__(self, kept, *, hangs=None, other=None):
        super().__init__(kept)
        self.hangs, self.other = hangs, other

    async def append(self, draft):
        if self.hangs == "append":
            await asyncio.Event().wait()
        return await super().append(draft)

    async def find(self, exchange_id):
        if self.hangs == "find":
            await asyncio.Event().wait()
        return await super().find(exchange_id)

    async def covered(self, index):
        if self.hangs == "covered":
            await asyncio.Event().wait()
        covered = await super().covered(index)
        return covered if self.other is None else replace(covered, leaf=self.other)


@pytest.mark.parametrize("hangs", ["append", "covered"])
async def test_what_is_not_known_to_be_covered_in_time_is_not_handed_on(hangs):
    room = recorder(Stubborn(Kept(), hangs=hangs), seconds=0.01)
    with pytest.raises(AuditLogUnavailable) as refused:
        await room.record(disclosed())
    assert refused.value.reason is Unavailable.TIMEOUT


@pytest.mark.parametrize("hangs", ["find", "covered"])
async def test_a_search_that_takes_too_long_is_refused(hangs):
    kept = Kept()
    await recorder(MemoryAuditLog(kept)).record(disclosed())
    room = recorder(Stubborn(kept, hangs=hangs), seconds=0.01)
    with pytest.raises(AuditLogUnavailable) as refused:
        await room.find("civil-affairs", EXCHANGE)
    assert refused.value.reason is Unavailable.TIMEOUT


async def test_an_entry_that_is_not_the_one_appended_is_not_handed_on():
    elsewhere = MemoryAuditLog(Kept())
    other = await recorder(elsewhere).record(denied(request()))
    room = recorder(Stubborn(Kept(), other=other.covered.leaf))
    with pytest.raises(AuditLogUnavailable):
        await room.record(disclosed())


@pytest.mark.parametrize("part", ["audit_log", "checkpoints"])
async def test_it_is_usable_only_while_both_its_parts_are(part):
    parts = {"audit_log": MemoryAuditLog(Kept()), "checkpoints": MemoryAuditLog(Kept())}
    room = recorder(parts["audit_log"], checkpoints=parts["checkpoints"])
    room.require_usable()
    parts[part].unusable = Unavailable.DOWN, "gone"
    with pytest.raises(AuditLogUnavailable):
        room.require_usable()


# --- finding ----------------------------------------------------------------------------------


async def test_a_consumer_finds_its_own_exchange_and_nobody_elses(audit_log):
    room = recorder(audit_log)
    recorded = await room.record(disclosed())
    found = await room.find("civil-affairs", EXCHANGE)
    assert (found.index, found.leaf) == (0, recorded.covered.leaf)
    assert await room.find("housing", EXCHANGE) is None
    assert await room.find("civil-affairs", UUID(int=1)) is None
    act = Act(ActKind.HOLD, 1, "civil-affairs", {}, {}, None, bytes(32))
    assert await room.record_act(act, UUID(int=2)) is not None
    assert await room.find("civil-affairs", UUID(int=2)) is None


async def test_what_came_into_force_since_changes_nothing_about_what_was_decided(audit_log):
    room = recorder(audit_log)
    room.adopt(replaced(REGISTRY, departments={}))
    entry = entry_of(await room.record(disclosed()))
    assert entry["provider"] == "housing"
    assert entry["resource"] == {"id": "properties", "version": 1}
    assert list(entry["asked_by"]) == ["owner"]
    assert set(entry["detail"]["readers"]) == {
        reader_id(public(each)) for each in (OFFICE, HOUSING)
    }


async def test_every_entry_is_salted_and_keyed_afresh(audit_log):
    room = recorder(audit_log)
    for n in range(2):
        await room.record(
            disclosed(who=identified(exchange_id=EXCHANGE, replay_key=bytes([n]) * 32))
        )
    one, other = (read_core(parse_leaf(leaf).core) for leaf in audit_log.kept.leaves)
    for path in (("caller", "officer"), ("purpose", "matter"), ("response", "digest")):
        assert one[path[0]][path[1]] != other[path[0]][path[1]]
    assert one["request"] != other["request"]
    assert audit_log.kept.drafts[0].sealed != audit_log.kept.drafts[1].sealed


async def test_only_what_was_recorded_comes_out(audit_log):
    assert isinstance(await recorder(audit_log).record(disclosed()), Recorded)
