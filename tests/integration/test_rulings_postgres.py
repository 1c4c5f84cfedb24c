"""Rulings and openings in a real database: sealed, in force once recorded, used once."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs

from sharegate.authorize.hearing import Hearing, RecordAct
from sharegate.authorize.rulings import Unheard, sealing_key
from sharegate.authorize.rulings_postgres import BROKEN, PostgresRulings
from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.model.act import ActKind
from sharegate.model.decision import Reason
from sharegate.model.party import DepartmentId, OfficerId
from sharegate.model.ruling import DAY_MS, REVIEW_WITHIN_MS, Fate, Heard, NotHeard, written
from sharegate.observe import ReviewsOverdue
from tests.integration.audit_database import ask, draft, make, make_on, until
from tests.unit.authorize.officers import (
    AT,
    CALLER,
    OPENING,
    REFER,
    REFERRAL,
    REGISTRY,
    RULING,
    decided,
    signed_opening,
    signed_review,
    signed_ruling,
)

ROOT = Path(__file__).parents[2]
KEY = sealing_key(b"seed")


@pytest.fixture
async def log_database(database):
    return await make(database)


class Records(RecordAct):
    """Notes the acts; fails where a test says so."""

    def __init__(self):
        self.acts = []
        self.down = False

    async def record_act(self, act, entry_id):
        if self.down:
            raise AuditLogUnavailable(Unavailable.DOWN, "down")
        if act.once in [each.once for each in self.acts]:
            return None
        self.acts.append(act)
        return SimpleNamespace(index=len(self.acts) - 1)


def keeping(log_database, observe=lambda _: None, key=KEY, dsn=None):
    return PostgresRulings(dsn or log_database.append, key, observe, random=os.urandom, seconds=30)


async def refer(log_database, store, exchange_id=REFERRAL):
    """Write an entry of a referral, and let it be listed."""
    async with log_database.gateway() as audit_log:
        await audit_log.append(draft(b'{"kind":"refusal"}', exchange_id=exchange_id))
    one = decided()
    identified = structs.replace(one.identified, exchange_id=exchange_id)
    store.referred(structs.replace(one, identified=identified), REFER)
    await store._hand_in()


@pytest.fixture
async def hearing(log_database):
    store = keeping(log_database)
    await refer(log_database, store)
    records = Records()
    yield SimpleNamespace(
        heard=Hearing(store, lambda: REGISTRY, records), store=store, records=records
    )
    await store.stop()


def brought(signed, department="housing", at=AT, officer="chen-jing"):
    caller = structs.replace(CALLER, consumer=DepartmentId(department), officer=OfficerId(officer))
    content = signed if isinstance(signed, bytes) else written(signed)
    return structs.replace(decided().identified, caller=caller, body=content, at=at)


# --- what is referred -------------------------------------------------------------------------


async def test_a_referral_is_listed_to_those_who_rule_and_to_nobody_else(hearing):
    (found,) = await hearing.heard.referrals(brought(b""))
    assert (found.exchange_id, found.entry, found.at) == (REFERRAL, 0, AT)
    assert (found.consumer, found.resource, found.purpose) == (
        "civil-affairs", "properties", "review",
    )  # fmt: skip
    assert (found.question, found.ruling, found.used) == ("is-it-needed", None, False)
    assert (found.sealed, found.wrapped) == (b'sealed {"kind":"refusal"}', b"wrapped")
    for department, officer in (
        ("housing", "ma-na"), ("housing", "zhang.wei"), ("tax", "chen-jing"), ("tax", "li-na"),
    ):  # fmt: skip
        refused = await hearing.heard.referrals(brought(b"", department, officer=officer))
        assert refused.reason is Reason.NOT_RULING
    assert await hearing.heard.referrals(brought(b"", "tax", officer="wang-fang")) == []
    late = await hearing.heard.referrals(brought(b"", at=AT + 31 * DAY_MS))
    assert isinstance(late, NotHeard)  # his key is not valid any more


async def test_what_has_no_entry_is_not_listed(log_database):
    store = keeping(log_database)
    store.referred(decided(), REFER)
    await store._hand_in()
    assert await store.referrals("housing", 0) == []
    await store.stop()


async def test_the_newest_fifty_are_listed(log_database):
    store = keeping(log_database)
    async with log_database.gateway() as audit_log:
        for n in range(60):
            exchange_id = uuid4()
            await audit_log.append(draft(exchange_id=exchange_id))
            one = decided()
            identified = structs.replace(one.identified, exchange_id=exchange_id, at=AT + n)
            store.referred(structs.replace(one, identified=identified), REFER)
    await store._hand_in()
    found = await store.referrals("housing", AT + 30)
    assert [each.at for each in found] == [AT + n for n in range(59, 29, -1)]
    assert len(await store.referrals("housing", 0)) == 50
    await store.stop()


# --- a ruling ---------------------------------------------------------------------------------


async def test_a_ruling_is_recorded_and_then_in_force(hearing):
    assert await hearing.heard.rule(brought(signed_ruling())) == Heard(RULING.id, 0)
    for name in (RULING.id, RULING.referral):
        assert await hearing.store.cited(name) == (signed_ruling(), False)
    (act,) = hearing.records.acts
    assert (act.kind, act.by, act.provider, act.at) == (
        ActKind.RULING, "chen-jing", "housing", AT,
    )  # fmt: skip
    assert act.facts == {
        "ruling": str(RULING.id),
        "referral": str(REFERRAL),
        "effect": "permit",
        "provider": "housing",
        "consumer": "civil-affairs",
        "resource": "properties",
        "purpose": "review",
        "expires": RULING.expires,
    }
    assert act.detail["statement"] == RULING
    (found,) = await hearing.heard.referrals(brought(b""))
    assert (found.ruling, found.used) == (RULING.id, False)


async def test_what_cannot_be_recorded_is_not_in_force_and_may_be_brought_again(hearing):
    hearing.records.down = True
    with pytest.raises(AuditLogUnavailable):
        await hearing.heard.rule(brought(signed_ruling()))
    assert await hearing.store.cited(RULING.id) is None
    assert await hearing.store.use(RULING.id, uuid4()) is False
    (found,) = await hearing.heard.referrals(brought(b""))
    assert found.ruling is None
    hearing.records.down = False
    assert await hearing.heard.rule(brought(signed_ruling())) == Heard(RULING.id, 0)
    assert await hearing.heard.rule(brought(signed_ruling())) == Heard(RULING.id, None)
    assert len(hearing.records.acts) == 1


async def test_a_referral_has_one_ruling(hearing, log_database):
    other = signed_ruling(by="liu-yang", id=uuid4())
    hearing.records.down = True
    with pytest.raises(AuditLogUnavailable):
        await hearing.heard.rule(brought(other))
    hearing.records.down = False
    # Another one may be on its way to its entry; what is not after a minute never will be.
    refused = await hearing.heard.rule(brought(signed_ruling()))
    assert refused == NotHeard(Reason.NOT_RULING, "Another statement is in its place.")
    await log_database.ask("update sharegate.ruling set proposed = now() - interval '2 minutes'")
    assert isinstance(await hearing.heard.rule(brought(signed_ruling())), Heard)
    await log_database.ask("update sharegate.ruling set proposed = now() - interval '2 minutes'")
    assert isinstance(await hearing.heard.rule(brought(other)), NotHeard)
    assert await hearing.store.enact(other.statement.id) is False
    assert len(hearing.records.acts) == 1


async def test_one_id_is_of_one_statement(hearing):
    assert isinstance(await hearing.heard.rule(brought(signed_ruling())), Heard)
    for changed in ({"matter": "DB-2026-9"}, {"effect": "refuse"}, {"where": {"x": "1"}}):
        refused = await hearing.heard.rule(brought(signed_ruling(**changed)))
        assert refused == NotHeard(Reason.NOT_RULING, "Another statement is in its place.")
    elsewhere = uuid4()
    refused = await hearing.heard.rule(brought(signed_ruling(referral=elsewhere)))
    assert refused == NotHeard(Reason.NOT_RULING, "Nothing like this was referred.")


@pytest.mark.parametrize(
    ("signed", "department", "at", "why"),
    [
        (signed_ruling(), "civil-affairs", AT, "Only the provider"),
        (signed_ruling(), "tax", AT, "Only the provider"),
        (signed_ruling(provider="tax", by="wang-fang"), "tax", AT, "Nothing like this"),
        (signed_ruling(by="sun-li"), "housing", AT, "A person of the provider"),
        (signed_ruling(key="liu-yang"), "housing", AT, "not by the person"),
        (signed_ruling(officer="chen-jing"), "housing", AT, "his own case"),
        (signed_ruling(consumer="tax"), "housing", AT, "Nothing like this"),
        (signed_ruling(resource="transfers"), "housing", AT, "Nothing like this"),
        (signed_ruling(purpose="survey"), "housing", AT, "Nothing like this"),
        (signed_ruling(question="another"), "housing", AT, "Nothing like this"),
        (signed_ruling(expires=AT), "housing", AT, "expire"),
        (signed_ruling(expires=AT + 30 * DAY_MS + 1), "housing", AT, "expires too late"),
        (signed_ruling(), "housing", AT - 60_001, "ahead of"),
        (signed_ruling(expires=AT + 9 * DAY_MS), "housing", AT + DAY_MS + 1, "more than a day"),
    ],
)
async def test_what_is_not_as_it_must_be_is_neither_kept_nor_recorded(
    hearing, log_database, signed, department, at, why
):
    refused = await hearing.heard.rule(brought(signed, department, at))
    assert refused.reason is Reason.NOT_RULING
    assert why in refused.detail
    assert hearing.records.acts == []
    assert await log_database.ask("select from sharegate.ruling") == []


async def test_what_is_no_ruling_is_malformed_and_its_words_are_not_repeated(hearing):
    parsed = json.loads(written(signed_ruling()))
    parsed["statement"]["matter"] = "canary-7f3a\u202e"
    for content in (b"", b"{}", b"canary-7f3a", json.dumps(parsed).encode()):
        refused = await hearing.heard.rule(brought(content))
        assert refused.reason is Reason.MALFORMED
        assert "canary" not in refused.detail


# --- beside the log nothing personal lies in clear --------------------------------------------


async def test_nothing_personal_is_in_the_tables(hearing, log_database):
    await hearing.heard.rule(brought(signed_ruling()))
    await hearing.heard.open(signed_opening(), AT)
    for table in ("referral", "ruling", "break_glass"):
        (row,) = await log_database.ask(f"select t::text, t.* from sharegate.{table} t")
        shown = row["t"] + "".join(repr(value) for value in row.values())
        for secret in ("110101199003070019", "zhang.wei", "DB-2026-1", "Flood"):
            assert secret not in shown
            assert secret.encode().hex() not in shown


async def test_another_logs_key_and_a_row_put_elsewhere_open_nothing(hearing, log_database):
    await hearing.heard.rule(brought(signed_ruling()))
    other = keeping(log_database, key=sealing_key(b"other"))
    with pytest.raises(ValueError, match="not what was kept"):
        await other.cited(RULING.id)
    await other.stop()
    moved = uuid4()
    await log_database.ask("update sharegate.ruling set id = $1", moved)
    with pytest.raises(ValueError, match="not what was kept"):
        await hearing.store.cited(moved)


async def test_only_the_login_that_appends_may_use_rulings(log_database):
    for statement in (
        "select sharegate.use_ruling(gen_random_uuid(), gen_random_uuid())",
        "select sharegate.return_ruling(gen_random_uuid())",
        "select sharegate.enact_ruling(gen_random_uuid())",
        "select * from sharegate.cited(gen_random_uuid())",
        "select * from sharegate.openings()",
    ):
        await ask(log_database.append, statement)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(log_database.read, statement)


# --- used once --------------------------------------------------------------------------------


async def test_processes_that_race_for_one_ruling_use_it_once(hearing, log_database):
    await hearing.heard.rule(brought(signed_ruling()))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.ruling_user", log_database.append,
             KEY.hex(), str(RULING.id), "50"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip

    def race():
        assert [each.stdout.readline() for each in started] == ["READY\n"] * 3
        for each in started:
            each.stdin.write("\n")
            each.stdin.flush()
        return [int(each.stdout.readline()) for each in started]

    try:
        used = await asyncio.to_thread(race)
    finally:
        for each in started:
            each.kill()
            each.wait()
            each.stdin.close()
            each.stdout.close()
    assert sum(used) == 1, used
    assert (await hearing.store.cited(RULING.id))[1] is True


async def test_only_the_exchange_that_used_it_gives_it_back(hearing):
    await hearing.heard.rule(brought(signed_ruling()))
    mine, other = uuid4(), uuid4()
    assert await hearing.store.use(RULING.id, mine)
    assert not await hearing.store.use(RULING.id, mine)
    hearing.store.returned(other)
    await hearing.store._hand_in()
    assert not await hearing.store.use(RULING.id, other)
    hearing.store.returned(mine)
    await hearing.store._hand_in()
    assert await hearing.store.use(RULING.id, other)


async def test_a_use_outlives_a_crash_of_the_database(private_postgres):
    server = private_postgres()
    database = await make_on(server)
    store = keeping(database)
    await refer(database, store)
    heard = Hearing(store, lambda: REGISTRY, Records())
    await heard.rule(brought(signed_ruling()))
    assert await store.use(RULING.id, uuid4())
    await server.stop("immediate")
    with pytest.raises(BROKEN):
        await store.use(RULING.id, uuid4())
    await server.start()
    assert not await store.use(RULING.id, uuid4())
    await store.stop()


async def test_without_a_database_officers_are_told_so_and_nothing_is_in_force():
    store = PostgresRulings("postgresql://a@127.0.0.1:1/d", KEY, lambda _: None, random=os.urandom)
    records = Records()
    heard = Hearing(store, lambda: REGISTRY, records)
    for act in (
        heard.referrals(brought(b"")), heard.rule(brought(signed_ruling())),
        heard.open(signed_opening(), AT), heard.review(signed_review(), AT),
    ):  # fmt: skip
        with pytest.raises(AuditLogUnavailable):
            await act
    assert records.acts == []
    await store.stop()


# --- break-glass ------------------------------------------------------------------------------


async def test_an_opening_is_recorded_and_then_in_force(hearing):
    hearing.records.down = True
    with pytest.raises(AuditLogUnavailable):
        await hearing.heard.open(signed_opening(), AT)
    assert await hearing.store.cited(OPENING.id) is None
    assert await hearing.store.openings() == []
    hearing.records.down = False
    assert await hearing.heard.open(signed_opening(), AT) == Heard(OPENING.id, 0)
    assert await hearing.heard.open(signed_opening(), AT) == Heard(OPENING.id, None)
    assert await hearing.store.cited(OPENING.id) == (signed_opening(), False)
    (act,) = hearing.records.acts
    assert act.kind is ActKind.BREAK_GLASS
    assert act.facts == {
        "break_glass": str(OPENING.id),
        "by": ("chen-jing", "liu-yang"),
        "provider": "housing",
        "consumer": "civil-affairs",
        "expires": OPENING.expires,
        "review_due": OPENING.expires + REVIEW_WITHIN_MS,
    }


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"expires": AT + DAY_MS + 1}, "expires too late"),
        ({"expires": AT}, "expire"),
        ({"by": ("chen-jing", "wang-fang")}, "A person of the provider"),
        ({"by": ("chen-jing", "chen-jing")}, "signs once"),
        ({"consumer": "nobody", "by": ("chen-jing", "liu-yang")}, "no such department"),
    ],
)
async def test_an_opening_that_is_not_as_it_must_be_is_not_taken(hearing, changes, why):
    with pytest.raises(Unheard, match=why):
        await hearing.heard.open(signed_opening(**changes), AT)
    assert hearing.records.acts == []


async def test_one_id_is_of_one_opening(hearing):
    await hearing.heard.open(signed_opening(), AT)
    with pytest.raises(Unheard, match="in its place"):
        await hearing.heard.open(signed_opening(row_limit=9), AT)
    assert (await hearing.store.cited(OPENING.id))[0] == signed_opening()


async def test_a_review_is_due_and_overdue_until_an_auditor_makes_it(hearing, log_database):
    seen = []
    store = keeping(log_database, seen.append)
    await hearing.heard.open(signed_opening(), AT)
    over = OPENING.expires
    due = over + REVIEW_WITHIN_MS
    (kept,) = await store.openings()
    assert (kept.statement, kept.review_due, kept.reviewed) == (OPENING, due, False)
    for now, count in ((due - 1, 0), (due, 1)):
        rows = await log_database.ask("select sharegate.overdue_reviews($1)", now)
        assert rows[0][0] == count
    await log_database.ask("update sharegate.break_glass set review_due = 1")
    await store.start()

    async def told():
        return seen[-1:] == [ReviewsOverdue(1)]

    await until(told)
    with pytest.raises(Unheard, match="once it is over"):
        await hearing.heard.review(signed_review(), AT)
    with pytest.raises(Unheard, match="no such opening"):
        await hearing.heard.review(signed_review(opening=UUID(int=1), at=over), over)
    with pytest.raises(Unheard, match="auditor"):
        await hearing.heard.review(signed_review(by="chen-jing", at=over), over)
    assert await hearing.heard.review(signed_review(at=over), over) == Heard(
        signed_review().statement.id, 1
    )
    with pytest.raises(Unheard, match="before"):
        await hearing.heard.review(signed_review(id=uuid4(), at=over), over)
    act = hearing.records.acts[-1]
    assert (act.kind, act.by) == (ActKind.REVIEW, "li-na")
    assert act.facts["finding"] == "justified"
    store._told.set()

    async def settled():
        return seen[-1:] == [ReviewsOverdue(0)]

    await until(settled)
    await store.stop()


async def test_fates_are_those_the_database_says(log_database):
    store = keeping(log_database)
    await refer(log_database, store)
    assert await store.propose(signed_ruling()) is Fate.PROPOSED
    assert await store.propose(signed_ruling()) is Fate.PROPOSED
    assert await store.propose(signed_ruling(id=uuid4())) is Fate.TAKEN
    assert await store.enact(RULING.id)
    assert await store.propose(signed_ruling()) is Fate.RECORDED
    assert await store.propose(signed_ruling(referral=uuid4())) is Fate.UNKNOWN
    await store.stop()
