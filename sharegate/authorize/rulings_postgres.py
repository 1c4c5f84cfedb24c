"""Rulings and openings in the audit log's own database, sealed.

A statement names an officer, a matter and the person concerned, and whoever holds its signature can
try guesses of them: so both are kept under a key that only the gateways of the log can derive.
That it is the same database as the log's makes a use exact whoever dies: it commits before the
entry of what it let through does.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sharegate.authorize.line import BROKEN, Line
from sharegate.model.decision import Refer
from sharegate.model.passage import Decided
from sharegate.model.ruling import (
    Fate,
    KeptOpening,
    Referral,
    Ruling,
    SignedOpening,
    SignedRuling,
    read_opening,
    read_ruling,
    written,
)
from sharegate.observe import Observer, ReviewsOverdue

_NONCE_BYTES: Final = 12
_ASIDE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 30.0
_MOST_REFERRALS: Final = 50


class PostgresRulings:
    """Keeps referrals, rulings and openings; what `rulings.Store` promises, in PostgreSQL.

    Every method that waits raises one of `line.BROKEN` where the database does not answer.
    """

    def __init__(
        self,
        dsn: str,
        key: bytes,
        observe: Observer,
        *,
        random: Callable[[int], bytes],
        seconds: float = 1.0,
    ) -> None:
        """Prepare; the first call connects.

        Args:
            dsn: A login with the role ``sharegate_append``, to the database of the audit log.
            key: 32 bytes, of all gateways of this log (`rulings.sealing_key`).
            observe: Told how many reviews are overdue.
            random: Gives so many random bytes.
            seconds: How long one statement may take, waiting for its turn included.
        """
        self._line = Line(dsn, seconds)
        self._aside = Line(dsn, _ASIDE_SECONDS)
        self._seal = AESGCM(key)
        self._random = random
        self._observe = observe
        self._waiting: list[tuple[str, Sequence[object]]] = []
        self._told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write down what can wait, and to look for overdue reviews."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Write down what waits, if that is possible, and disconnect."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            with suppress(*BROKEN):
                await self._hand_in()
        self._line.drop()
        self._aside.drop()

    # --- what settling needs ------------------------------------------------------------------

    async def cited(self, name: UUID) -> tuple[SignedRuling | SignedOpening, bool] | None:
        """What is known by this name and recorded, and whether it was used; or None."""
        rows = await self._line.ask("select * from sharegate.cited($1)", name)
        if not rows:
            return None
        row = rows[0]
        content = self._opened(row["id"], row["sealed"])
        if row["kind"] == "ruling":
            return read_ruling(content), row["used"]
        return read_opening(content), False

    async def use(self, ruling: UUID, exchange_id: UUID) -> bool:
        """Use a ruling for one exchange; False where another one has used it."""
        rows = await self._line.ask("select sharegate.use_ruling($1, $2)", ruling, exchange_id)
        return rows[0][0] is True

    def returned(self, exchange_id: UUID) -> None:
        """Give back what this exchange used, in a moment."""
        self._later("select sharegate.return_ruling($1)", exchange_id)

    def referred(self, decided: Decided, refer: Refer) -> None:
        """List this referral, in a moment."""
        identified, resource = decided.identified, refer.permit.resource
        assert decided.request is not None
        self._later(
            "select sharegate.note_referral($1, $2, $3, $4, $5, $6, $7)",
            identified.exchange_id,
            identified.at,
            resource.provider,
            identified.caller.consumer,
            resource.id,
            decided.request.purpose,
            refer.question,
        )

    # --- what officers do ---------------------------------------------------------------------

    async def referrals(self, provider: str, since: int) -> list[Referral]:
        """A provider's newest referrals, at most 50, newest first."""
        rows = await self._line.ask(
            "select * from sharegate.referrals($1, $2, $3)", provider, since, _MOST_REFERRALS
        )
        return [
            Referral(
                exchange_id=row["exchange_id"],
                entry=row["seq"],
                at=row["at"],
                consumer=row["consumer"],
                resource=row["resource"],
                purpose=row["purpose"],
                question=row["question"],
                leaf=row["leaf"],
                sealed=row["sealed"],
                wrapped=row["wrapped"],
                ruling=row["ruling"],
                used=row["used"],
            )
            for row in rows
        ]

    async def propose(self, signed: SignedRuling) -> Fate:
        """Take the place of the ruling on a referral, of no use until it is enacted."""
        ruling: Ruling = signed.statement
        rows = await self._line.ask(
            "select * from sharegate.propose_ruling($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            ruling.id,
            ruling.referral,
            ruling.provider,
            ruling.consumer,
            ruling.resource,
            ruling.purpose,
            ruling.question,
            ruling.expires,
            self._sealed(ruling.id, written(signed)),
        )
        return self._fate(rows[0], ruling.id, written(signed))

    async def enact(self, ruling: UUID) -> bool:
        """From now on it may be used: it has its entry. False if it lost its place meanwhile."""
        rows = await self._line.ask("select sharegate.enact_ruling($1)", ruling)
        return rows[0][0] is True

    async def propose_opening(self, signed: SignedOpening, review_due: int) -> Fate:
        """Keep an opening, of no use until it is enacted."""
        opening = signed.statement
        rows = await self._line.ask(
            "select * from sharegate.propose_opening($1, $2, $3, $4)",
            opening.id,
            opening.expires,
            review_due,
            self._sealed(opening.id, written(signed)),
        )
        return self._fate(rows[0], opening.id, written(signed))

    async def enact_opening(self, opening: UUID) -> None:
        """From now on it may be used: it has its entry."""
        await self._line.ask("select sharegate.enact_opening($1)", opening)

    async def openings(self) -> list[KeptOpening]:
        """The openings there were, the newest first."""
        rows = await self._line.ask("select * from sharegate.openings()")
        return [
            KeptOpening(
                read_opening(self._opened(row["id"], row["sealed"])).statement,
                row["review_due"],
                row["reviewed"],
            )
            for row in rows
        ]

    async def reviewed(self, opening: UUID) -> bool:
        """It was reviewed; False where there is no such opening."""
        rows = await self._line.ask("select sharegate.review_opening($1)", opening)
        return rows[0][0] is True

    # --- beside everything --------------------------------------------------------------------

    def _later(self, statement: str, *values: object) -> None:
        self._waiting.append((statement, values))
        self._told.set()

    async def _follow(self) -> None:
        while True:
            # What could not be written down waits for the next time.
            with suppress(*BROKEN):
                await self._hand_in()
                now = time.time_ns() // 1_000_000
                rows = await self._aside.ask("select sharegate.overdue_reviews($1)", now)
                self._observe(ReviewsOverdue(rows[0][0]))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._told.wait()

    async def _hand_in(self) -> None:
        self._told.clear()
        while self._waiting:
            statement, values = self._waiting[0]
            await self._aside.ask(statement, *values)
            del self._waiting[0]

    def _sealed(self, name: UUID, content: bytes) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, content, name.bytes)

    def _fate(self, row: Any, name: UUID, content: bytes) -> Fate:
        if row["kept"] is not None and self._opened(name, row["kept"]) != content:
            return Fate.TAKEN  # the same id over another statement
        return Fate(row["fate"])

    def _opened(self, name: UUID, sealed: bytes) -> bytes:
        try:
            return self._seal.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.bytes)
        except InvalidTag:
            raise ValueError("a statement in the database is not what was kept there") from None
