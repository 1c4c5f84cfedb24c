"""Judge the sets that were found: which of them may be put into force, beside those that are.

A fault in one set leaves that set as it is and keeps no other from changing: one provider's
mistake must not hold up another one's revocation.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sharegate.authorize.authorize import Authorize
from sharegate.authorize.ruleset import RuleSet, compose
from sharegate.authorize.signed import (
    PROVIDER_NOTE,
    UNDECIDING,
    verify_provider,
    verify_root,
)
from sharegate.errors import Misconfigured
from sharegate.identify.identify import Identify
from sharegate.identify.signed_registry import SignedRegistry, verify_registry
from sharegate.in_force.found import FileSet, missing
from sharegate.in_force.memory import Remembered, remembered, require_newer
from sharegate.model.party import DepartmentId, Registry
from sharegate.model.signed import (
    REGISTRY_SET,
    ROOT_SET,
    Administrators,
    Fault,
    SetRefused,
    Statement,
    read_keys,
)
from sharegate.settings import Settings, TrustSettings


@dataclass(frozen=True, slots=True)
class AcceptedSet:
    """A set that is, or may be put, in force.

    Attributes:
        found: The files it was made of.
        signers: The names of the keys that signed.
        owners: The departments whose signatures its next version needs.
    """

    found: FileSet
    statement: Statement
    signers: tuple[str, ...]
    owners: tuple[DepartmentId, ...] = ()

    def remembered(self) -> Remembered:
        """What there is to remember of it."""
        return remembered(self.statement, self.owners)


@dataclass(frozen=True, slots=True)
class RefusedSet:
    """A set that is not put into force, and why."""

    name: str
    found: FileSet
    why: SetRefused


@dataclass(frozen=True, slots=True)
class Rules:
    """All that decides who may ask and what: immutable, exchanged as one.

    Attributes:
        sets: What it was made of, by name.
    """

    registry: Registry
    rule_set: RuleSet
    identify: Identify
    authorize: Authorize
    sets: Mapping[str, AcceptedSet]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one look.

    Attributes:
        rules: What may be put into force; None where nothing new may.
        accepted: The sets in it that were not in force before.
    """

    rules: Rules | None
    accepted: Mapping[str, AcceptedSet]
    refused: tuple[RefusedSet, ...]


@dataclass(frozen=True, slots=True)
class Judge:
    """Verifies and builds; knows who is trusted, and remembers nothing.

    Attributes:
        policies: Their folder.
        registry: Its file.
        administrators: Who signs the registry and the common rules.
        sources: The sources that are configured.
        identify: Prepares the first room for a registry.
        witnessed: Whether the audit log has witnesses.
    """

    policies: Path
    registry: Path
    administrators: Administrators
    sources: Collection[str]
    identify: Callable[[Registry], Identify]
    witnessed: bool = False

    @classmethod
    def of(cls, settings: Settings, identify: Callable[[Registry], Identify]) -> Self:
        """Judge by the settings.

        Raises:
            Misconfigured: The administrators' keys cannot be used.
        """
        administrators = administrators_of(settings.trust)
        sources = frozenset(settings.sources)
        witnessed = settings.audit_log.quorum is not None
        return cls(
            settings.policies, settings.registry, administrators, sources, identify, witnessed
        )

    def start(self, found: Mapping[str, FileSet], known: Mapping[str, Remembered]) -> Rules:
        """Build what is in force first; every set must be right, those known before be there.

        Args:
            found: Every set.
            known: What was in force last.

        Raises:
            SetRefused: One is not.
        """
        gone = {name: missing(self.policies / name / PROVIDER_NOTE) for name in known}
        return self._build({**gone, **found}, None, known)

    def again(
        self, found: Mapping[str, FileSet], now: Rules, known: Mapping[str, Remembered]
    ) -> Judged:
        """Judge what changed. Never raises for anything that is in a file.

        Args:
            found: Every set.
            now: What is in force.
            known: What was in force last, in this process or another.
        """
        before = {name: one.found for name, one in now.sets.items()}
        gone = {name: missing(one.place) for name, one in before.items()}
        changed = {
            name: one
            for name, one in {**gone, **found}.items()
            if name not in before or one.digest != before[name].digest
        }
        refused: tuple[RefusedSet, ...] = ()
        rules = now
        try:
            if changed:
                rules = self._build({**before, **changed}, now, known)
        except SetRefused as why:
            if len(changed) == 1:
                refused = tuple(_refused(name, one, why) for name, one in changed.items())
            else:
                rules, refused = self._one_at_a_time(changed, now, known)
        accepted = {name: one for name, one in rules.sets.items() if name in changed}
        for each in refused:
            accepted.pop(each.name, None)
        return Judged(None if rules is now else rules, accepted, refused)

    def _one_at_a_time(
        self, changed: Mapping[str, FileSet], now: Rules, known: Mapping[str, Remembered]
    ) -> tuple[Rules, tuple[RefusedSet, ...]]:
        """Take the changed sets one by one, members and common rules first, as far as they fit."""
        rules = now
        refused = []
        for name in sorted(
            changed, key=lambda each: (each != REGISTRY_SET, each != ROOT_SET, each)
        ):
            files = {each: one.found for each, one in rules.sets.items()}
            try:
                rules = self._build({**files, name: changed[name]}, rules, known)
            except SetRefused as why:
                refused.append(_refused(name, changed[name], why))
        return rules, tuple(refused)

    def _build(
        self,
        found: Mapping[str, FileSet],
        now: Rules | None,
        known: Mapping[str, Remembered],
    ) -> Rules:
        """Verify every set and make one whole of them."""
        before = {} if now is None else now.sets
        registry, member_set = self._members(found[REGISTRY_SET], now)
        sets = {REGISTRY_SET: member_set}
        common = found[ROOT_SET]
        _require_read(common)
        root = verify_root(str(common.place), common.files, common.note, self.administrators)
        sets[ROOT_SET] = AcceptedSet(common, root.statement, root.signers)
        files = dict(common.files)
        for name in sorted(found.keys() - sets.keys()):
            one, provider = found[name], DepartmentId(name)
            # At a start, what was in force last stands for what is in force.
            here = known if now is None else before
            if (name in here or one.gone) and not _keys_of(registry, provider):
                continue  # withdrawn: who has no key any more has no rules either
            sets[name] = _provider(one, provider, registry, known.get(name))
            files |= {
                f"{name}/{file}": content
                for file, content in one.files.items()
                if file not in UNDECIDING
            }
        for name, one_set in sets.items():
            # What is in force here goes on, even if another gateway is ahead already.
            if name not in before or before[name].statement != one_set.statement:
                place, statement = str(one_set.found.place), one_set.statement
                require_newer(place, known.get(name), statement.version, statement.digest)
        try:
            return self._composed(files, registry, sets, now)
        except Misconfigured as error:
            raise SetRefused(Fault.FAULTY, error.place, error.detail) from error
        except Exception as error:
            # Whatever is wrong with a set, the ones in force go on; its text is not passed on.
            place, kind = str(self.policies), type(error).__name__
            raise SetRefused(Fault.FAULTY, place, f"cannot be used ({kind})") from error

    def _members(self, found: FileSet, now: Rules | None) -> tuple[Registry, AcceptedSet]:
        if now is not None and now.sets[REGISTRY_SET].found.digest == found.digest:
            return now.registry, now.sets[REGISTRY_SET]  # verified when it came into force
        signed = _signed_registry(found, self.administrators, self.registry)
        return signed.registry, AcceptedSet(found, signed.statement, signed.signers)

    def _composed(
        self,
        files: Mapping[str, bytes],
        registry: Registry,
        sets: Mapping[str, AcceptedSet],
        now: Rules | None,
    ) -> Rules:
        identify = self.identify(registry)
        if now is not None and _same_rules(registry, sets, now):
            # An officer or a key is revoked: no rule is another, so none is read again.
            return Rules(registry, now.rule_set, identify, now.authorize, sets)
        before = None if now is None else now.rule_set
        rule_set = compose(self.policies, files, registry.departments, before)
        named = {resource.source for resource in rule_set.catalogue.resources.values()}
        for source in sorted(named - set(self.sources)):
            raise Misconfigured(f"sources.{source}", "named by resources.toml, but not configured")
        authorize = Authorize(rule_set, witnessed=self.witnessed)
        return Rules(registry, rule_set, identify, authorize, sets)


def _same_rules(registry: Registry, sets: Mapping[str, AcceptedSet], now: Rules) -> bool:
    """Whether all that the rules are made of is what it was."""
    fresh, old = (
        {name: one.found.digest for name, one in each.items() if name != REGISTRY_SET}
        for each in (sets, now.sets)
    )
    return fresh == old and registry.departments == now.registry.departments


def administrators_of(trust: TrustSettings) -> Administrators:
    """Read who signs the registry and the common rules.

    Raises:
        Misconfigured: A key cannot be used or is listed twice, or more must sign than there are.
    """
    keys = read_keys("trust.administrators", trust.administrators)
    if trust.threshold > len(keys):
        raise Misconfigured("trust.threshold", f"is more than the {len(keys)} administrators")
    return Administrators(keys, trust.threshold)


def members(
    found: FileSet,
    administrators: Administrators,
    path: Path,
    known: Mapping[str, Remembered],
) -> Registry:
    """Give the registry alone, if it may be in force.

    Args:
        found: The registry's set.
        administrators: Who signs it.
        path: Its file.
        known: What was in force last.

    Raises:
        SetRefused: It may not.
    """
    signed = _signed_registry(found, administrators, path)
    statement = signed.statement
    require_newer(str(found.place), known.get(REGISTRY_SET), statement.version, statement.digest)
    return signed.registry


def _signed_registry(found: FileSet, administrators: Administrators, path: Path) -> SignedRegistry:
    _require_read(found)
    content = found.files.get(path.name)
    if content is None:
        raise SetRefused(Fault.UNSIGNED, str(path), "is missing")
    return verify_registry(path, content, found.note, administrators)


def _keys_of(registry: Registry, provider: DepartmentId) -> tuple[str, ...]:
    department = registry.departments.get(provider)
    return () if department is None else department.policy_keys


def _provider(
    found: FileSet, provider: DepartmentId, registry: Registry, known: Remembered | None
) -> AcceptedSet:
    _require_read(found)
    verified = verify_provider(
        str(found.place),
        provider,
        found.files,
        found.note,
        registry.departments,
        None if known is None else (known.digest, known.owners),
    )
    return AcceptedSet(found, verified.statement, verified.signers, verified.owners)


def _require_read(found: FileSet) -> None:
    if found.trouble is not None:
        raise SetRefused(Fault.FAULTY, str(found.place.parent), found.trouble)


def _refused(name: str, found: FileSet, why: SetRefused) -> RefusedSet:
    """Say it of the set that changed, even where it shows in another one that did not.

    In an error of its own: the one that was raised holds on to all that was read, and in a circle.
    """
    fault = why.fault if Path(why.place).parent == found.place.parent else Fault.FAULTY
    return RefusedSet(name, found, SetRefused(fault, why.place, why.detail))
