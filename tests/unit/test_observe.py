"""Every observation is counted; the rare ones are written; nothing anybody sent is a label."""

import json
import logging
from enum import StrEnum
from types import UnionType
from typing import get_args, get_type_hints

import pytest
from msgspec.structs import fields
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sharegate.audit.witnessing import Status
from sharegate.errors import AuditLogUnavailable, Unavailable, Unproven
from sharegate.fetch.source import Trouble
from sharegate.metrics import Metrics
from sharegate.model.catalogue import SourceName
from sharegate.model.decision import Reason
from sharegate.model.signed import Fault
from sharegate.observe import (
    Alarm,
    AuditLogState,
    Committed,
    Cosignatures,
    Exchanged,
    IssuerKeys,
    Lifecycle,
    LogAlarm,
    LogLines,
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
    both,
)

CANARY = "110101199003070019"
SECONDS = (0.001, 0.002, 0.003, 0.004, 0.005)

# Each observation; what is counted, as series and how much it moved; and the level it is written
# at, None where it is too frequent to write.
SEEN = [
    (
        Exchanged(None, 3, SECONDS),
        {
            'sharegate_exchanges_total{reason="answered"}': 1,
            "sharegate_rows_total": 3,
            'sharegate_stage_seconds_sum{stage="identify"}': 0.001,
            'sharegate_stage_seconds_sum{stage="authorize"}': 0.002,
            'sharegate_stage_seconds_sum{stage="fetch"}': 0.003,
            'sharegate_stage_seconds_sum{stage="record"}': 0.004,
            'sharegate_stage_seconds_sum{stage="release"}': 0.005,
        },
        None,
    ),
    (
        Exchanged(Reason.NO_GRANT, 0, SECONDS),
        {'sharegate_exchanges_total{reason="no-grant"}': 1},
        None,
    ),
    (ReferralsListed(), {"sharegate_referrals_listed_total": 1}, None),
    (WitnessAnswered(Status.STALE), {'sharegate_witness_answers_total{status="409"}': 1}, None),
    (
        Cosignatures(age=2.5, unseen=7),
        {"sharegate_quorum_age_seconds": 2.5, "sharegate_unwitnessed_entries": 7},
        None,
    ),
    (
        WitnessFailed("a", usable=False, detail="TimeoutError"),
        {'sharegate_witness_failing{witness="a"}': 1},
        logging.WARNING,
    ),
    (
        WitnessFailed("a", usable=True, detail="cosigns"),
        {'sharegate_witness_failing{witness="a"}': 0},
        logging.INFO,
    ),
    (
        Mirrored("a.example/log", 7),
        {'sharegate_mirrored_entries{origin="a.example/log"}': 7},
        None,
    ),
    (
        LogAlarm("a.example/log", Alarm.SILENT, usable=False, detail="answers 500"),
        {'sharegate_log_alarm{alarm="silent",origin="a.example/log"}': 1},
        logging.WARNING,
    ),
    (
        LogAlarm("a.example/log", Alarm.SILENT, usable=True, detail="over"),
        {'sharegate_log_alarm{alarm="silent",origin="a.example/log"}': 0},
        logging.INFO,
    ),
    (WitnessState(usable=True, detail="evidence"), {}, logging.INFO),
    (WitnessState(usable=False, detail="forgotten"), {}, logging.WARNING),
    (ReviewsOverdue(2), {"sharegate_break_glass_overdue": 2}, None),
    (
        Committed(7, 0.004),
        {"sharegate_commit_entries_sum": 7, "sharegate_commit_seconds_sum": 0.004},
        None,
    ),
    (
        Signed(42, 0.002, 1_700_000_000.5),
        {
            "sharegate_checkpoint_size": 42,
            "sharegate_checkpoint_timestamp_seconds": 1_700_000_000.5,
            "sharegate_sign_seconds_sum": 0.002,
        },
        None,
    ),
    (
        NotBelieved(Unproven.TOKEN_EXPIRED),
        {'sharegate_unauthenticated_total{reason="token-expired"}': 1},
        None,
    ),
    (Throttled(), {"sharegate_throttled_total": 1}, None),
    (
        NotRecorded(Unavailable.NOT_DURABLE),
        {'sharegate_unrecorded_total{reason="not-durable"}': 1},
        logging.WARNING,
    ),
    (SignerState(signs=True), {"sharegate_signs": 1}, logging.INFO),
    (SignerState(signs=False), {}, logging.INFO),
    (
        AuditLogState(usable=True, detail="entries can be recorded"),
        {},
        logging.INFO,
    ),
    (
        AuditLogState(usable=False, detail="down: not reachable"),
        {},
        logging.WARNING,
    ),
    (
        SourceFailed(SourceName("tax"), Trouble.DOWN),
        {'sharegate_source_failures_total{kind="down",source="tax"}': 1},
        logging.WARNING,
    ),
    (
        SettlingFailed(Settling.QUOTA, "the database is not reachable"),
        {'sharegate_settling_failures_total{step="quota"}': 1},
        logging.WARNING,
    ),
    (
        RuleSetLoaded("ab12", 12, 0.1),
        {"sharegate_grants": 12, "sharegate_rules_loaded_total": 1},
        logging.INFO,
    ),
    (
        RulesRefused(Fault.ALTERED, "tax/policy.note", "was signed over another grants.csv"),
        {'sharegate_rules_refused_total{fault="altered"}': 1},
        logging.WARNING,
    ),
    (Projected(40), {"sharegate_projection_size": 40}, None),
    (ProjectionState(usable=True, detail="filled again"), {}, logging.INFO),
    (ProjectionState(usable=False, detail="entry 3: altered"), {}, logging.WARNING),
    (IssuerKeys(usable=True, detail="https://o.example gives its keys again"), {}, logging.INFO),
    (IssuerKeys(usable=False, detail="https://o.example answers 500"), {}, logging.WARNING),
    (Lifecycle("started", "127.0.0.1:8080"), {}, logging.INFO),
]


def series(registry):
    """Every sample but those that say when a series began, by its name with labels."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for name, labels, value, *_ in family.samples:
            if not name.endswith("_created"):
                inside = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
                found[f"{name}{{{inside}}}" if inside else name] = value
    return found


def label_names(found):
    return {part.partition("=")[0] for name in found if "{" in name
            for part in name.partition("{")[2].split(",")}  # fmt: skip


@pytest.fixture
def lines():
    """A logger and what was written through it."""

    class Kept(logging.Handler):
        def __init__(self):
            super().__init__()
            self.records = []

        def emit(self, record):
            self.records.append(record)

    kept = Kept()
    logger = logging.getLogger("sharegate.tests.observe")
    logger.setLevel(logging.INFO)
    logger.addHandler(kept)
    yield logger, kept.records
    logger.removeHandler(kept)


def test_every_kind_of_observation_is_tried_here():
    assert isinstance(Observation, UnionType)
    assert {type(seen) for seen, _, _ in SEEN} == set(get_args(Observation))


@pytest.mark.parametrize(("seen", "counted", "_level"), SEEN)
def test_it_is_counted_as_what_it_is_and_as_nothing_else(seen, counted, _level):
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    before = series(registry)
    metrics(seen)
    after = series(registry)
    for name, value in counted.items():
        assert after[name] == pytest.approx(value), name
    families = {
        name.partition("{")[0] for name, value in after.items() if value != before.get(name)
    }
    expected = {name.partition("{")[0] for name in counted}
    histograms = {name.removesuffix("_sum") for name in expected if name.endswith("_sum")}
    allowed = expected | {f"{name}_{part}" for name in histograms for part in ("bucket", "count")}
    if isinstance(seen, Exchanged):
        allowed |= {f"sharegate_stage_seconds_{part}" for part in ("sum", "bucket", "count")}
    assert families <= allowed


@pytest.mark.parametrize(("seen", "_counted", "level"), SEEN)
def test_it_is_written_if_it_is_rare(seen, _counted, level, lines):
    logger, records = lines
    LogLines(logger)(seen)
    assert [record.levelno for record in records] == ([] if level is None else [level])
    for record in records:
        text = record.getMessage()
        assert "\n" not in text
        written = json.loads(text)
        assert written["event"].replace("_", "") == type(seen).__name__.lower()
        assert set(written) - {"event"} == {field.name for field in fields(seen)}


def test_whether_entries_can_be_recorded_is_asked_at_each_scrape():
    registry, unusable = CollectorRegistry(), []

    def require_usable():
        if unusable:
            raise unusable[0]

    Metrics(registry).ask_usable(require_usable)
    assert series(registry)["sharegate_audit_log_usable"] == 1
    unusable.append(AuditLogUnavailable(Unavailable.FROZEN, "it diverged"))
    assert series(registry)["sharegate_audit_log_usable"] == 0


@pytest.mark.parametrize("reason", [None, *Reason])
def test_every_reason_has_its_series_from_the_start(reason):
    name = f'sharegate_exchanges_total{{reason="{reason or "answered"}"}}'
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    assert series(registry)[name] == 0
    metrics(Exchanged(reason, 0, SECONDS))
    assert series(registry)[name] == 1


def test_every_reason_to_leave_the_walk_has_its_series_from_the_start():
    registry = CollectorRegistry()
    Metrics(registry)
    found = series(registry)
    assert all(f'sharegate_unauthenticated_total{{reason="{one}"}}' in found for one in Unproven)
    assert all(f'sharegate_unrecorded_total{{reason="{one}"}}' in found for one in Unavailable)
    assert all(f'sharegate_stage_seconds_count{{stage="{one}"}}' in found for one in Stage)


def test_the_only_labels_are_of_closed_lists_or_of_the_configuration():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for seen, _, _ in SEEN:
        metrics(seen)
    assert label_names(series(registry)) == {
        "reason", "stage", "le", "source", "kind", "step", "fault", "status", "witness",
        "origin", "alarm",
    }  # fmt: skip
    assert get_type_hints(RulesRefused)["fault"] is Fault
    assert get_type_hints(SettlingFailed)["step"] is Settling
    assert issubclass(get_type_hints(Exchanged)["reason"].__args__[0], StrEnum)
    assert issubclass(get_type_hints(NotBelieved)["reason"], StrEnum)
    assert issubclass(get_type_hints(NotRecorded)["reason"], StrEnum)
    assert get_type_hints(SourceFailed)["source"] is SourceName
    assert get_type_hints(WitnessAnswered)["status"] is Status
    assert get_type_hints(LogAlarm)["alarm"] is Alarm


def test_free_text_never_becomes_a_series(lines):
    """Details are for people. What is in them is written, once, and counted by nobody."""
    registry = CollectorRegistry()
    logger, records = lines
    observe = both(Metrics(registry), LogLines(logger))
    before = set(series(registry))
    observe(AuditLogState(usable=False, detail=f"{CANARY}\n{{}}"))
    observe(Lifecycle("started", CANARY))
    observe(RuleSetLoaded(CANARY, 1, 0.1))
    assert CANARY not in generate_latest(registry).decode()
    assert set(series(registry)) == before
    assert all("\n" not in record.getMessage() for record in records)
    assert json.loads(records[0].getMessage())["detail"] == f"{CANARY}\n{{}}"


def test_a_percent_sign_is_text(lines):
    logger, records = lines
    LogLines(logger)(Lifecycle("started", "100 % %s"))
    assert json.loads(records[0].getMessage())["detail"] == "100 % %s"


def test_both_tells_each_in_order():
    told = []
    both(lambda seen: told.append((1, seen)), lambda seen: told.append((2, seen)))(Throttled())
    assert told == [(1, Throttled()), (2, Throttled())]


def test_no_observation_has_a_field_for_who_asked_or_about_whom():
    names = {field.name for kind in get_args(Observation) for field in fields(kind)}
    assert names == {
        "reason", "rows", "seconds", "entries", "size", "at", "usable", "what", "detail", "source",
        "kind", "rule_set", "grants", "step", "fault", "place", "count", "status",
        "age", "unseen", "witness", "origin", "alarm", "signs",
    }  # fmt: skip
