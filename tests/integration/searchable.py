"""An audit log that can be searched: entries of many kinds, signed, and their projection."""

import json
from dataclasses import dataclass
from random import Random

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.consortium.projection import ProjectionFollower
from sharegate.model.decision import Reason
from sharegate.model.ids import exchange_id
from sharegate.model.party import Caller, DepartmentId, KeyId, OfficerId
from sharegate.record.audit_log import Draft
from sharegate.record.blind import Token, officer_value, token
from sharegate.record.detail import DetailSealer
from sharegate.record.entry import Salts, core
from sharegate.record.migrate import provisioned_search
from sharegate.record.projected import PostgresProjection
from sharegate.record.search import PostgresSearch
from tests.integration.audit_database import ORIGIN, AuditDatabase, make
from tests.unit.record.exchanges import (
    NOW,
    OFFICE,
    Dice,
    catalogue,
    denied,
    disclosed,
    failed,
    identified,
    public,
    request,
    resource,
    under,
)

KEY_MATERIAL = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
KEY = SignerKey(ORIGIN, KEY_MATERIAL)
INDEX_KEY = bytes(range(32))
# Administrators who signed nothing: no command over this log reads a registry.
NOBODY = [
    "administrator-one+d52684b2+Ab/U2p6fCmenmUoqhoLftYknFWL5O89WPyqwwHa+QtlS",
    "administrator-two+7f7cbcb8+Aa1p4N7fXfXVNRZPjcd43C7yycP2yCbEHJOavRhecOH2",
]
RESOURCES = [
    resource(provider, name)
    for provider, name in (("housing", "properties"), ("housing", "transfers"), ("tax", "incomes"))
]
KNOWN = catalogue(RESOURCES, {"review": ("basis-2014",), "collection": ("basis-2014",)})
CONSUMERS = ("civil-affairs", "tax", "housing")
OFFICERS = ("zhang.wei", "li.na")
PEOPLE = ("110101199003070019", "110101198001010028", "110101197512310037")
MATTERS = ("DB-1", "DB-2", "DB-3")


@dataclass
class Searchable:
    """One audit log, its projection, and the two logins of both."""

    database: AuditDatabase
    project: str
    search: str

    def follower(self, observe=lambda _: None):
        projection = PostgresProjection(self.project)
        return ProjectionFollower(VerifierKey.parse(KEY.vkey), projection, observe)

    def searcher(self):
        return PostgresSearch(self.search)

    async def append(self, *drafts):
        """Append entries without waiting for anybody."""
        async with self.database.gateway() as audit_log:
            for each in drafts:
                await audit_log.append(each)

    async def sign(self, size=None, key=KEY):
        """Keep a signed checkpoint of this size, or over all there is."""
        leaves = (await self.database.leaves())[:size]
        frontier = Frontier.empty().extend([leaf_hash(leaf) for leaf in leaves])
        note = sign(Checkpoint(key.name, frontier.size, frontier.root()), key)
        await self.database.ask(
            "insert into sharegate.checkpoint (size, note) values ($1, $2)", frontier.size, note
        )

    def settings(self, home):
        """A settings file in `home` for commands over this log and its projection."""
        pem = KEY_MATERIAL.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (home / "log.pem").write_bytes(pem)
        config = home / "gateway.toml"
        config.write_text(
            f'policies = "policies"\nregistry = "registry.toml"\n[sources]\n[listen]\n'
            f'exchange = "127.0.0.1:8080"\nadmin = "127.0.0.1:9080"\nauthority = "test"\n'
            f"[trust]\nadministrators = {json.dumps(NOBODY)}\n"
            f'[audit_log]\norigin = "{ORIGIN}"\nappend_dsn = "{self.database.append}"\n'
            f'read_dsn = "{self.database.read}"\nsigning_key = "log.pem"\nstate = "state"\n'
            f'[projection]\ndsn = "{self.project}"\nsearch_dsn = "{self.search}"\n'
        )
        return config

    async def rows(self):
        """Everything projected."""
        entries = await self.database.ask("select * from sharegate.search_entry order by seq")
        people = await self.database.ask("select * from sharegate.search_person order by 1, 2, 3")
        place = await self.database.ask("select * from sharegate.search_place")
        return [tuple(row) for row in (*entries, *people, *place)]

    async def projected(self):
        """The indexes of the entries that can be searched."""
        found = await self.database.ask("select seq from sharegate.search_entry order by seq")
        return [row["seq"] for row in found]

    async def alter(self, statement, *values):
        """Change what only grows, as whoever owns the machine can."""
        await self.database.ask("alter table sharegate.entry disable trigger user")
        await self.database.ask(statement, *values)


async def searchable(database):
    """An empty log in an empty database (`tests.postgres.Database`)."""
    made = await make(database)
    return Searchable(made, *provisioned_search(database.server.dsn, database.name))


def invented(chance: Random, number: int) -> Draft:
    """One recorded exchange, sealed and blinded as a gateway does it."""
    at = NOW + (number // 2 + chance.randrange(-3, 4)) * 1000  # out of order, and many at once
    listed, consumer = chance.choice(RESOURCES), chance.choice(CONSUMERS)
    officer, person = chance.choice(OFFICERS), chance.choice(PEOPLE)
    asked = request(
        provider=listed.provider,
        resource=listed.id,
        purpose=chance.choice(["review", "collection"]),
        matter=chance.choice(MATTERS),
        where={"owner": person},
    )
    unreadable = chance.random() < 0.1
    body = b"{" if unreadable else json.dumps(msgspec.structs.asdict(asked)).encode()
    who = msgspec.structs.replace(
        identified(exchange_id(at, chance.randbytes(10)), at, chance.randbytes(32), body),
        caller=Caller(
            DepartmentId(consumer), OfficerId(officer), KeyId("key-1"), "https://issuer.example"
        ),
    )
    fetched = chance.choice(
        [
            disclosed(asked=asked, who=who, listed=listed),
            denied(asked, who, chance.choice([Reason.NO_GRANT, Reason.REPLAYED]), "housing-001"),
            failed(asked, who),
        ]
    )
    if unreadable:
        fetched = denied(None, who, Reason.MALFORMED)
    fetched = under(KNOWN, fetched)
    salts, sealer = Salts.cut(chance.randbytes(192)), DetailSealer(public(OFFICE), Dice())
    detail = sealer.seal(fetched, salts)
    blind = token(INDEX_KEY, Token.OFFICER, officer_value(consumer, officer))
    if not unreadable:
        blind += token(INDEX_KEY, Token.MATTER, asked.matter)
        blind += token(INDEX_KEY, Token.PERSON, person)
        blind += token(INDEX_KEY, Token.PERSON, PEOPLE[0])  # disclosed beside; often the same
    return Draft(
        exchange_id=who.exchange_id,
        replay_key=who.replay_key,
        signed_at=0,
        core=core(fetched, salts, detail, b"answer"),
        sealed=detail.ciphertext,
        wrapped=detail.wrapped,
        blind=blind,
    )
