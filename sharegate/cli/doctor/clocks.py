"""How far a database's clock is from the gateway's."""

from collections.abc import Callable
from typing import Final

import asyncpg

from sharegate.cli.doctor.finding import Finding, ok, warn, wrong

_WARN_SECONDS: Final = 1.0
_WRONG_SECONDS: Final = 5.0
_NOW: Final = "select extract(epoch from clock_timestamp())::float8"


async def clock_finding(
    whose: str, connection: asyncpg.Connection, clock: Callable[[], float]
) -> Finding:
    """Ask for the time, and hold it against ours in the middle of asking.

    Args:
        whose: The database's name for the reader.
        connection: Where to ask.
        clock: The gateway's clock, in seconds of Unix time.
    """
    before = clock()
    theirs: float = await connection.fetchval(_NOW)
    after = clock()
    return judge_clock(f"clock of {whose}", theirs - (before + after) / 2, (after - before) / 2)


def judge_clock(what: str, apart: float, unsure: float) -> Finding:
    """Judge a difference of so many seconds, known to within so many."""
    seconds = max(0.0, abs(apart) - unsure)
    said = f"{seconds:.1f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
    if seconds > _WRONG_SECONDS:
        return wrong(what, f"{said}; run NTP on both")
    if seconds > _WARN_SECONDS:
        return warn(what, f"{said}; run NTP on both")
    return ok(what, "agrees with this machine's")
