"""Everything that can be noticed, as one closed union.

Metrics and log lines are two functions over it. No label ever comes from input: each is a
member of a closed list or a name from the configuration.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Any, assert_never

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sharegate.errors import AuditLogUnavailable, Unavailable, Unproven
from sharegate.model.catalogue import SourceName
from sharegate.model.decision import Reason


class Stage(StrEnum):
    """A stage of the walk."""

    IDENTIFY = "identify"
    AUTHORIZE = "authorize"
    FETCH = "fetch"
    RECORD = "record"
    RELEASE = "release"


class Exchanged(Struct, frozen=True, gc=False):
    """One exchange was recorded and released.

    Attributes:
        reason: Why there was no answer, or None for a disclosure.
        seconds: What each stage took, in the order of :class:`Stage`.
    """

    reason: Reason | None
    rows: int
    seconds: tuple[float, float, float, float, float]


class NotBelieved(Struct, frozen=True, gc=False):
    """A request nobody proved to be theirs. Counted, not recorded."""

    reason: Unproven


class Throttled(Struct, frozen=True, gc=False):
    """A request without proof, past its address's budget, was answered 429."""


class NotRecorded(Struct, frozen=True, gc=False):
    """A request was answered 503 because it could not be recorded."""

    reason: Unavailable


class Committed(Struct, frozen=True, gc=False):
    """One group commit: how many entries, and how long until the database acknowledged them."""

    entries: int
    seconds: float


class Signed(Struct, frozen=True, gc=False):
    """The signer signed a checkpoint.

    Attributes:
        at: Unix time in seconds.
    """

    size: int
    seconds: float
    at: float


class AuditLogState(Struct, frozen=True, gc=False):
    """The audit log became usable, or stopped being so."""

    usable: bool
    detail: str


class SourceFailed(Struct, frozen=True, gc=False):
    """A source gave no answer. Its own error text may carry data and is not kept."""

    source: SourceName
    kind: str


class RuleSetLoaded(Struct, frozen=True, gc=False):
    """A rule set now decides."""

    rule_set: str
    grants: int
    seconds: float


class Lifecycle(Struct, frozen=True, gc=False):
    """The gateway started, began to drain, or stopped."""

    what: str
    detail: str


Observation = (
    Exchanged
    | NotBelieved
    | Throttled
    | NotRecorded
    | Committed
    | Signed
    | AuditLogState
    | SourceFailed
    | RuleSetLoaded
    | Lifecycle
)
Observer = Callable[[Observation], None]

_STAGE_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_ANSWERED = "answered"


class _Histogram:
    """Counts of values by upper bound. Plain integers: one event loop, one thread."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        bounds = (*(str(float(bound)) for bound in self._bounds), "+Inf")
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets, self._sum)


class Metrics(Collector):
    """The Prometheus side of every observation.

    Counted in plain numbers and put into Prometheus' terms when it is scraped, because some of
    this happens thousands of times a second. Counts and scrapes share one thread.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Count from nothing.

        Args:
            registry: Where a scrape finds this.
        """
        self._exchanges: dict[Reason | None, int] = dict.fromkeys((None, *Reason), 0)
        self._rows = 0
        self._stages = tuple(_Histogram(_STAGE_BUCKETS) for _ in Stage)
        self._unproven = dict.fromkeys(Unproven, 0)
        self._throttled = 0
        self._unrecorded = dict.fromkeys(Unavailable, 0)
        self._batch = _Histogram(_BATCH_BUCKETS)
        self._commit = _Histogram(_STAGE_BUCKETS)
        self._sign = _Histogram(_STAGE_BUCKETS)
        self._size = 0
        self._signed_at = 0.0
        self._sources: dict[tuple[SourceName, str], int] = {}
        self._grants = 0
        self._require_usable: Callable[[], None] | None = None
        registry.register(self)

    def ask_usable(self, require_usable: Callable[[], None]) -> None:
        """Let each scrape ask whether entries can be recorded, rather than remember it.

        Args:
            require_usable: Raises AuditLogUnavailable while they cannot.
        """
        self._require_usable = require_usable

    def __call__(self, seen: Observation) -> None:  # noqa: C901  one flat case per observation
        """Count it."""
        match seen:
            case Exchanged():
                self._exchanges[seen.reason] += 1
                self._rows += seen.rows
                for stage, seconds in zip(self._stages, seen.seconds, strict=True):
                    stage.observe(seconds)
            case Committed():
                self._batch.observe(seen.entries)
                self._commit.observe(seen.seconds)
            case Signed():
                self._sign.observe(seen.seconds)
                self._size, self._signed_at = seen.size, seen.at
            case NotBelieved():
                self._unproven[seen.reason] += 1
            case Throttled():
                self._throttled += 1
            case NotRecorded():
                self._unrecorded[seen.reason] += 1
            case SourceFailed():
                failed = seen.source, seen.kind
                self._sources[failed] = self._sources.get(failed, 0) + 1
            case RuleSetLoaded():
                self._grants = seen.grants
            case AuditLogState() | Lifecycle():
                pass  # a line for the operator; whether the log is usable is asked at each scrape
            case _:
                assert_never(seen)

    def collect(self) -> Iterator[Metric]:
        """Give everything counted so far, as a scrape wants it."""
        exchanges = {(reason or _ANSWERED,): count for reason, count in self._exchanges.items()}
        yield _counter("exchanges", "Exchanges recorded and released.", ["reason"], exchanges)
        yield _counter("rows", "Rows disclosed.", [], {(): self._rows})
        stages = HistogramMetricFamily(
            "sharegate_stage_seconds", "Time in each stage of the walk.", labels=["stage"]
        )
        for name, stage in zip(Stage, self._stages, strict=True):
            stage.add_to(stages, [name.value])
        yield stages
        unproven = {(reason.value,): count for reason, count in self._unproven.items()}
        yield _counter("unauthenticated", "Requests nobody proved.", ["reason"], unproven)
        throttled = "Requests without proof past the budget."
        yield _counter("throttled", throttled, [], {(): self._throttled})
        unrecorded = {(reason.value,): count for reason, count in self._unrecorded.items()}
        yield _counter(
            "unrecorded",
            "Requests answered 503 because they could not be recorded.",
            ["reason"],
            unrecorded,
        )
        yield _histogram("commit_entries", "Entries in one group commit.", self._batch)
        yield _histogram("commit_seconds", "Time of one group commit.", self._commit)
        read_back = "Time to read back, remember and sign one checkpoint."
        yield _histogram("sign_seconds", read_back, self._sign)
        yield _gauge("checkpoint_size", "Entries under the last checkpoint.", self._size)
        last = "Unix time of the last checkpoint."
        yield _gauge("checkpoint_timestamp_seconds", last, self._signed_at)
        yield _gauge("audit_log_usable", "1 while entries can be recorded.", self._usable())
        yield _counter(
            "source_failures", "Sources that gave no answer.", ["source", "kind"], self._sources
        )
        yield _gauge("grants", "Grants in the rule set.", self._grants)

    def _usable(self) -> int:
        try:
            if self._require_usable is not None:
                self._require_usable()
        except AuditLogUnavailable:
            return 0
        return int(self._require_usable is not None)


def _counter(name: str, what: str, labels: Sequence[str], counts: Mapping[Any, int]) -> Metric:
    """Write a counter; `counts` is by the tuple of its label values."""
    family = CounterMetricFamily(f"sharegate_{name}", what, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sharegate_{name}", what, value=value)


def _histogram(name: str, what: str, counted: _Histogram) -> Metric:
    family = HistogramMetricFamily(f"sharegate_{name}", what, labels=[])
    counted.add_to(family, [])
    return family


_QUIET = Exchanged | Committed | Signed | NotBelieved | Throttled
_encode = msgspec.json.Encoder().encode


class LogLines:
    """The text side: one JSON object a line, for what an operator acts on.

    What happens thousands of times a second is counted, not written; who saw what belongs in
    the audit log and nowhere else.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __call__(self, seen: Observation) -> None:
        """Write it, if it is rare enough to be read."""
        if isinstance(seen, _QUIET):
            return
        bad = isinstance(seen, (NotRecorded, SourceFailed)) or (
            isinstance(seen, AuditLogState) and not seen.usable
        )
        line = {"event": _snake(type(seen).__name__), **msgspec.structs.asdict(seen)}
        self._logger.log(logging.WARNING if bad else logging.INFO, "%s", _encode(line).decode())


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def both(*observers: Observer) -> Observer:
    """Tell each observer, in order."""

    def tell(seen: Observation) -> None:
        for observer in observers:
            observer(seen)

    return tell
