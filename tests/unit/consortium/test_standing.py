"""That the witnesses fell behind is an entry; what is so at the start, and lasts, is one too."""

import pytest

from sharegate.consortium.standing import StandingEntries
from sharegate.consortium.witnessed import Standing
from sharegate.errors import AuditLogUnavailable, Unavailable

NEAR, STALE, CLOSED = Standing


class World:
    """The witnesses, the signer, the recorder and the clock."""

    def __init__(self):
        self.now, self.signs, self.near, self.fails = 0.0, True, NEAR, False
        self.acts = []
        self.entries = StandingEntries(self, self, self, lambda: self.now)

    def standing(self):
        return self.near

    async def record_act(self, act, entry_id):
        if self.fails:
            raise AuditLogUnavailable(Unavailable.DOWN, "gone")
        self.acts.append(act)

    async def looks(self, near, *, seconds=1.0):
        self.near = near
        self.now += seconds
        await self.entries.look()

    def said(self):
        assert {(act.kind, act.by, act.provider) for act in self.acts} <= {
            ("availability", "gateway", None)
        }
        return [act.facts["witnesses"] for act in self.acts]


@pytest.fixture
def world():
    return World()


async def test_each_change_is_written_once(world):
    for near in (NEAR, NEAR, STALE, STALE, CLOSED, STALE, STALE, NEAR, NEAR):
        await world.looks(near)
    assert world.said() == ["stale", "closed", "stale", "near"]
    assert len({act.once for act in world.acts}) == 4


async def test_a_start_before_the_witnesses_answered_is_no_change(world):
    await world.looks(CLOSED)
    await world.looks(CLOSED, seconds=58)
    await world.looks(NEAR)
    assert world.said() == []
    await world.looks(CLOSED)
    assert world.said() == ["closed"]


async def test_unless_it_lasts(world):
    await world.looks(CLOSED)
    await world.looks(CLOSED, seconds=59)
    assert world.said() == ["closed"]
    await world.looks(NEAR)
    assert world.said() == ["closed", "near"]


async def test_what_could_not_be_written_is_written_later(world):
    await world.looks(NEAR)
    world.fails = True
    with pytest.raises(AuditLogUnavailable):
        await world.looks(STALE)
    world.fails = False
    await world.looks(STALE)
    assert world.said() == ["stale"]


async def test_a_process_that_follows_writes_nothing(world):
    await world.looks(NEAR)
    world.signs = False
    for near in (STALE, CLOSED, STALE):
        await world.looks(near, seconds=100)
    assert world.said() == []
    world.signs = True  # it took over, and has still to find out
    await world.looks(STALE)
    assert world.said() == []
    await world.looks(STALE, seconds=60)
    assert world.said() == ["stale"]
