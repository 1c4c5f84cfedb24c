"""The entries about sets: one was put into force, or was refused."""

from hashlib import sha256

from sharegate.identify.changes import registry_changes
from sharegate.in_force.judge import AcceptedSet, RefusedSet, Rules
from sharegate.model.act import Act, ActKind, Fact
from sharegate.model.party import DepartmentId, Registry
from sharegate.model.signed import REGISTRY_SET, ROOT_SET

_ADMINISTRATORS = "administrators"
_GATEWAY = "gateway"
_STRAY = "unregistered"
_MOST_DETAIL = 2_000
_MOST_NAMED = 50


def accepted_act(name: str, accepted: AcceptedSet, rules: Rules, former: Registry, at: int) -> Act:
    """Say that a set is put into force.

    Args:
        name: The set's.
        accepted: The set.
        rules: The whole that it becomes part of.
        former: The members before; at the start, the same.
        at: Milliseconds of Unix time.
    """
    statement = accepted.statement
    common = name in {REGISTRY_SET, ROOT_SET}
    changes = registry_changes(former, rules.registry) if name == REGISTRY_SET else {}
    return Act(
        kind=_kind(name),
        at=at,
        by=_ADMINISTRATORS if common else name,
        facts={
            "set": name,
            "effect": "in-force",
            "version": statement.version,
            "digest": statement.digest,
            "signers": accepted.signers,
            "rule_set": rules.rule_set.hash,
            **{what: _shortened(names) for what, names in changes.items()},
        },
        detail={"note": (accepted.found.note or b"").decode()},
        provider=None if common else DepartmentId(name),
        once=_once("in-force", name, statement.digest.encode()),
    )


def refused_act(refused: RefusedSet, registry: Registry, at: int) -> Act:
    """Say that a set was refused; the same files are refused once.

    Args:
        refused: The set, and why.
        registry: The members, as far as they are in force: no other name stands in an entry.
        at: Milliseconds of Unix time.
    """
    name = refused.name
    provider = DepartmentId(name) if name in registry.departments else None
    known = provider is not None or name in {REGISTRY_SET, ROOT_SET}
    facts: dict[str, Fact] = {
        "set": name if known else _STRAY,
        "effect": "refused",
        "fault": refused.why.fault.value,
        "found": refused.found.digest.hex(),
    }
    return Act(
        kind=_kind(name),
        at=at,
        by=_GATEWAY,
        facts=facts,
        detail={"place": refused.why.place, "reason": refused.why.detail[:_MOST_DETAIL]},
        provider=provider,
        once=_once("refused", name, refused.found.digest),
    )


def _shortened(names: tuple[str, ...]) -> tuple[str, ...]:
    more = len(names) - _MOST_NAMED
    return names if more <= 0 else (*names[:_MOST_NAMED], f"and {more} more")


def _kind(name: str) -> ActKind:
    return ActKind.REGISTRY if name == REGISTRY_SET else ActKind.POLICY


def _once(effect: str, name: str, content: bytes) -> bytes:
    text = f"sharegate-set {effect} {name}\0".encode(errors="surrogateescape")
    return sha256(text + content).digest()
