"""The registry for commands that run once, beside the gateways."""

from sharegate.in_force.found import read_registry_set
from sharegate.in_force.judge import administrators_of, members
from sharegate.in_force.memory import VERSIONS_FILE, SetMemory
from sharegate.model.party import Registry
from sharegate.settings import Settings


def load_members(settings: Settings) -> Registry:
    """Read the registry as enough administrators signed it, and none older than was in force.

    Raises:
        Misconfigured: It is not that, or cannot be used; or the memory is damaged.
    """
    known = SetMemory(settings.audit_log.state / VERSIONS_FILE).recall()
    found = read_registry_set(settings.registry)
    return members(found, administrators_of(settings.trust), settings.registry, known)
