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
from dataclasses import dataclass, field
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
class Provided:
    """What was read of one provider.

    Attributes:
        content: The two files it was read from.
        grants: In the order of their lines; then one for each unconditionally shared resource,
            that says so.
    """

    content: tuple[bytes, bytes]
    resources: Mapping[ResourceId, Resource]
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything that decides, read once.

    Attributes:
        model: The text of model.conf.
        departments: Who may be a consumer.
        posts: By post, itself and all that it includes.
        grants: In the order of their providers; none where nobody provides.
        provided: What it was put together from; the next rule set need not read it again.
    """

    hash: RuleSetHash
    model: str
    catalogue: Catalogue
    departments: Mapping[DepartmentId, Department]
    posts: Mapping[str, frozenset[str]]
    grants: tuple[Grant, ...]
    provided: Mapping[DepartmentId, Provided] = field(default_factory=dict, repr=False)


def load_rule_set(folder: Path, departments: Mapping[DepartmentId, Department]) -> RuleSet:
    """Read the policies folder.

    Args:
        folder: model.conf, purposes.csv, posts.csv and one folder for each provider.
        departments: The members, from the registry: nobody else is a provider or a consumer.

    Raises:
        Misconfigured: A file is missing, unreadable, unknown or wrong, or somebody provides and
            there is no grant at all. Names the file and the line or key.
    """
    return compose(folder, read_files(folder, departments), departments)


def compose(
    folder: Path,
    files: Mapping[str, bytes],
    departments: Mapping[DepartmentId, Department],
    before: RuleSet | None = None,
) -> RuleSet:
    """Make one rule set of files that were read before.

    A revocation must not wait for a hundred thousand lines of other providers: what they gave
    `before` is taken over where nothing it was read by has changed.

    Args:
        folder: Where they were read from, for complaints.
        files: Each file that decides, by its path inside the folder.
        departments: As for :func:`load_rule_set`.
        before: The rule set in force, if there is one.

    Raises:
        Misconfigured: As for :func:`load_rule_set`.
    """
    _require(files, folder, [_MODEL, _PURPOSES, _POSTS])
    purposes = read_purposes(str(folder / _PURPOSES), files[_PURPOSES])
    posts = read_posts(str(folder / _POSTS), files[_POSTS])
    known: Mapping[DepartmentId, Provided] = {}
    if before is not None and (purposes, posts, departments) == (
        before.catalogue.purposes, before.posts, before.departments,
    ):  # fmt: skip
        known = before.provided
    content = {
        provider: (listed, files[f"{provider}/{_GRANTS}"])
        for provider in sorted(departments)
        if (listed := files.get(f"{provider}/{_RESOURCES}")) is not None  # else it provides nothing
    }
    same = {each for each in content if each in known and known[each].content == content[each]}
    ids = {str(grant.id) for provider in same for grant in known[provider].grants}
    provided: dict[DepartmentId, Provided] = {}
    for provider, (listed, lines) in content.items():
        if provider in same:
            provided[provider] = known[provider]
            continue
        place = str(folder / provider / _RESOURCES)
        own = read_resources(place, listed, provider, departments, purposes)
        place = str(folder / provider / _GRANTS)
        reader = GrantReader(place, own, departments.values(), purposes, posts, ids)
        opened = (open_grant(each) for each in own.values() if each.open is not None)
        provided[provider] = Provided((listed, lines), own, (*reader.read(lines), *opened))
    grants = tuple(grant for each in provided.values() for grant in each.grants)
    if provided and not grants:  # a department that only asks provides nothing, and grants nothing
        raise Misconfigured(str(folder), "contains no grant: an empty rule set is not served")
    if len(grants) > MAX_GRANTS:
        raise Misconfigured(str(folder), f"makes more than {MAX_GRANTS} grants in all")
    resources = {
        (provider, name): resource
        for provider, each in provided.items()
        for name, resource in each.resources.items()
    }
    return RuleSet(
        hash=_hash(files),
        model=read_text(str(folder / _MODEL), files[_MODEL]),
        catalogue=Catalogue(MappingProxyType(resources), MappingProxyType(dict(purposes))),
        departments=MappingProxyType(dict(departments)),
        posts=posts,
        grants=grants,
        provided=MappingProxyType(provided),
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
