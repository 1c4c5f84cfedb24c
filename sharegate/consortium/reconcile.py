"""Compare the logs of two departments: which exchanges are in one and not in the other. Pure.

An exchange between two gateways has an entry on either side that names the other's: a `request`
here, a release, refusal or failure there that carries its `consumer_entry`, and a `received` here
that carries the other's `counterpart`. What no tree can show is what was never written; but where
two logs are written by two operators, one alone cannot leave it out.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sharegate.audit.chain import parse_leaf
from sharegate.audit.tree import leaf_hash
from sharegate.audit.verdict import Malformed
from sharegate.model.act import ActKind
from sharegate.record.entry import Kind, b64, counterpart, read_core

_EXCHANGES: Final = frozenset(Kind)
_ANSWERED: Final = "answered"
_UNANSWERED: Final = "unanswered"
_SETTLED: Final = 120_000  # milliseconds: by then it is over, and written, on both sides
# What a gateway answers without an entry: nobody proved who asks, or it could not be written down.
_UNRECORDED: Final = frozenset({401, 429, 503})


class OneSided(StrEnum):
    """Why an exchange is in one log only. A closed list."""

    NEVER_ASKED = "never-asked"
    """The provider names a request that the consumer's log does not have."""
    NOT_THROUGH_ITS_GATEWAY = "not-through-its-gateway"
    """The provider answered the consumer's key, and no request of its log is named."""
    NEVER_RECORDED = "never-recorded"
    """The consumer has an answer, and the provider's log has no such entry."""
    NEVER_ANSWERED = "never-answered"
    """The consumer asked; the provider's log has nothing of it, and nothing came."""
    NEVER_RECEIVED = "never-received"
    """The provider answered; the consumer's log does not say that it came."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One exchange that is one-sided.

    Attributes:
        origin: The log that has it.
        index: Its place there.
        at: Milliseconds of Unix time, by that entry.
        certain: False where the other log, as far as it was read, may be too short to have it.
    """

    why: OneSided
    origin: str
    index: int
    at: int
    certain: bool


@dataclass(slots=True)
class _Asked:
    """A request of this log, and what it says came of it."""

    index: int
    at: int
    asks: str
    effect: str | None = None
    status: int = 0
    entry: int = -1
    counterpart: str | None = None


@dataclass(frozen=True, slots=True)
class _Answered:
    """An exchange of this log, and the request it names."""

    index: int
    at: int
    consumer: str
    request: str | None
    released: bool


class Side:
    """What one log says that concerns another."""

    def __init__(self, origin: str, leaves: Iterable[bytes]) -> None:
        """Read a whole log.

        Args:
            origin: Its name.
            leaves: All its leaves in order, verified by the caller.

        Raises:
            Malformed: One says what no gateway writes.
        """
        self.origin = origin
        self.size = 0
        self.end = 0
        """Milliseconds of Unix time of its latest entry."""
        self.departments: set[str] = set()
        """Whose requests it writes down."""
        self.asked: dict[str, _Asked] = {}
        self.answered: dict[str, _Answered] = {}
        self._requests: dict[object, _Asked] = {}
        for leaf in leaves:
            try:
                self._read(leaf)
            except (KeyError, TypeError, ValueError) as error:
                raise Malformed(f"entry {self.size} says what no gateway writes") from error
            self.size += 1

    def _read(self, leaf: bytes) -> None:
        core = read_core(parse_leaf(leaf).core)
        kind, at, facts = core["kind"], core["time"], _map(core.get("facts"))
        if not isinstance(at, int):
            raise TypeError("time")
        self.end = max(self.end, at)
        name = b64(counterpart(leaf_hash(leaf)))
        if kind in _EXCHANGES:
            consumer, request = _map(core.get("caller")).get("consumer"), core.get("consumer_entry")
            named = None if request is None else str(request)
            released = kind == Kind.RELEASE
            self.answered[name] = _Answered(self.size, at, str(consumer), named, released)
        elif kind == ActKind.REQUEST:
            asked = _Asked(self.size, at, str(facts["log"]))
            self.asked[name] = self._requests[self.size] = asked
            self.departments.add(str(core["by"]))
        elif kind == ActKind.RECEIVED and facts.get("request") in self._requests:
            asked = self._requests[facts["request"]]
            asked.effect, asked.status = str(facts["effect"]), _number(facts.get("status"))
            if asked.effect == _ANSWERED:
                asked.counterpart, asked.entry = str(facts["counterpart"]), _number(facts["entry"])


def reconcile(consumer: Side, provider: Side) -> Iterator[Finding]:
    """Find what is one-sided where one department asked and the other answered.

    Args:
        consumer: Whose requests are looked at.
        provider: Whose answers are.
    """
    asked = {name: each for name, each in consumer.asked.items() if each.asks == provider.origin}
    yield from _of_the_consumer(asked, consumer, provider)
    yield from _of_the_provider(asked, consumer, provider)


def _of_the_consumer(
    asked: Mapping[str, _Asked], consumer: Side, provider: Side
) -> Iterator[Finding]:
    """What the consumer's log has and the provider's does not."""
    named = {each.request for each in provider.answered.values()}
    for name, each in asked.items():
        if each.counterpart is not None:
            why, certain = OneSided.NEVER_RECORDED, each.entry < provider.size
            missing = each.counterpart not in provider.answered
        else:
            why, certain = OneSided.NEVER_ANSWERED, provider.end > each.at + _SETTLED
            missing = name not in named and each.status not in _UNRECORDED
        if missing:
            yield Finding(why, consumer.origin, each.index, each.at, certain)


def _of_the_provider(
    asked: Mapping[str, _Asked], consumer: Side, provider: Side
) -> Iterator[Finding]:
    """What the provider's log has and the consumer's does not."""
    for each in provider.answered.values():
        request, certain = asked.get(each.request or ""), consumer.end > each.at + _SETTLED
        if each.consumer not in consumer.departments or (
            each.request is None and not each.released
        ):
            continue  # a question that named nothing and got nothing is nobody's loss
        if each.request is None:
            why, certain = OneSided.NOT_THROUGH_ITS_GATEWAY, True
        elif request is None:
            why = OneSided.NEVER_ASKED
        elif request.effect in {None, _UNANSWERED}:
            why = OneSided.NEVER_RECEIVED
        else:
            continue
        yield Finding(why, provider.origin, each.index, each.at, certain)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
