"""Checks of what lies in files: settings, registry, policies, the signing key, the state."""

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sharegate.app import load_index_key, load_signing_key
from sharegate.audit.note import SignerKey
from sharegate.authorize.quota import time_zone
from sharegate.authorize.ruleset import RuleSet, load_rule_set
from sharegate.authorize.settling import load_confirm_key
from sharegate.cli.doctor.finding import Finding, judged, ok, warn, wrong
from sharegate.consortium.witnessed import load_quorum
from sharegate.errors import Misconfigured
from sharegate.identify.registry import load_registry
from sharegate.model.party import Registry
from sharegate.settings import AuditLogSettings, Settings, examine_settings
from sharegate.web.channel import tls_context

_OTHERS: Final = 0o007
_OTHERS_WRITE: Final = 0o022
_WIDER_THAN_0600: Final = 0o177
_SOON_MS: Final = 30 * 24 * 60 * 60 * 1000


def check_settings(config: Path) -> tuple[Settings | None, list[Finding]]:
    """The settings file: readable, every key known and right, closed to others."""
    try:
        settings, faults = examine_settings(config)
        mode = config.stat().st_mode & 0o777
    except (Misconfigured, OSError) as error:
        return None, [wrong("settings", str(error))]
    found = [
        judged("settings", [f"{config}: {one}" for one in faults], f"{config}: every key fits")
    ]
    if mode & (_OTHERS | _OTHERS_WRITE):
        advice = f"mode {mode:04o} is too wide for a file with passwords; chmod 0600 {config}"
        found.append(wrong("settings file", advice))
    else:
        found.append(ok("settings file", f"mode {mode:04o}, closed to others"))
    if os.geteuid() == 0 and config.stat().st_uid != 0:
        found.append(
            warn(
                "account", "run as root, for whom every file is open; run as the gateway's account"
            )
        )
    return settings, found


def check_registry(settings: Settings, now: float) -> tuple[Registry | None, list[Finding]]:
    """The registry: it loads, nobody else may write it, and its keys are in force."""
    path = settings.registry
    try:
        registry = load_registry(path)
    except Misconfigured as error:
        return None, [wrong("registry", str(error))]
    members = len(registry.departments)
    found = [
        ok("registry", f"{path}: {members} departments, {len(registry.keys)} keys"),
        *_writable("registry file", [path]),
    ]
    at = int(now * 1000)
    for department in registry.departments:
        keys = [key for key in registry.keys.values() if key.department == department]
        last = max((key.not_after for key in keys if key.not_before <= at), default=0)
        day = datetime.fromtimestamp(last / 1000, UTC).date()
        if not keys:
            found.append(warn(f"keys of {department}", "none listed: it cannot ask for anything"))
        elif last <= at:
            found.append(warn(f"keys of {department}", "none is in force now; list its new key"))
        elif last - at < _SOON_MS:
            found.append(
                warn(f"keys of {department}", f"the last one ends on {day}; list the next")
            )
    return registry, found


def check_policies(
    settings: Settings, registry: Registry | None
) -> tuple[RuleSet | None, list[Finding]]:
    """The policies: the rule set loads, and every source it names is configured."""
    folder = settings.policies
    if registry is None:
        return None, [warn("policies", "not checked: who the departments are is not known")]
    try:
        rule_set = load_rule_set(folder, registry.departments)
    except Misconfigured as error:
        return None, [wrong("policies", str(error))]
    grants = len(rule_set.grants)
    named = {str(one.source) for one in rule_set.catalogue.resources.values()}
    missing, unused = sorted(named - set(settings.sources)), sorted(set(settings.sources) - named)
    found = [
        ok("policies", f"{folder}: {grants} grants, rule set {rule_set.hash[:12]}…"),
        judged(
            "policies and sources",
            [f"resources.toml names the source {one}; add [sources.{one}]" for one in missing],
            "every source that resources.toml names is configured",
        ),
        *_writable("policies folder", [folder, *folder.rglob("*")]),
    ]
    if unused:
        found.append(warn("unused sources", f"{', '.join(unused)}: no resource is there"))
    return rule_set, found


def check_signing_key(settings: AuditLogSettings) -> tuple[SignerKey | None, list[Finding]]:
    """The signing key: an Ed25519 key, readable by the gateway alone."""
    path = settings.signing_key
    try:
        key = load_signing_key(settings)
        mode = path.stat().st_mode & 0o777
    except (Misconfigured, OSError) as error:
        # Never advised where a key is there: a new one would end the log.
        absent = isinstance(error.__cause__, FileNotFoundError)
        advice = "; put it back, or for a new log make one: sharegate key log" if absent else ""
        return None, [wrong("signing key", f"{error}{advice}")]
    if mode & _WIDER_THAN_0600:
        advice = f"mode {mode:04o} is wider than 0600; whoever reads it can sign; chmod 0600 {path}"
        return key, [wrong("signing key", advice)]
    return key, [ok("signing key", f"{path}: Ed25519, mode {mode:04o}; public half {key.vkey}")]


def check_state(settings: AuditLogSettings) -> list[Finding]:
    """The state directory: there, writable, and not by others."""
    what, state = "state directory", settings.state
    try:
        mode = state.stat().st_mode
    except FileNotFoundError:
        parent = next(place for place in state.absolute().parents if place.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return [warn(what, f"{state} is not there yet; the first start makes it")]
        return [wrong(what, f"{state} is not there and {parent} is not writable")]
    except OSError as error:
        return [wrong(what, f"{state}: {error.strerror}; run this as the gateway's account")]
    faults = []
    if not stat.S_ISDIR(mode):
        faults.append(f"{state} is not a directory")
    elif not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        faults.append(f"{state} is not writable by this account; chown it")
    elif mode & _OTHERS_WRITE:
        faults.append(f"others could replace the signer's memory; chmod go-w {state}")
    return [judged(what, faults, f"{state} is writable, and by nobody else")]


def check_other_files(settings: Settings, key: SignerKey | None) -> list[Finding]:
    """What else is read at the start where the settings name it, read as `serve` reads it."""
    audit_log, tls, zone = settings.audit_log, settings.listen.tls, settings.quotas.time_zone
    quorum, confirm = audit_log.quorum, settings.confirm
    found = [_loaded("time zone", f"{zone} is known", lambda: time_zone(zone))]
    if quorum is not None:
        listed = None if key is None else key.verifier
        found.append(_loaded("audit_log.quorum", str(quorum), lambda: load_quorum(quorum, listed)))
    if audit_log.index_key is not None:
        found.append(
            _loaded("index key", str(audit_log.index_key), lambda: load_index_key(audit_log))
        )
    if confirm.signing_key is not None:
        found.append(
            _loaded("confirm key", str(confirm.signing_key), lambda: load_confirm_key(confirm))
        )
    if tls is not None:
        found.append(_loaded("TLS", str(tls.certificate), lambda: tls_context(tls)))
    return found


def _loaded(what: str, fine: str, load: Callable[[], object]) -> Finding:
    try:
        load()
    except Misconfigured as error:
        return wrong(what, str(error))
    return ok(what, fine)


def _writable(what: str, paths: list[Path]) -> list[Finding]:
    """Complain of files that decide and that others may change."""
    open_to_others = [
        str(one) for one in paths if one.exists() and one.stat().st_mode & _OTHERS_WRITE
    ]
    if not open_to_others:
        return []
    first = open_to_others[0]
    more = f" and {len(open_to_others) - 1} more" if len(open_to_others) > 1 else ""
    return [wrong(what, f"{first}{more} may be written by others; chmod go-w")]
