"""What became of the members from one registry to the next."""

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping

from sharegate.model.party import Registry


def registry_changes(old: Registry, new: Registry) -> Mapping[str, tuple[str, ...]]:
    """Name what was added, removed and changed, each list sorted; empty where nothing was.

    ``persons_added`` and its like have ``person=role``, as after the change where there is an
    after. No revoked officer is named, for he is no member: ``revoked_officers_added`` and
    ``…_removed`` have ``department=count``. A new key of the audit office is given itself.
    """
    said: dict[str, list[str]] = {}
    before, after = _lists(old), _lists(new)
    for what, names in after.items():
        former = before[what]
        said[f"{what}_added"] = [_name(name, names[name]) for name in names.keys() - former.keys()]
        said[f"{what}_removed"] = [
            _name(name, former[name]) for name in former.keys() - names.keys()
        ]
        said[f"{what}_changed"] = [
            _name(name, names[name])
            for name in names.keys() & former.keys()
            if names[name] != former[name]
        ]
    said["revoked_officers_added"] = _counted(new, old)
    said["revoked_officers_removed"] = _counted(old, new)
    if new.audit_office_key != old.audit_office_key:
        said["audit_office_key_changed"] = [b64encode(new.audit_office_key).decode()]
    return {what: tuple(sorted(names)) for what, names in sorted(said.items()) if names}


def _lists(registry: Registry) -> dict[str, dict[str, tuple[str, object]]]:
    """Each list by name; of each member, what is said of it besides, and all that it is."""
    return {
        "certificates": {
            str(one.key_id): ("", (shown, one)) for shown, one in registry.certificates.items()
        },
        "departments": {str(name): ("", one) for name, one in registry.departments.items()},
        "issuers": {name: ("", one) for name, one in registry.issuers.items()},
        "keys": {str(name): ("", one) for name, one in registry.keys.items()},
        "persons": {str(name): (f"={one.role}", one) for name, one in registry.persons.items()},
    }


def _name(name: str, member: tuple[str, object]) -> str:
    return name + member[0]


def _counted(there: Registry, gone: Registry) -> list[str]:
    fresh = there.revoked_officers - gone.revoked_officers
    counts = Counter(department for department, _ in fresh)
    return [f"{department}={count}" for department, count in counts.items()]
