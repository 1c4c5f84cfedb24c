"""The registry, as enough administrators signed it. Pure but for reading the file once."""

from dataclasses import dataclass
from pathlib import Path

from sharegate.errors import Misconfigured
from sharegate.identify.registry import read_registry
from sharegate.model.party import Registry, Role
from sharegate.model.signed import (
    REGISTRY_SET,
    Administrators,
    Fault,
    SetRefused,
    Statement,
    open_set,
    read_keys,
    require_administrators,
)


@dataclass(frozen=True, slots=True)
class SignedRegistry:
    """A registry that enough administrators signed.

    Attributes:
        signers: The names of the keys that signed.
    """

    registry: Registry
    statement: Statement
    signers: tuple[str, ...]


def note_of(registry: Path) -> Path:
    """Where the note of a registry file lies: beside it."""
    return registry.with_suffix(".note")


def verify_registry(
    path: Path, content: bytes, note: bytes | None, administrators: Administrators
) -> SignedRegistry:
    """Verify and read a registry.

    Args:
        path: Where it was read from, for complaints.
        content: The file.
        note: The note beside it, if there is one.
        administrators: Who signs it.

    Raises:
        SetRefused: It is not what enough administrators signed, or it cannot be used.
    """
    place = str(note_of(path))
    opened = open_set(place, REGISTRY_SET, {path.name: content}, note, administrators.keys)
    require_administrators(place, opened, administrators)
    try:
        registry = read_registry(path, content)
        _require_own_policy_keys(str(path), registry)
        _require_apart(str(path), registry, administrators)
    except Misconfigured as error:
        raise SetRefused(Fault.FAULTY, error.place, error.detail) from error
    if registry.version != opened.statement.version:
        raise SetRefused(
            Fault.FAULTY,
            place,
            f"says version {opened.statement.version}, the file {registry.version}",
        )
    return SignedRegistry(registry, opened.statement, tuple(key.name for key in opened.signers))


def _require_own_policy_keys(place: str, registry: Registry) -> None:
    """No key signs for two departments: joint owners would be one."""
    read_keys(
        f"{place}: policy_keys",
        (vkey for department in registry.departments.values() for vkey in department.policy_keys),
    )


def _require_apart(place: str, registry: Registry, administrators: Administrators) -> None:
    """Whoever signs the registry manages; no administrator operates, audits or rules as well."""
    managing = {key.public_key for key in administrators.keys}
    for person in registry.persons.values():
        if person.role is not Role.MANAGE and person.public in managing:
            raise Misconfigured(f"{place}: person {person.id}", "is an administrator as well")
