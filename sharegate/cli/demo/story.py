"""The demo's story: real exchanges between real processes, each checked as it is told."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg
from aiohttp import ClientError, ClientSession

from sharegate.audit import fork
from sharegate.audit.chain import Fault
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint, sign
from sharegate.audit.note import SignerKey
from sharegate.audit.receipt import parse
from sharegate.audit.witnessing import Status, Submission, encode
from sharegate.cli.audit import verify_log
from sharegate.cli.call import Reply, keep, load_caller, prepare, send, signed
from sharegate.cli.demo.stage import AUDITOR, DEPARTMENTS, ORIGIN, Stage
from sharegate.cli.demo.town import StoryPeople
from sharegate.cli.verify import describe, verify_witnessed
from sharegate.consortium.witness_memory import WitnessMemory
from sharegate.errors import ShareGateError
from sharegate.private_keys import load_ed25519
from sharegate.record.migrate import DATABASE
from sharegate.record.verified import NotVerified, verify_answer
from sharegate.settings import load_settings

_READY_TRIES: Final = 200
_READY_PAUSE: Final = 0.1


class StoryFailed(ShareGateError):
    """A step of the story went otherwise than it must."""


@dataclass(slots=True)
class GatewayProcess:
    """`sharegate serve`, as a process of its own, as it would run anywhere."""

    stage: Stage
    output: Path
    process: asyncio.subprocess.Process | None = field(default=None)

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            StoryFailed: It ended, or does not get ready.
        """
        with self.output.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sharegate", "serve", "--config", str(self.stage.config),
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        async with ClientSession() as session:
            for _ in range(_READY_TRIES):
                if self.process.returncode is not None:
                    break
                with suppress(ClientError):
                    async with session.get(f"{self.stage.admin_url}/readyz") as response:
                        if response.status == 200:  # noqa: PLR2004
                            return
                await asyncio.sleep(_READY_PAUSE)
        raise StoryFailed(f"the gateway does not get ready; see {self.output}")

    async def stop(self) -> int:
        """Stop it as an operator would; give its exit code."""
        if self.process is None or self.process.returncode is not None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@dataclass(frozen=True, slots=True)
class Story:
    """Tells the story; every step checks what came before it says so."""

    stage: Stage
    people: StoryPeople
    gateway: GatewayProcess
    say: Callable[[str], None]

    async def tell(self) -> None:
        """Play every step, in order.

        Raises:
            StoryFailed: One of them went otherwise.
        """
        answer, receipt = await self._permitted()
        await self._refused()
        await self._audited(receipt)
        await self._vouched_for(receipt)
        await self._verified_offline(answer, receipt)
        await self._tampered()
        await self._forked()

    async def _permitted(self) -> tuple[Path, Path]:
        self.say("\n1. Civil affairs asks housing what property an allowance applicant owns.")
        caller = load_caller(self.stage.callers["civil-affairs"])
        question = self.properties()
        request = prepare(caller, question)
        reply = await send(request)
        self._expect(reply, 200)
        answer, receipt = keep(caller, reply)
        rows = json.loads(reply.body)["rows"]
        self.say(f"   200, {len(rows)} row(s): {json.dumps(rows[0], ensure_ascii=False)}")
        self.say(f"   exchange {reply.exchange_id}; answer and receipt kept")
        self.say("2. The same signed request again, byte for byte: a replay.")
        self._told(self._expect(await send(request), 409, "replayed"))
        return answer, receipt

    async def _refused(self) -> None:
        tenant = self.people.tenant
        self.say("3. Housing asks civil affairs about a marriage: there is no grant for that.")
        await self._asks("housing", 403, "no-grant", {
            "provider": "civil-affairs", "resource": "marriages", "mode": "query",
            "purpose": "public-rental-housing-review",
            "legal_basis": "public-rental-housing-measures-2012", "matter": "GZ-2026-000456",
            "where": {"id_number": tenant.id_number},
        })  # fmt: skip
        self.say("4. Civil affairs asks for the same property, but for another purpose.")
        await self._asks("civil-affairs", 403, "no-grant", self.properties() | {
            "purpose": "marriage-registration",
            "legal_basis": "marriage-registration-regulations-2025", "matter": "HY-2026-000789",
        })  # fmt: skip
        self.say("5. … and for a purpose that is not on the list at all.")
        await self._asks("civil-affairs", 422, "unknown-purpose", self.properties() | {
            "purpose": "curiosity"
        })  # fmt: skip

    async def _audited(self, receipt: Path) -> None:
        entry = parse(receipt.read_bytes()).index
        await self._searchable(entry)
        self.say(
            "\n6. An auditor asks who wanted to know what about this person, and is written down."
        )
        concerned = ("--concerned", self.people.applicant.id_number)
        found = await self._audits("search", *concerned, "--decision", "permit")
        self._quote(found)
        if not any(line.split()[:1] == [str(entry)] for line in found):
            raise StoryFailed(f"the search does not find entry {entry}: {found}")
        office = str(self.stage.keys / "audit-office.detail.pem")
        self.say("7. … and opens that entry with the audit office's key.")
        opened = await self._audits("show", str(entry), "--open", "--office-key", office)
        clear = next((n for n, line in enumerate(opened) if line.startswith("opened")), 0)
        self._quote([*opened[:2], "  …", *opened[clear:]])
        if not any(DEPARTMENTS["civil-affairs"][2] in line for line in opened):
            raise StoryFailed(f"entry {entry} does not say which officer asked: {opened}")

    async def _searchable(self, entry: int) -> None:
        admin = await asyncpg.connect(self.stage.server.dsn(DATABASE))
        try:
            for _ in range(_READY_TRIES):
                if await admin.fetchval("select size from sharegate.search_place") > entry:
                    return
                await asyncio.sleep(_READY_PAUSE)
        finally:
            await admin.close()
        raise StoryFailed(f"entry {entry} cannot be searched")

    async def _audits(self, act: str, *arguments: str) -> list[str]:
        """One `sharegate audit`, as the auditor types it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sharegate", "audit", act, *arguments,
            "--config", str(self.stage.config), "--as", AUDITOR,
            "--key", str(self.stage.keys / f"{AUDITOR}.pem"), "--matter", "JJ-2026-000031",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        lines = said.decode().splitlines()
        if process.returncode != 0:
            raise StoryFailed(f"the auditor is refused: {lines}")
        return lines

    def _quote(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.say(f"   {line}")

    async def _vouched_for(self, receipt: Path) -> None:
        self.say("\n8. The receipt is fetched again, as four members' witnesses vouch for it.")
        caller = load_caller(self.stage.callers["civil-affairs"])
        path = f"/v1/receipts/{receipt.stem}"
        reply = self._expect(await send(signed(caller, "GET", path, "min=cosigned", b"")), 200)
        receipt.write_bytes(reply.body)
        self.say(f"   {len(reply.body)} bytes, under a checkpoint that a quorum has cosigned")

    async def _verified_offline(self, answer: Path, receipt: Path) -> None:
        self.say("\n9. The gateway is stopped. Answer, receipt and the keys are enough:")
        code = await self.gateway.stop()
        if code != 0:
            raise StoryFailed(f"the gateway ended with {code}")
        proven = verify_answer(answer.read_bytes(), receipt.read_bytes(), self.stage.log_key)
        self.say("   " + describe(proven).replace("\n", "\n   "))
        quorum = self.stage.consortium.quorum
        self.say(f"     {verify_witnessed(receipt.read_bytes(), quorum)}")
        changed = answer.read_bytes().replace(b'"rows":[{', b'"rows":[ {', 1)
        try:
            verify_answer(changed, receipt.read_bytes(), self.stage.log_key)
        except NotVerified as refused:
            self.say(f"   one byte more in the answer: {refused}")
        else:
            raise StoryFailed("a changed answer was verified")

    async def _tampered(self) -> None:
        settings = load_settings(self.stage.config).audit_log
        found = await verify_log(settings)
        if isinstance(found, Fault):
            raise StoryFailed(f"the log is not right before anyone touched it: {found}")
        self.say(f"10. The whole log is re-hashed: {found} entries, all right.")
        index = max(found - 3, 0)
        self.say(f"11. A database superuser changes who asked in entry {index} …")
        admin = await asyncpg.connect(self.stage.server.dsn(DATABASE))
        try:
            leaf = await admin.fetchval("select leaf from sharegate.entry where seq = $1", index)
            forged = leaf.replace(b'"consumer":"', b'"consumer":"x', 1)
            await _overwrite(admin, index, forged)
            fault = await verify_log(settings)
            if not isinstance(fault, Fault) or fault.index_low != index:
                raise StoryFailed(f"the forgery was not found where it is: {fault}")
            self.say(f"   … and is found: {fault}")
            await _overwrite(admin, index, leaf)
            restored = await verify_log(settings)
            if restored != found:
                raise StoryFailed(f"the exact bytes did not mend the log: {restored}")
            self.say("   The exact bytes put back, the log is right again; nothing less mends it.")
        finally:
            await admin.close()

    async def _forked(self) -> None:
        self.say("12. Whoever has the log's key signs another history, for a member's witness …")
        key = SignerKey(ORIGIN, load_ed25519(self.stage.keys / "log.pem"))
        one = self.stage.consortium.witnesses[0]
        memory = WitnessMemory(one.state)
        seen = open_checkpoint(memory.recall(ORIGIN) or b"", [key.verifier], ORIGIN)
        other = sign(Checkpoint(ORIGIN, seen.size, bytes(32)), key)
        body = encode(Submission(seen.size, (), other))
        async with (
            ClientSession() as session,
            session.post(f"{one.url}/add-checkpoint", data=body) as answer,
        ):
            if answer.status != Status.INCONSISTENT:
                raise StoryFailed(f"the witness answers {answer.status} to a fork")
            self.say(f"   … which refuses: {(await answer.text()).strip()}")
        for proof in one.state.glob("evidence/*/*.fork.json"):
            found = fork.verify(fork.parse(proof.read_bytes()), [key.verifier], ORIGIN)
            if found.second.size == seen.size:
                self.say(f"   and keeps the proof: {found.first.size} entries, and two roots "
                         "signed over them by one key")  # fmt: skip
                return
        raise StoryFailed("the witness kept no proof")

    async def _asks(
        self, department: str, status: int, problem: str, question: Mapping[str, object]
    ) -> None:
        caller = load_caller(self.stage.callers[department])
        self._told(self._expect(await send(prepare(caller, question)), status, problem))

    def properties(self) -> dict[str, object]:
        """The question that is permitted."""
        return {
            "provider": "housing",
            "resource": "properties",
            "mode": "query",
            "purpose": "subsistence-allowance-review",
            "legal_basis": "social-assistance-measures-2014",
            "matter": "DB-2026-000123",
            "where": {"owner_id_number": self.people.applicant.id_number},
        }

    def _expect(self, reply: Reply, status: int, problem: str | None = None) -> Reply:
        kind = "" if problem is None else json.loads(reply.body).get("type", "")
        if reply.status != status or not kind.endswith(problem or ""):
            wanted = f"{status} {problem or ''}"
            raise StoryFailed(f"expected {wanted}, got {reply.status}: {reply.body!r}")
        return reply

    def _told(self, reply: Reply) -> None:
        problem = json.loads(reply.body)
        self.say(f"   {reply.status} {problem['type']} (entry {problem['entry']})")
        self.say(f"   {problem['detail']}")


async def _overwrite(admin: asyncpg.Connection, index: int, leaf: bytes) -> None:
    """What a superuser can do, and no gateway role can."""
    async with admin.transaction():
        await admin.execute("set local session_replication_role = replica")
        await admin.execute("update sharegate.entry set leaf = $2 where seq = $1", index, leaf)
