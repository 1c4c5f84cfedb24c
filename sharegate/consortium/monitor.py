"""The monitor: mirrors logs, and holds what their witnesses saw against what they show.

Whoever reads a log alone cannot see that others are shown another one. The monitor asks the log and
every witness of it, and raises an alarm where they do not fit, or where somebody is silent.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import time
from typing import Final

import aiohttp

from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.quorum import Quorum, open_cosigned
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.mirror import Mirror
from sharegate.consortium.remote import NotFetched, asking, seen_by
from sharegate.consortium.witnessed import quorum_time
from sharegate.errors import LogDiverged
from sharegate.observe import Alarm, LogAlarm, Mirrored, Observer

_EVERY_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 30.0
_QUORUM_SECONDS: Final = 120


@dataclass(slots=True)
class Watched:
    """One log that is watched.

    Attributes:
        quorum: Its witnesses, and how many must cosign; None where nobody does.
        since: When each thing was found wrong first; seconds.
        awaited: A size that a witness has seen; the log has to show as much.
        raised: The alarms that were told.
    """

    mirror: Mirror
    quorum: Quorum | None
    since: dict[Alarm, float] = field(default_factory=dict)
    awaited: int = 0
    raised: frozenset[Alarm] = frozenset()

    @property
    def size(self) -> int:
        """How far the copy goes.

        Raises:
            LogDiverged: The checkpoint there is not this log's.
        """
        published = self.mirror.published()
        return 0 if published is None else published.size


class Monitor:
    """Watches logs, for as long as it runs."""

    def __init__(
        self,
        logs: Sequence[Watched],
        observe: Observer,
        *,
        patience: float = _PATIENCE_SECONDS,
        clock: Callable[[], float] = time,
    ) -> None:
        """Prepare.

        Args:
            logs: What is watched.
            observe: Told after every round how each log is.
            patience: Seconds that somebody may be silent, or a log behind its witnesses.
            clock: Seconds of Unix time.
        """
        self._logs = logs
        self._observe = observe
        self._patience = patience
        self._clock = clock

    async def run(self) -> None:
        """Look every few seconds."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_SECONDS)

    async def look(self) -> dict[str, Mapping[Alarm, str]]:
        """Look at every log once; give what is wrong with each, by origin, in words."""
        async with asking() as session:
            found = await asyncio.gather(*(self._look_at(session, each) for each in self._logs))
        return {each.mirror.key.name: wrong for each, wrong in zip(self._logs, found, strict=True)}

    async def _look_at(
        self, session: aiohttp.ClientSession, watched: Watched
    ) -> Mapping[Alarm, str]:
        mirror, suspect = watched.mirror, dict[Alarm, str]()
        try:
            suspect |= self._judge_quorum(watched, await mirror.pull(session))
        except LogDiverged as diverged:
            suspect[Alarm.CONTRADICTED] = str(diverged)
        except OSError as error:
            suspect[Alarm.SILENT] = f"the log {error}"
        suspect |= await self._ask_witnesses(session, watched)
        if mirror.contradicted:
            suspect.setdefault(Alarm.CONTRADICTED, f"there is evidence in {mirror.evidence}")
        return self._told(watched, self._lasting(watched, suspect))

    async def _ask_witnesses(
        self, session: aiohttp.ClientSession, watched: Watched
    ) -> dict[Alarm, str]:
        key = watched.mirror.key
        witnesses = [] if watched.quorum is None else [*watched.quorum.witnesses.values()]
        asked = [(one.name, one.url) for one in witnesses if one.url is not None]
        seen = await asyncio.gather(
            *(seen_by(session, url, [key], key.name) for _, url in asked), return_exceptions=True
        )
        suspect: dict[Alarm, str] = {}
        for (name, _), what in zip(asked, seen, strict=True):
            if isinstance(what, NotFetched):
                suspect[Alarm.WITNESS] = f"witness {name} {what}"
            elif isinstance(what, BaseException):
                raise what
            elif what is not None:
                try:
                    self._judge_seen(watched, *what)
                except LogDiverged as diverged:
                    suspect[Alarm.CONTRADICTED] = f"witness {name}: {diverged}"
        with suppress(LogDiverged):  # which is an alarm already
            if watched.awaited > watched.size:
                more = f"a witness saw {watched.awaited} entries, the log shows {watched.size}"
                suspect[Alarm.HIDING] = more
        return suspect

    @staticmethod
    def _judge_seen(watched: Watched, note: bytes, state: Checkpoint) -> None:
        """Hold what a witness saw against the copy, or wait until the copy is so far."""
        size = watched.size
        if state.size <= size:
            watched.mirror.judge(note, state)
        elif watched.awaited <= size:  # else it waits for one already
            watched.awaited = state.size
            watched.since.pop(Alarm.HIDING, None)

    def _judge_quorum(self, watched: Watched, note: bytes) -> dict[Alarm, str]:
        """Whether what the log shows was cosigned lately."""
        quorum = watched.quorum
        if quorum is None:
            return {}
        try:
            at = quorum_time(quorum, open_cosigned(note, quorum))
        except (Malformed, Unproven) as error:
            return {Alarm.UNWITNESSED: str(error)}
        age = int(self._clock()) - at
        if age <= _QUORUM_SECONDS:
            return {}
        return {Alarm.UNWITNESSED: f"cosigned {age} s ago" if at else "cosigned by no quorum"}

    def _lasting(self, watched: Watched, suspect: Mapping[Alarm, str]) -> Mapping[Alarm, str]:
        """What is to be said: a contradiction at once, all else when it lasts."""
        now = self._clock()
        watched.since = {each: watched.since.get(each, now) for each in suspect}
        return {
            each: detail
            for each, detail in suspect.items()
            if each is Alarm.CONTRADICTED or now - watched.since[each] >= self._patience
        }

    def _told(self, watched: Watched, wrong: Mapping[Alarm, str]) -> Mapping[Alarm, str]:
        """Tell how far the copy goes, and which alarms are new or over."""
        name = watched.mirror.key.name
        with suppress(LogDiverged):
            self._observe(Mirrored(name, watched.size))
        for alarm in Alarm:
            if (alarm in wrong) != (alarm in watched.raised):
                self._observe(LogAlarm(name, alarm, alarm not in wrong, wrong.get(alarm, "over")))
        watched.raised = frozenset(wrong)
        return wrong
