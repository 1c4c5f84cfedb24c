"""Everything that can be noticed, as one closed union.

Metrics and log lines are two functions over it. No label ever comes from input: each is a
member of a closed list or a name from the configuration.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import assert_never

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One exchange was recorded and released.

    Attributes:
        reason: Why there was no answer, or None for a disclosure.
        seconds: What each stage took, in the order of :class:`Stage`.
    """

    reason: Reason | None
    rows: int
    seconds: tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class NotBelieved:
    """A request nobody proved to be theirs. Counted, not recorded."""

    reason: Unproven


@dataclass(frozen=True, slots=True)
class Throttled:
    """A request without proof, past its address's budget, was answered 429."""


@dataclass(frozen=True, slots=True)
class NotRecorded:
    """A request was answered 503 because it could not be recorded."""

    reason: Unavailable


@dataclass(frozen=True, slots=True)
class Committed:
    """One group commit: how many entries, and how long until the database acknowledged them."""

    entries: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Signed:
    """The signer signed a checkpoint.

    Attributes:
        at: Unix time in seconds.
    """

    size: int
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class AuditLogState:
    """The audit log became usable, or stopped being so."""

    usable: bool
    detail: str


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """A source gave no answer. Its own error text may carry data and is not kept."""

    source: SourceName
    kind: str


@dataclass(frozen=True, slots=True)
class RuleSetLoaded:
    """A rule set now decides."""

    rule_set: str
    grants: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Lifecycle:
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


class Metrics:
    """The Prometheus side of every observation."""

    def __init__(self, registry: CollectorRegistry) -> None:
        exchanges = Counter(
            "sharegate_exchanges", "Exchanges recorded and released.", ["reason"], registry=registry
        )
        self._exchanges: dict[Reason | None, Counter] = {
            None: exchanges.labels(_ANSWERED),
            **{reason: exchanges.labels(reason.value) for reason in Reason},
        }
        self._rows = Counter("sharegate_rows", "Rows disclosed.", registry=registry)
        stages = Histogram(
            "sharegate_stage_seconds",
            "Time in each stage of the walk.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._stages = [stages.labels(stage.value) for stage in Stage]
        unproven = Counter(
            "sharegate_unauthenticated", "Requests nobody proved.", ["reason"], registry=registry
        )
        self._unproven = {reason: unproven.labels(reason.value) for reason in Unproven}
        self._throttled = Counter(
            "sharegate_throttled", "Requests without proof past the budget.", registry=registry
        )
        unrecorded = Counter(
            "sharegate_unrecorded",
            "Requests answered 503 because they could not be recorded.",
            ["reason"],
            registry=registry,
        )
        self._unrecorded = {reason: unrecorded.labels(reason.value) for reason in Unavailable}
        self._batch = Histogram(
            "sharegate_commit_entries",
            "Entries in one group commit.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._commit = Histogram(
            "sharegate_commit_seconds",
            "Time of one group commit.",
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._sign = Histogram(
            "sharegate_sign_seconds",
            "Time to read back, remember and sign one checkpoint.",
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._size = Gauge(
            "sharegate_checkpoint_size", "Entries under the last checkpoint.", registry=registry
        )
        self._signed_at = Gauge(
            "sharegate_checkpoint_timestamp_seconds",
            "Unix time of the last checkpoint.",
            registry=registry,
        )
        self._usable = Gauge(
            "sharegate_audit_log_usable", "1 while entries can be recorded.", registry=registry
        )
        self._source = Counter(
            "sharegate_source_failures",
            "Sources that gave no answer.",
            ["source", "kind"],
            registry=registry,
        )
        self._rules = Gauge("sharegate_grants", "Grants in the rule set.", registry=registry)

    def ask_usable(self, require_usable: Callable[[], None]) -> None:
        """Let each scrape ask whether entries can be recorded, rather than remember it.

        Args:
            require_usable: Raises AuditLogUnavailable while they cannot.
        """

        def usable() -> float:
            try:
                require_usable()
            except AuditLogUnavailable:
                return 0
            return 1

        self._usable.set_function(usable)

    def __call__(self, seen: Observation) -> None:  # noqa: C901  one flat case per observation
        """Count it."""
        match seen:
            case Exchanged():
                self._exchanges[seen.reason].inc()
                if seen.rows:
                    self._rows.inc(seen.rows)
                for child, seconds in zip(self._stages, seen.seconds, strict=True):
                    child.observe(seconds)
            case Committed():
                self._batch.observe(seen.entries)
                self._commit.observe(seen.seconds)
            case Signed():
                self._sign.observe(seen.seconds)
                self._size.set(seen.size)
                self._signed_at.set(seen.at)
            case NotBelieved():
                self._unproven[seen.reason].inc()
            case Throttled():
                self._throttled.inc()
            case NotRecorded():
                self._unrecorded[seen.reason].inc()
            case SourceFailed():
                self._source.labels(seen.source, seen.kind).inc()
            case RuleSetLoaded():
                self._rules.set(seen.grants)
            case AuditLogState() | Lifecycle():
                pass  # a line for the operator; whether the log is usable is asked at each scrape
            case _:
                assert_never(seen)


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
        line = {"event": _snake(type(seen).__name__), **asdict(seen)}
        self._logger.log(logging.WARNING if bad else logging.INFO, "%s", _encode(line).decode())


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def both(*observers: Observer) -> Observer:
    """Tell each observer, in order."""

    def tell(seen: Observation) -> None:
        for observer in observers:
            observer(seen)

    return tell
