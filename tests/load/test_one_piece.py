"""The handler in one piece writes what the gateway writes, or it would prove nothing."""

import asyncpg

from sharegate.audit.chain import parse_leaf
from sharegate.record.entry import read_core
from tests.load.stand import standing
from tests.postgres import on_a_thread


async def last_entry(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchrow(
            "select leaf, sealed, wrapped from sharegate.entry order by seq desc limit 1"
        )
    finally:
        await connection.close()


def shape(value):
    """Which members there are, and how long each text is."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return len(value) if isinstance(value, str) else type(value)


def test_its_entry_has_all_that_the_gateways_has():
    with standing(200) as stand:
        entries = []
        for kind in ("channel", "piece"):
            stand.start(kind)
            stand.ask(kind, 2, 5)
            entries.append(on_a_thread(last_entry(stand.server.dsn(stand.log_of(kind)))))
    cores = [read_core(parse_leaf(entry["leaf"]).core) for entry in entries]
    for core in cores:
        del core["caller"]["key"]  # a name of its own
    assert shape(cores[0]) == shape(cores[1])
    for part in ("sealed", "wrapped"):
        assert len(entries[0][part]) == len(entries[1][part])
