"""An audit log's database for tests, and ways around the gateway into it."""

import asyncio
import contextlib
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg

from sharegate.audit.chain import parse_leaf
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.errors import AuditLogUnavailable
from sharegate.record.audit_log import Draft
from sharegate.record.migrate import provision
from sharegate.record.postgres import PostgresAuditLog
from sharegate.record.reader import PostgresReader

ORIGIN = "audit.sharegate.example"


@dataclass(frozen=True)
class AuditDatabase:
    """One audit log's database, seen by its superuser and by the gateway's two logins."""

    owner: str
    append: str
    read: str

    async def ask(self, statement, *values):
        """Run a statement as the superuser and give its rows."""
        return await ask(self.owner, statement, *values)

    async def leaves(self):
        return [
            row["leaf"] for row in await self.ask("select leaf from sharegate.entry order by seq")
        ]

    async def archive(self, size):
        """Take the first entries out, as `sharegate audit archive` does; give their leaves."""
        leaves = (await self.leaves())[:size]
        tree = Frontier.empty().extend([leaf_hash(leaf) for leaf in leaves])
        await self.ask(
            "update sharegate.head set archived = $1, archived_last = $2, archived_frontier = $3",
            size, leaf_hash(leaves[-1]), b"".join(tree.hashes),
        )  # fmt: skip
        for _ in range(2):  # the second time for whom they are about
            await self.ask("select sharegate.detach($1)", 10**6)
        return leaves

    async def size(self):
        return (await self.ask("select size from sharegate.head"))[0]["size"]

    @contextlib.asynccontextmanager
    async def gateway(self, append=None, seconds=5.0, observe=lambda _: None, *, usable=True):
        """One gateway's audit log; usable, unless the test says that it will not be."""
        reader = PostgresReader(self.read)
        audit_log = PostgresAuditLog(append or self.append, reader, observe, seconds=seconds)
        await audit_log.start()
        try:
            if usable:
                await until_usable(audit_log)
            yield audit_log
        finally:
            await audit_log.stop()
            await reader.close()


async def until(condition):
    """Wait for something that will be so, however busy the machine is."""
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.01)


async def until_usable(*parts):
    """Wait until everything that can say so says that it is usable."""

    async def usable():
        try:
            for part in parts:
                part.require_usable()
        except AuditLogUnavailable:
            return False
        return True

    await until(usable)


async def ask(dsn, statement, *values, settings=None):
    connection = await asyncpg.connect(dsn, server_settings=settings)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


async def make(database):
    """An audit log in an empty database (`tests.postgres.Database`)."""
    append, read = await provision(database.server.dsn, ORIGIN, database.name)
    return AuditDatabase(database.dsn(), append, read)


async def make_on(server, name="audit"):
    """An audit log on a server of the test's own."""
    append, read = await provision(server.dsn, ORIGIN, name)
    return AuditDatabase(server.dsn(name), append, read)


def draft(text=b"{}", *, key=None, signed_at=0, exchange_id: UUID | None = None):
    """An entry; every part of it unlike any other's unless given."""
    return Draft(
        exchange_id=exchange_id or uuid4(),
        replay_key=key or uuid4().bytes * 2,
        signed_at=signed_at,
        core=text,
        sealed=b"sealed " + text,
        wrapped=b"wrapped",
        blind=b"blind " + text,
    )


def cores(leaves):
    return [parse_leaf(leaf).core for leaf in leaves]
