"""Keep in force what is signed and newest, and nothing else, while exchanges go on.

Every `LOOK_SECONDS` the files are looked at. What changed is read, verified and built in a thread
of its own; then its entry is recorded; then it is remembered; then one reference changes, between
two exchanges. Whatever is refused leaves everything as it was, and is an entry too, once it has
lain unchanged for a look: a folder that is just being copied is not yet a refusal.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Protocol

from sharegate.errors import AuditLogUnavailable, Misconfigured, Unavailable
from sharegate.in_force.acts import accepted_act, refused_act
from sharegate.in_force.found import FileSet, Stats, look, read_sets
from sharegate.in_force.judge import AcceptedSet, Judge, Judged, RefusedSet, Rules
from sharegate.in_force.memory import SetMemory
from sharegate.model.act import Act, RecordAct
from sharegate.model.decision import Reason
from sharegate.model.grant import Grant
from sharegate.model.ids import new_id
from sharegate.model.party import Registry
from sharegate.model.passage import Arrived, Decided, Identified
from sharegate.model.signed import Fault, SetRefused
from sharegate.observe import Observer, RuleSetLoaded, RulesRefused

LOOK_SECONDS: Final = 0.25
_AGAIN_SECONDS: Final = 0.05  # a revocation waits for nothing longer than it must
_READ_AFTER: Final = 6  # looks; a file may change twice within one tick of its file system
_SWITCH_SECONDS: Final = 0.0005
_PIECE: Final = 500


class Recorder(RecordAct, Protocol):
    """What is needed of `record`."""

    def require_usable(self) -> None:
        """Raise AuditLogUnavailable at once if it is known that nothing can be recorded."""

    def adopt(self, registry: Registry) -> None:
        """From now on seal to the keys of these."""


@dataclass(frozen=True, slots=True)
class AuthorizeInForce:
    """The second room, by whatever rules are in force when it is asked."""

    in_force: "InForce"

    def __call__(self, identified: Identified) -> Decided:
        """Decide the access request in the body."""
        return self.in_force.rules.authorize(identified)

    def under(self, decided: Decided, grant: Grant) -> Decided:
        """Decide by this grant alone what the rules refused for want of one."""
        return self.in_force.rules.authorize.under(decided, grant)

    def refuse(self, identified: Identified, reason: Reason, detail: str) -> Decided:
        """Deny what is wrong with a request besides its body."""
        return self.in_force.rules.authorize.refuse(identified, reason, detail)

    def catalogue(self, identified: Identified) -> Mapping[str, object]:
        """What this officer may learn of the catalogue."""
        return self.in_force.rules.authorize.catalogue(identified)


class InForce:
    """The rules in force: read once at the start, and exchanged as a whole.

    `identify` and `authorize` are called without a wait in between, so no exchange is identified
    by one registry and decided by the rules of another.
    """

    def __init__(
        self,
        judge: Judge,
        memory: SetMemory,
        observe: Observer,
        follow: Callable[[Registry], None] = lambda _: None,
    ) -> None:
        """Read, verify and build what is on disk now; nothing is recorded yet.

        Args:
            judge: Verifies and builds.
            memory: What was in force last.
            observe: Told of all that comes into force or is refused.
            follow: Told of each registry that is in force, once it is.

        Raises:
            Misconfigured: A set is not signed as it must be, is older than what was in force, or
                cannot be used; or the memory is damaged.
        """
        began = perf_counter()
        self._judge = judge
        self._memory = memory
        self._observe = observe
        self._follow = follow
        self._stats: Stats = look(judge.policies, judge.registry)
        found = read_sets(judge.policies, judge.registry)
        known = memory.recall()
        self.rules = judge.start(found, known)
        self._seen = _digests(found)
        self._quiet = 0
        self._waiting: tuple[RefusedSet, ...] = ()
        self._told: dict[str, bytes] = {}
        # What was remembered was recorded before that.
        self._unrecorded: Mapping[str, AcceptedSet] = {
            name: one
            for name, one in self.rules.sets.items()
            if known.get(name) != one.remembered()
        }
        self._recorder: Recorder | None = None
        self._watching: asyncio.Task[None] | None = None
        self.authorize = AuthorizeInForce(self)
        self._blind = False
        follow(self.rules.registry)
        self._loaded(began)

    def identify(self, arrived: Arrived) -> Identified:
        """Say who asks, by the registry in force.

        Raises:
            Unauthenticated: It is not proven.
            AuditLogUnavailable: No rules are in force: their entries are not written yet, or
                nobody watches any more whether they still are.
        """
        self._require_rules()
        return self.rules.identify(arrived)

    def require_usable(self) -> None:
        """Raise AuditLogUnavailable while no rules are in force, or nothing can be recorded."""
        if self._recorder is not None:
            self._recorder.require_usable()
        self._require_rules()

    def _require_rules(self) -> None:
        if self._unrecorded:
            raise AuditLogUnavailable(Unavailable.DOWN, "the rules in force are not recorded yet")
        if self._watching is None or self._watching.done() or self._blind:
            raise AuditLogUnavailable(Unavailable.DOWN, "the rules in force are not watched")

    def start(self, recorder: Recorder) -> None:
        """Record what is in force, then watch, until :meth:`stop`."""
        self._recorder = recorder
        self._watching = asyncio.create_task(self._watch(recorder))

    async def stop(self) -> None:
        """Stop watching; nothing is identified any more."""
        if self._watching is not None:
            self._watching.cancel()
            # What ended it was said when it happened.
            with suppress(asyncio.CancelledError, Exception):
                await self._watching

    async def _watch(self, recorder: Recorder) -> None:
        while True:
            try:
                await self._look(recorder)
            except Misconfigured as error:
                # The memory itself: without it nobody knows what may not come back.
                self._observe(RulesRefused(Fault.FAULTY, error.place, error.detail))
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, it must not pass unseen
                # While it lasts nothing is answered; then all is looked at anew.
                if not self._blind:  # said once; its text may carry data
                    self._observe(RulesRefused(Fault.FAULTY, "watching", type(error).__name__))
                self._blind, self._quiet, self._seen = True, 0, {}
            else:
                self._blind = False
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, recorder: Recorder) -> None:
        if self._unrecorded:
            await self._enter(recorder, self._unrecorded, self.rules)
            self._unrecorded = {}
        began = perf_counter()
        found = await asyncio.to_thread(self._changed)
        if found is None:
            waiting, self._waiting = self._waiting, ()
            await self._refuse(recorder, waiting)
            return
        judged = await asyncio.to_thread(self._judged, found)
        self._waiting = judged.refused
        if judged.rules is None:
            return
        try:
            await self._enter(recorder, judged.accepted, judged.rules)
        except SetRefused as why:
            # Another gateway went further meanwhile; what it has is looked at next.
            self._waiting = tuple(
                RefusedSet(name, one.found, why) for name, one in judged.accepted.items()
            )
            return
        former, self.rules = [self.rules], judged.rules
        recorder.adopt(self.rules.registry)
        self._follow(self.rules.registry)
        self._loaded(began)
        if former[0].rule_set is not self.rules.rule_set:
            await asyncio.to_thread(_free, former)

    def _changed(self) -> Mapping[str, FileSet] | None:
        """Read everything, if anything may have been written since; None where nothing was."""
        judge = self._judge
        stats = look(judge.policies, judge.registry)
        self._quiet = self._quiet + 1 if stats == self._stats else 0
        self._stats = stats
        if self._quiet > _READ_AFTER:
            return None
        found = read_sets(judge.policies, judge.registry)
        digests = _digests(found)
        if digests == self._seen:
            return None
        self._quiet, self._seen = 0, digests
        return found

    def _judged(self, found: Mapping[str, FileSet]) -> Judged:
        with _beside_the_loop():
            return self._judge.again(found, self.rules, self._memory.recall())

    async def _enter(
        self, recorder: Recorder, accepted: Mapping[str, AcceptedSet], rules: Rules
    ) -> None:
        """Record what is about to be in force, then remember it; without both it is not.

        Raises:
            SetRefused: Another gateway put a later version into force meanwhile.
            Misconfigured: The memory is damaged.
        """
        if not accepted:
            return
        for name, one in accepted.items():
            await _until_recorded(
                recorder, accepted_act(name, one, rules, self.rules.registry, _now())
            )
        versions = {name: one.remembered() for name, one in accepted.items()}
        while True:
            try:
                await asyncio.to_thread(self._memory.remember, versions)
            except OSError:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def _refuse(self, recorder: Recorder, refused: tuple[RefusedSet, ...]) -> None:
        """Say and record each refusal, once for the same files."""
        for one in refused:
            if self._told.get(one.name) == one.found.digest:
                continue
            self._observe(RulesRefused(one.why.fault, one.why.place, one.why.detail))
            await _until_recorded(recorder, refused_act(one, self.rules.registry, _now()))
            self._told[one.name] = one.found.digest

    def _loaded(self, began: float) -> None:
        rule_set = self.rules.rule_set
        self._observe(RuleSetLoaded(rule_set.hash, len(rule_set.grants), perf_counter() - began))


async def _until_recorded(recorder: Recorder, act: Act) -> None:
    while True:
        try:
            await recorder.record_act(act, new_id(act.at))
        except AuditLogUnavailable:
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return


@contextmanager
def _beside_the_loop() -> Iterator[None]:
    """Let a thread work for a second without keeping the event loop from its own work.

    The collector would stop everything while it walks what is being built, and a thread keeps the
    interpreter for a whole switch interval each time. What was built is set apart from later
    collections, as at the start.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval)


def _free(former: list[Rules]) -> None:
    """Free what was in force, a little at a time: all at once would hold the interpreter."""
    grants = list(former[0].rule_set.grants)
    former.clear()
    while grants:
        del grants[-_PIECE:]


def _digests(found: Mapping[str, FileSet]) -> Mapping[str, bytes]:
    return {name: one.digest for name, one in found.items()}


def _now() -> int:
    return time.time_ns() // 1_000_000
