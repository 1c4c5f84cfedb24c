"""Everything that can be noticed, as one closed union.

Metrics (:mod:`sharegate.metrics`) and log lines are two functions over it. No label ever comes from
input: each is a member of a closed list or a name from the configuration.
"""

import logging
from collections.abc import Callable
from enum import StrEnum

import msgspec
from msgspec import Struct

from sharegate.audit.witnessing import Status
from sharegate.errors import Unavailable, Unproven
from sharegate.model.catalogue import SourceName
from sharegate.model.decision import Reason
from sharegate.model.signed import Fault


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


class SignerState(Struct, frozen=True, gc=False):
    """This process became the one that signs the log, or stopped being it."""

    signs: bool


class SourceFailed(Struct, frozen=True, gc=False):
    """A source gave no answer. Its own error text may carry data and is not kept."""

    source: SourceName
    kind: str


class Settling(StrEnum):
    """What a permit may still need from outside, in the order it is asked for."""

    RULING = "ruling"
    CONSENT = "consent"
    MATTER = "matter"
    QUOTA = "quota"


class SettlingFailed(Struct, frozen=True, gc=False):
    """A fact from outside could not be had, and the request was denied for it.

    Attributes:
        kind: What was wrong, without anything of the request or of an answer.
    """

    step: Settling
    kind: str


class ReferralsListed(Struct, frozen=True, gc=False):
    """An officer looked at what was referred to his department."""


class ReviewsOverdue(Struct, frozen=True, gc=False):
    """So many openings past the rules (break-glass) should have been reviewed by now."""

    count: int


class RuleSetLoaded(Struct, frozen=True, gc=False):
    """A rule set now decides."""

    rule_set: str
    grants: int
    seconds: float


class RulesRefused(Struct, frozen=True, gc=False):
    """A set of files was not put into force; what was in force still is."""

    fault: Fault
    place: str
    detail: str


class Projected(Struct, frozen=True, gc=False):
    """The projection that auditors search reaches so many entries."""

    size: int


class ProjectionState(Struct, frozen=True, gc=False):
    """The projection is filled again, or is not filled any more."""

    usable: bool
    detail: str


class WitnessAnswered(Struct, frozen=True, gc=False):
    """A witness here was asked for a cosignature; 200 is one."""

    status: Status


class WitnessState(Struct, frozen=True, gc=False):
    """A witness here cannot cosign for some log, or has evidence against one; `detail` names it."""

    usable: bool
    detail: str


class Cosignatures(Struct, frozen=True, gc=False):
    """How far a quorum of witnesses has seen this log.

    Attributes:
        age: Seconds since a quorum cosigned; Unix time where none ever did.
        unseen: Entries that are signed and not under a checkpoint that a quorum cosigned.
    """

    age: float
    unseen: int


class WitnessFailed(Struct, frozen=True, gc=False):
    """A witness of this log gives no cosignature, or gives them again.

    Attributes:
        witness: By its name in the quorum file.
    """

    witness: str
    usable: bool
    detail: str


class Mirrored(Struct, frozen=True, gc=False):
    """How far a monitor's copy of a log goes; `origin` is the log's name, as configured."""

    origin: str
    size: int


class Alarm(StrEnum):
    """What a monitor finds wrong with a log. A closed list: it labels a metric."""

    CONTRADICTED = "contradicted"  # it signed what does not fit what it showed; evidence is kept
    SILENT = "silent"  # it shows no checkpoint, or not the entries
    HIDING = "hiding"  # a witness has cosigned more than it shows
    UNWITNESSED = "unwitnessed"  # what it shows was cosigned by no quorum lately
    WITNESS = "witness"  # a witness of it gives no answer


class LogAlarm(Struct, frozen=True, gc=False):
    """Something is wrong with a log that a monitor watches, or is right again.

    Attributes:
        origin: The log's name, as configured.
    """

    origin: str
    alarm: Alarm
    usable: bool
    detail: str


class IssuerKeys(Struct, frozen=True, gc=False):
    """An issuer of officer tokens gives no keys, or gives them again; `detail` names it."""

    usable: bool
    detail: str


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
    | SignerState
    | SourceFailed
    | SettlingFailed
    | ReferralsListed
    | ReviewsOverdue
    | RuleSetLoaded
    | RulesRefused
    | Projected
    | ProjectionState
    | WitnessAnswered
    | WitnessState
    | Cosignatures
    | WitnessFailed
    | Mirrored
    | LogAlarm
    | IssuerKeys
    | Lifecycle
)
Observer = Callable[[Observation], None]


_QUIET = (
    Exchanged
    | Committed
    | Signed
    | NotBelieved
    | Throttled
    | Projected
    | ReferralsListed
    | ReviewsOverdue
    | WitnessAnswered
    | Cosignatures
    | Mirrored
)
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
        bad = isinstance(seen, (NotRecorded, SourceFailed, SettlingFailed, RulesRefused)) or (
            isinstance(
                seen,
                (
                    AuditLogState,
                    ProjectionState,
                    WitnessState,
                    WitnessFailed,
                    LogAlarm,
                    IssuerKeys,
                ),
            )
            and not seen.usable
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
