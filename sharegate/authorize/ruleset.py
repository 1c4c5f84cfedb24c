"""Read the policies folder into one immutable rule set, or refuse all of it.

A rule set is never half right: a line that cannot be used may have been a denial, so one fault
anywhere refuses the whole folder and names the line.

The hash of a rule set is what an auditor gets with the usual tools inside the folder::

    sha256sum *.conf *.csv */resources.toml */grants.csv | LC_ALL=C sort -k2 | sha256sum

that is: SHA-256, in lower-case hex, over one line for each file that decides (its SHA-256 in
lower-case hex, two spaces, its path inside the folder, a line feed), the lines ordered by path.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sharegate.authorize.catalogue import read_purposes, read_resources
from sharegate.authorize.grants import MAX_GRANTS, GrantReader, open_grant
from sharegate.authorize.posts import read_posts
from sharegate.authorize.signed import (
    FOR_PEOPLE,
    PROVIDER_FILES,
    PROVIDER_NOTE,
    ROOT_FILES,
    ROOT_NOTE,
    UNDECIDING,
)
from sharegate.authorize.table import read_text
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import Catalogue, Resource, ResourceId
from sharegate.model.decision import RuleSetHash
from sharegate.model.grant import Grant
from sharegate.model.party import Department, DepartmentId

_MODEL = "model.conf"
_PURPOSES = "purposes.csv"
_POSTS = "posts.csv"
_RESOURCES = "resources.toml"
_GRANTS = "grants.csv"
# Which files there may be, and which of them decide.
_FOLDER = ROOT_FILES | FOR_PEOPLE | {ROOT_NOTE}
_PROVIDER_FOLDER = PROVIDER_FILES | {PROVIDER_NOTE}
_DECIDING = (ROOT_FILES | PROVIDER_FILES) - UNDECIDING


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything that decides, read once.

    Attributes:
        model: The text of model.conf.
        departments: Who may be a consumer.
        posts: By post, itself and all that it includes.
        grants: In the order of their providers, then of their lines; for each unconditionally
            shared resource one more that says so.
    """

    hash: RuleSetHash
    model: str
    catalogue: Catalogue
    departments: Mapping[DepartmentId, Department]
    posts: Mapping[str, frozenset[str]]
    grants: tuple[Grant, ...]


def load_rule_set(folder: Path, departments: Mapping[DepartmentId, Department]) -> RuleSet:
    """Read the policies folder.

    Args:
        folder: model.conf, purposes.csv, posts.csv and one folder for each provider.
        departments: The members, from the registry: nobody else is a provider or a consumer.

    Raises:
        Misconfigured: A file is missing, unreadable, unknown or wrong, or there is no grant at
            all. Names the file and the line or key.
    """
    return compose(folder, read_files(folder, departments), departments)


def compose(
    folder: Path, files: Mapping[str, bytes], departments: Mapping[DepartmentId, Department]
) -> RuleSet:
    """Make one rule set of files that were read before.

    Args:
        folder: Where they were read from, for complaints.
        files: Each file that decides, by its path inside the folder.
        departments: As for :func:`load_rule_set`.

    Raises:
        Misconfigured: As for :func:`load_rule_set`.
    """
    _require(files, folder, [_MODEL, _PURPOSES, _POSTS])
    purposes = read_purposes(str(folder / _PURPOSES), files[_PURPOSES])
    posts = read_posts(str(folder / _POSTS), files[_POSTS])
    resources: dict[tuple[DepartmentId, ResourceId], Resource] = {}
    grants: list[Grant] = []
    ids: set[str] = set()
    for provider in sorted(departments):
        listed = files.get(f"{provider}/{_RESOURCES}")
        if listed is None:
            continue  # it provides nothing
        place = str(folder / provider / _RESOURCES)
        own = read_resources(place, listed, provider, departments, purposes)
        resources |= {(provider, name): resource for name, resource in own.items()}
        reader = GrantReader(
            str(folder / provider / _GRANTS), own, departments.values(), purposes, posts, ids
        )
        grants.extend(reader.read(files[f"{provider}/{_GRANTS}"]))
        grants.extend(open_grant(each) for each in own.values() if each.open is not None)
        if len(grants) > MAX_GRANTS:
            raise Misconfigured(reader.place, f"makes more than {MAX_GRANTS} grants in all")
    if not grants:
        raise Misconfigured(str(folder), "contains no grant: an empty rule set is not served")
    return RuleSet(
        hash=_hash(files),
        model=read_text(str(folder / _MODEL), files[_MODEL]),
        catalogue=Catalogue(MappingProxyType(resources), MappingProxyType(dict(purposes))),
        departments=MappingProxyType(dict(departments)),
        posts=posts,
        grants=tuple(grants),
    )


def read_files(folder: Path, members: Collection[str]) -> dict[str, bytes]:
    """Read each file, once, so that what is hashed and signed is what is used.

    Raises:
        Misconfigured: A file is missing, unreadable or unknown; names it.
    """
    files: dict[str, bytes] = {}
    for entry in _entries(folder):
        if not entry.is_dir():
            _read_into(files, entry, entry.name, _FOLDER)
        elif entry.name not in members:
            raise Misconfigured(str(entry), "is a folder of no registered department")
        else:
            for inner in _entries(entry):
                _read_into(files, inner, f"{entry.name}/{inner.name}", _PROVIDER_FOLDER)
            _require(files, folder, [f"{entry.name}/{name}" for name in (_RESOURCES, _GRANTS)])
    return files


def _read_into(files: dict[str, bytes], path: Path, name: str, known: Collection[str]) -> None:
    if path.name not in known:
        # A misspelt grants.csv passed over would be every denial in it lost.
        raise Misconfigured(str(path), "is no policy file, perhaps a misspelt one")
    if path.name not in FOR_PEOPLE:
        files[name] = _bytes(path)


def _require(files: Collection[str], folder: Path, names: list[str]) -> None:
    for name in names:
        if name not in files:
            raise Misconfigured(str(folder / name), "is missing")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise Misconfigured(str(folder), error.strerror or "cannot be read") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(str(path), error.strerror or "cannot be read") from error


def _hash(files: Mapping[str, bytes]) -> RuleSetHash:
    lines = (
        f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n"
        for path in sorted(files, key=str.encode)
        if path.rpartition("/")[2] in _DECIDING
    )
    return RuleSetHash(hashlib.sha256("".join(lines).encode()).hexdigest())
