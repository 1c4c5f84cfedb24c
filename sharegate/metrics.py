"""Observations as Prometheus metrics."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, assert_never

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sharegate.audit.witnessing import Status
from sharegate.errors import AuditLogUnavailable, Unavailable, Unproven
from sharegate.model.catalogue import SourceName
from sharegate.model.decision import Reason
from sharegate.model.signed import Fault
from sharegate.observe import (
    AuditLogState,
    Committed,
    Cosignatures,
    Exchanged,
    IssuerKeys,
    Lifecycle,
    LogAlarm,
    Mirrored,
    NotBelieved,
    NotRecorded,
    Observation,
    Projected,
    ProjectionState,
    ReferralsListed,
    ReviewsOverdue,
    RuleSetLoaded,
    RulesRefused,
    Settling,
    SettlingFailed,
    Signed,
    SignerState,
    SourceFailed,
    Stage,
    Throttled,
    WitnessAnswered,
    WitnessFailed,
    WitnessState,
)

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

    def __init__(self, registry: CollectorRegistry, *, gateway: bool = True) -> None:
        """Count from nothing.

        Args:
            registry: Where a scrape finds this.
            gateway: Whether this is one. A witness or a monitor says nothing of what it has not,
                or its silence about an audit log would look like one that is not usable.
        """
        self._gateway = gateway
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
        self._signs = 0
        self._signed_at = 0.0
        self._sources: dict[tuple[SourceName, str], int] = {}
        self._unsettled = dict.fromkeys(Settling, 0)
        self._listed = 0
        self._overdue = 0
        self._grants = 0
        self._loads = 0
        self._refused = dict.fromkeys(Fault, 0)
        self._projected = 0
        self._witnessed = dict.fromkeys(Status, 0)
        self._cosigned: Cosignatures | None = None
        self._failing: dict[tuple[str], int] = {}
        self._mirrored: dict[tuple[str], int] = {}
        self._alarms: dict[tuple[str, str], int] = {}
        self._require_usable: Callable[[], None] | None = None
        registry.register(self)

    def ask_usable(self, require_usable: Callable[[], None]) -> None:
        """Let each scrape ask whether entries can be recorded, rather than remember it.

        Args:
            require_usable: Raises AuditLogUnavailable while they cannot.
        """
        self._require_usable = require_usable

    def __call__(self, seen: Observation) -> None:  # noqa: C901, PLR0912  flat cases
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
            case SignerState():
                self._signs = int(seen.signs)
            case NotBelieved():
                self._unproven[seen.reason] += 1
            case Throttled():
                self._throttled += 1
            case NotRecorded():
                self._unrecorded[seen.reason] += 1
            case SourceFailed():
                failed = seen.source, seen.kind
                self._sources[failed] = self._sources.get(failed, 0) + 1
            case SettlingFailed():
                self._unsettled[seen.step] += 1
            case ReferralsListed():
                self._listed += 1
            case ReviewsOverdue():
                self._overdue = seen.count
            case RuleSetLoaded():
                self._grants = seen.grants
                self._loads += 1
            case RulesRefused():
                self._refused[seen.fault] += 1
            case Projected():
                self._projected = seen.size
            case WitnessAnswered():
                self._witnessed[seen.status] += 1
            case Cosignatures():
                self._cosigned = seen
            case WitnessFailed():
                self._failing[seen.witness,] = int(not seen.usable)
            case Mirrored():
                self._mirrored[seen.origin,] = seen.size
            case LogAlarm():
                self._alarms[seen.origin, seen.alarm] = int(not seen.usable)
            case AuditLogState() | ProjectionState() | WitnessState() | IssuerKeys() | Lifecycle():
                pass  # a line for the operator; whether the log is usable is asked at each scrape
            case _:
                assert_never(seen)

    def collect(self) -> Iterator[Metric]:
        """Give everything counted so far, as a scrape wants it."""
        if self._gateway:
            yield from self._of_gateway()
        yield from self._of_witnesses()

    def _of_gateway(self) -> Iterator[Metric]:
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
        yield _gauge("signs", "1 in the process that signs the log.", self._signs)
        yield _gauge("audit_log_usable", "1 while entries can be recorded.", self._usable())
        yield _counter(
            "source_failures", "Sources that gave no answer.", ["source", "kind"], self._sources
        )
        unsettled = {(step.value,): count for step, count in self._unsettled.items()}
        needed = "Requests denied because a fact they need could not be had."
        yield _counter("settling_failures", needed, ["step"], unsettled)
        listed = "Times an officer looked at what was referred to his department."
        yield _counter("referrals_listed", listed, [], {(): self._listed})
        overdue = "Break-glass openings whose review is overdue."
        yield _gauge("break_glass_overdue", overdue, self._overdue)
        yield _gauge("grants", "Grants in the rule set.", self._grants)
        into_force = "Rule sets put into force, the one at the start included."
        yield _counter("rules_loaded", into_force, [], {(): self._loads})
        refused = {(fault.value,): count for fault, count in self._refused.items()}
        left_out = "Signed sets of files that were not put into force."
        yield _counter("rules_refused", left_out, ["fault"], refused)
        yield _gauge("projection_size", "Entries that can be searched.", self._projected)

    def _of_witnesses(self) -> Iterator[Metric]:
        """How this log is witnessed, and others by a witness or a monitor here."""
        witnessed = {(str(status.value),): count for status, count in self._witnessed.items()}
        asked = "Checkpoints that logs asked a witness here to cosign, by its answer."
        yield _counter("witness_answers", asked, ["status"], witnessed)
        # Without samples where the log has no witnesses.
        age = "Seconds since a quorum of witnesses cosigned."
        unseen = "Signed entries that no quorum of witnesses has seen."
        known = self._cosigned
        yield _gauges("quorum_age_seconds", age, [], {} if known is None else {(): known.age})
        behind = {} if known is None else {(): known.unseen}
        yield _gauges("unwitnessed_entries", unseen, [], behind)
        failing = "1 while a witness of this log gives no cosignature."
        yield _gauges("witness_failing", failing, ["witness"], self._failing)
        # Of a monitor: nothing elsewhere.
        far = "Entries of a watched log that were copied and verified."
        yield _gauges("mirrored_entries", far, ["origin"], self._mirrored)
        wrong = "1 while something is wrong with a watched log."
        yield _gauges("log_alarm", wrong, ["origin", "alarm"], self._alarms)

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


def _gauges(name: str, what: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    """Write gauges; `values` is by the tuple of their label values."""
    family = GaugeMetricFamily(f"sharegate_{name}", what, labels=labels)
    for each, value in values.items():
        family.add_metric(list(each), value)
    return family


def _histogram(name: str, what: str, counted: _Histogram) -> Metric:
    family = HistogramMetricFamily(f"sharegate_{name}", what, labels=[])
    counted.add_to(family, [])
    return family
