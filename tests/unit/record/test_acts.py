"""Administrative acts: entries like any other, sealed, covered, and written once."""

import asyncio
from uuid import UUID

import pytest

from sharegate.audit.chain import parse_leaf
from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.model.act import Act, ActKind
from sharegate.record.audit_log import Stale
from sharegate.record.detail import unseal
from sharegate.record.entry import read_core, unb64
from sharegate.record.suite import AES
from tests.unit.record.exchanges import CIVIL_AFFAIRS, HOUSING, NOW, OFFICE
from tests.unit.record.memory_log import Kept, MemoryAuditLog
from tests.unit.record.test_recorder import recorder

ID = UUID(int=7)
ACT = Act(
    kind=ActKind.POLICY,
    at=NOW,
    by="housing",
    facts={"version": 3, "accepted": True, "files": ("grants.csv",), "hash": "00ff"},
    detail={"reason": "张三 asked for it"},
    provider="housing",
    once=bytes(range(32)),
)


async def test_an_act_that_was_refused_as_stale_is_not_taken_for_one_that_is_written():
    audit_log = MemoryAuditLog(Kept())
    audit_log.append = lambda _draft: asyncio.sleep(0, Stale())
    with pytest.raises(AuditLogUnavailable, match="its own clock"):
        await recorder(audit_log).record_act(ACT, ID)


async def test_an_act_is_an_entry_and_its_detail_is_sealed():
    audit_log = MemoryAuditLog(Kept())
    covered = await recorder(audit_log).record_act(ACT, ID)
    core = parse_leaf(covered.leaf).core
    assert "张三" not in core.decode()
    said = read_core(core)
    assert (said["kind"], said["by"], said["time"]) == ("policy", "housing", NOW)
    assert said["facts"] == {**ACT.facts, "files": ["grants.csv"]}
    assert unb64(said["id"]) == ID.bytes
    (draft,) = audit_log.kept.drafts
    kept = {"ciphertext": draft.sealed, "wrapped": draft.wrapped}
    kept |= {"suite": AES, "exchange_id": ID.bytes}
    for key in (HOUSING, OFFICE):
        opened = unseal(key, **kept)
        assert opened["act"] == ACT.detail
    with pytest.raises(ValueError, match="not sealed to this key"):
        unseal(CIVIL_AFFAIRS, **kept)


async def test_the_same_act_is_written_once():
    audit_log = MemoryAuditLog(Kept())
    room = recorder(audit_log)
    assert await room.record_act(ACT, ID) is not None
    assert await room.record_act(ACT, UUID(int=8)) is None
    assert len(audit_log.kept.leaves) == 1


async def test_an_act_that_cannot_be_written_down_raises():
    audit_log = MemoryAuditLog(Kept())
    audit_log.unusable = Unavailable.DOWN, "nobody there"
    with pytest.raises(AuditLogUnavailable):
        await recorder(audit_log).record_act(ACT, ID)
