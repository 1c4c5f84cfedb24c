"""What the port promises, held against every adapter and against a source made of a list."""

import asyncio
from datetime import date, datetime
from decimal import Decimal
from uuid import uuid4

import asyncpg
import pytest

from sharegate.fetch.plan import Plan, plan
from sharegate.fetch.postgres import PostgresSource
from sharegate.fetch.source import Source, SourceTimeout, SourceUnavailable, Trouble
from tests.unit.fetch.estate import ALL, permit, request

CANARY = "canary-7f3a"
ROWS = [
    ("c1", "o1", "张三", "甲路1号", "88.50", 3, "2020-02-29", "2020-02-29 01:02:03+00", True),
    ("c2", "o1", "张三", "甲路2号", "10", 1, "2021-01-01", "2021-01-01 00:00:00.5+00", False),
    ("c3", "o1", None, None, None, None, None, None, None),
    ("c4", "o2", CANARY, CANARY, "1.0", 2**40, "9999-12-31", "2021-01-01 00:00:00+00", True),
    ("c5", "' OR 1=1 --", "李四", "乙路", "7.25", 0, "0001-01-01", "2021-01-01 00:00:00+00", False),
]
SCHEMA = """
CREATE SCHEMA estate;
CREATE TABLE estate.property (
    certificate_no text PRIMARY KEY, owner_id_number char(18), owner_name text,
    address varchar(99), area_m2 numeric, storeys bigint, registered_on date,
    seen_at timestamptz, mortgaged boolean);
CREATE ROLE {role} LOGIN PASSWORD 'x';
ALTER ROLE {role} SET default_transaction_read_only = on;
ALTER ROLE {role} SET statement_timeout = '3s';
ALTER ROLE {role} SET search_path = '';
GRANT USAGE ON SCHEMA estate TO {role};
GRANT SELECT ON estate.property TO {role};
"""


class ListSource:
    """A source whose table is a list."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.gate = asyncio.Event()
        self.gate.set()

    async def rows(self, plan: Plan, exchange_id):
        try:
            async with asyncio.timeout(self.seconds):
                await self.gate.wait()
        except TimeoutError:
            pass
        else:
            return [self._columns(plan, row) for row in ROWS if self._matches(plan, row)][
                : plan.row_limit
            ]
        raise SourceTimeout(Trouble.SLOW)

    @staticmethod
    def _columns(plan, row):
        return tuple(row[ALL.index(column.name)] for column in plan.shape.columns)

    @staticmethod
    def _matches(plan, row):
        for column, value in zip(plan.shape.keys, plan.values, strict=True):
            there = row[ALL.index(column.name)]
            if there is None:
                return False
            if isinstance(value, Decimal):
                there = Decimal(there)
            if column.name == "seen_at":
                there = datetime.fromisoformat(there)
            if column.name == "registered_on":
                there = date.fromisoformat(there)
            if there != value:
                return False
        return True


@pytest.fixture(params=["list", "postgres"])
async def source(request):
    """A source of ROWS with 2 connections and little time, and a way to make it slow."""
    if request.param == "list":
        listed = ListSource(0.5)

        async def stall(stalled):
            listed.gate.clear() if stalled else listed.gate.set()

        yield listed, stall
        return
    database = request.getfixturevalue("database")
    owner = await asyncpg.connect(database.dsn())
    role = f"{database.name}_gateway"
    await owner.execute(SCHEMA.format(role=role))
    await owner.executemany(
        "INSERT INTO estate.property VALUES ($1,$2,$3,$4,$5::text::numeric,$6,$7::text::date,"
        "$8::text::timestamptz,$9)",
        ROWS,
    )
    locked = owner.transaction()

    async def stall(stalled):
        if stalled:
            await locked.start()
            await owner.execute("LOCK estate.property IN ACCESS EXCLUSIVE MODE")
        else:
            await locked.rollback()

    made = PostgresSource(database.dsn(role, "x"), 2, 1.5)
    yield made, stall
    await made.close()
    await owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await owner.close()


async def ask(made: Source, fields=ALL, limit=50, **where):
    """The rows, each value where its field was asked for; the shape has an order of its own."""
    planned = plan(permit(fields, limit), request(**where))
    columns = [column.name for column in planned.shape.columns]
    rows = await made.rows(planned, uuid4())
    return [tuple(row[columns.index(name)] for name in fields) for row in rows]


async def test_rows_that_match_in_source_form_and_no_others(source):
    made, _ = source
    rows = await ask(made, certificate_no="c1")
    assert [tuple(row) for row in rows] == [ROWS[0]]
    nulls = await ask(made, ALL[2:], certificate_no="c3")
    assert [tuple(row) for row in nulls] == [ROWS[2][2:]]
    assert list(await ask(made, certificate_no="nobody")) == []


async def test_only_the_columns_asked_for_in_the_shapes_order(source):
    made, _ = source
    planned = plan(permit(("storeys", "certificate_no")), request(certificate_no="c2"))
    assert [tuple(row) for row in await made.rows(planned, uuid4())] == [("c2", 1)]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
async def test_at_most_the_limit(source, limit):
    made, _ = source
    rows = await ask(made, limit=limit, owner_id_number="o1")
    assert len(rows) == min(limit, 3)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"owner_id_number": "o1", "certificate_no": "c2"}, ["c2"]),
        ({"area_m2": "88.5"}, ["c1"]),
        ({"storeys": 2**40}, ["c4"]),
        ({"storeys": -(2**63)}, []),
        ({"registered_on": "2020-02-29"}, ["c1"]),
        ({"registered_on": "9999-12-31"}, ["c4"]),
        ({"registered_on": "0001-01-01"}, ["c5"]),
        ({"seen_at": "2020-02-29T01:02:03Z"}, ["c1"]),
        ({"mortgaged": True}, ["c1", "c4"]),
        ({"owner_id_number": "' OR 1=1 --"}, ["c5"]),
        ({"owner_id_number": "' OR '1'='1"}, []),
        ({"owner_id_number": "o_"}, []),
        ({"owner_id_number": "%"}, []),
        ({"owner_id_number": "x" * 60_000}, []),
    ],
)
async def test_keys_are_compared_for_equality(source, where, found):
    made, _ = source
    rows = await ask(made, ("certificate_no",), **where)
    assert sorted(row[0] for row in rows) == found


async def test_many_at_once_are_all_answered(source):
    made, _ = source
    answers = await asyncio.gather(*(ask(made, certificate_no=f"c{n % 5 + 1}") for n in range(60)))
    assert [rows[0][0] for rows in answers] == [f"c{n % 5 + 1}" for n in range(60)]


async def test_it_ends_when_the_source_does_not_answer_and_says_nothing_of_it(source):
    made, stall = source
    await ask(made, certificate_no="c4")
    await stall(True)
    asked = [ask(made, certificate_no="c4") for _ in range(5)]
    for late in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(late, SourceTimeout)
        assert CANARY not in repr(late)
        assert late.__cause__ is None
        assert late.__context__ is None
    await stall(False)
    assert len(await ask(made, certificate_no="c4")) == 1


async def test_hanging_up_gives_back_what_was_held(source):
    made, stall = source
    await stall(True)
    for _ in range(3):
        callers = [asyncio.create_task(ask(made, certificate_no="c1")) for _ in range(6)]
        await asyncio.sleep(0.05)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert all(caller.cancelled() for caller in callers)
    await stall(False)
    assert len(await ask(made, certificate_no="c1")) == 1


async def test_what_is_not_there_is_unavailable():
    made = PostgresSource("postgresql://nobody@127.0.0.1:1/none", 2, 1.0)
    with pytest.raises(SourceUnavailable):
        await ask(made, certificate_no="c1")
    await made.close()
