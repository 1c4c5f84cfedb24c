"""Who must have signed which rules, and whether they did. Pure.

A provider signs its own folder, alone: whoever signs for a department may write its rules and
nobody else's. Where a resource has joint owners, each of them signs too, and those it had before
sign the change that drops them. The common files are the administrators'.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sharegate.audit.note import VerifierKey
from sharegate.model.party import Department, DepartmentId
from sharegate.model.signed import (
    ROOT_SET,
    Administrators,
    Fault,
    SetRefused,
    Statement,
    open_set,
    read_keys,
    require_administrators,
)

ROOT_FILES = frozenset({"model.conf", "purposes.csv", "posts.csv"})
PROVIDER_FILES = frozenset({"resources.toml", "grants.csv", "grants_test.csv"})
# Signed so that what was tested is known; it decides nothing.
UNDECIDING = frozenset({"grants_test.csv"})
ROOT_NOTE = "root.note"
PROVIDER_NOTE = "policy.note"
# Beside the common files, for people; nobody signs it.
FOR_PEOPLE = frozenset({"README.md"})


@dataclass(frozen=True, slots=True)
class Verified:
    """A set that all who must have signed.

    Attributes:
        signers: The names of the keys that signed.
        owners: The departments whose signatures its next version needs, sorted.
    """

    statement: Statement
    signers: tuple[str, ...]
    owners: tuple[DepartmentId, ...]


def verify_root(
    place: str, files: Mapping[str, bytes], note: bytes | None, administrators: Administrators
) -> Verified:
    """Verify the files that are common to all providers.

    Raises:
        SetRefused: They are not what enough administrators signed.
    """
    opened = open_set(place, ROOT_SET, files, note, administrators.keys)
    require_administrators(place, opened, administrators)
    _require_files(place, files, ROOT_FILES, ROOT_FILES)
    return Verified(opened.statement, tuple(key.name for key in opened.signers), ())


def verify_provider(
    place: str,
    provider: DepartmentId,
    files: Mapping[str, bytes],
    note: bytes | None,
    departments: Mapping[DepartmentId, Department],
    before: tuple[str, Collection[DepartmentId]] | None = None,
) -> Verified:
    """Verify one provider's folder.

    Args:
        place: The note, for complaints.
        provider: Whose folder it is.
        files: All that is in it besides the note.
        note: The note, if there is one.
        departments: The members and their policy keys.
        before: The digest of the version in force, and who owned its resources.

    Raises:
        SetRefused: It is not what its owners signed.
    """
    if provider not in departments:
        raise SetRefused(Fault.FOREIGN, place, "is in a folder of no registered department")
    # Signed by the provider itself, before anything of it is read.
    own = open_set(place, provider, files, note, _keys(place, departments, [provider]))
    _require_files(place, files, PROVIDER_FILES, PROVIDER_FILES - UNDECIDING)
    now = {provider, *_joint_owners(place, files["resources.toml"])}
    needed = now if before is None or before[0] == own.statement.digest else now.union(before[1])
    opened = own
    if needed != {provider}:
        opened = open_set(place, provider, files, note, _keys(place, departments, needed))
    for owner in sorted(needed):
        if not any(key.name == owner for key in opened.signers):
            raise SetRefused(Fault.FOREIGN, place, f"is not signed by {owner}, a joint owner")
    signers = tuple(key.name for key in opened.signers)
    return Verified(own.statement, signers, tuple(sorted(now)))


def _keys(
    place: str, departments: Mapping[DepartmentId, Department], owners: Collection[DepartmentId]
) -> tuple[VerifierKey, ...]:
    """The policy keys of these departments; a name that is no member has none."""
    members = (departments[owner] for owner in owners if owner in departments)
    return read_keys(place, (vkey for member in members for vkey in member.policy_keys))


def _require_files(
    place: str, files: Collection[str], known: Collection[str], needed: Collection[str]
) -> None:
    for name in sorted(files):
        if name not in known:
            raise SetRefused(Fault.FAULTY, place, f"names {name}, which is no policy file")
    for name in sorted(needed):
        if name not in files:
            raise SetRefused(Fault.FAULTY, place, f"names no {name}")


def _joint_owners(place: str, resources: bytes) -> set[DepartmentId]:
    """The joint owners of any resource; what else the file says is for `catalogue` to judge."""
    try:
        listed = tomllib.loads(resources.decode()).get("resource", [])
        owners = {owner for one in listed for owner in one.get("joint_owners", ())}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        detail = "names a resources.toml that cannot be read"
        raise SetRefused(Fault.FAULTY, place, detail) from error
    return {DepartmentId(str(owner)) for owner in owners}
