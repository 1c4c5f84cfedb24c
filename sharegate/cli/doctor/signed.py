"""Checks of who signed what decides, and that it is not older than what was in force."""

from sharegate.cli.doctor.finding import Finding, ok, wrong
from sharegate.errors import Misconfigured
from sharegate.identify.identify import Identify
from sharegate.in_force import Judge, SetMemory
from sharegate.in_force.found import read_sets
from sharegate.in_force.memory import VERSIONS_FILE
from sharegate.model.party import Registry
from sharegate.settings import Settings


def check_signed(settings: Settings) -> list[Finding]:
    """The administrators' keys can be used; every set is signed as it must be, none is older."""

    def identify(registry: Registry) -> Identify:
        return Identify(registry, authority="doctor", audience="doctor")

    try:
        judge = Judge.of(settings, identify)
    except Misconfigured as error:
        return [wrong("trust", str(error))]
    administrators = judge.administrators
    found = [
        ok("trust", f"{administrators.threshold} of {len(administrators.keys)} administrators sign")
    ]
    try:
        known = SetMemory(settings.audit_log.state / VERSIONS_FILE).recall()
        sets = judge.start(read_sets(settings.policies, settings.registry), known).sets
    except Misconfigured as error:
        return [*found, wrong("signed sets", str(error))]
    versions = ", ".join(f"{name} {one.statement.version}" for name, one in sorted(sets.items()))
    return [*found, ok("signed sets", f"{versions}: signed, and none older than was in force")]
