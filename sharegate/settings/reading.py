"""Reading the settings file: TOML, in which an unknown, missing or wrong key refuses to start.

Relative paths are relative to the file.
"""

import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from sharegate.errors import Misconfigured
from sharegate.settings.tables import (
    AuditLogSettings,
    ConfirmSettings,
    KeeperSettings,
    Limits,
    Listen,
    ProjectionSettings,
    QuotaSettings,
    Settings,
    SourceSettings,
    Tls,
    TrustSettings,
    WitnessesSettings,
)

_LAST_PORT: Final = 65_535


def load_settings(path: Path) -> Settings:
    """Read the settings file.

    Raises:
        Misconfigured: It cannot be read, is not TOML, or a key is unknown, missing or wrong;
            names every unknown key, and one that is missing or wrong in each table.
    """
    settings, faults = examine_settings(path)
    if settings is None or faults:
        raise Misconfigured(str(path), "; ".join(faults))
    return settings


def examine_settings(path: Path) -> tuple[Settings | None, list[str]]:
    """Read the settings file as far as it can be read; no fault's sentence repeats a value.

    Returns:
        The settings, as if keys that are no settings were not there, or None if what remains
        cannot be used; and everything that is wrong.

    Raises:
        Misconfigured: It cannot be read or is not TOML.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(str(path), error.strerror or "cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(str(path), f"is not TOML: {error}") from error
    unknown: list[str] = []
    wrong: list[str] = []
    for place, table, kind in _tables(raw):
        known = {field.encode_name for field in msgspec.structs.fields(kind)}
        for key in sorted(table.keys() - known):
            del table[key]
            unknown.append(f"{place}: `{key}` is not a setting")
        if wrong and kind is Settings:
            break  # it would only be said again
        try:
            msgspec.convert(table, kind, dec_hook=_path)
        except msgspec.ValidationError as error:
            wrong.append(f"{place}: {error}")
    if wrong:
        return None, unknown + wrong
    settings = msgspec.convert(raw, Settings, dec_hook=_path)
    wrong = _together(settings)
    return None if wrong else _resolved(settings, path.parent), unknown + wrong


def _together(settings: Settings) -> list[str]:
    """What is wrong with settings that are each of the right form."""
    wrong: list[str] = []
    if (settings.audit_log.append_dsn is None) != (settings.audit_log.read_dsn is None):
        wrong.append("audit_log: needs both append_dsn and read_dsn, or neither")
    limits = settings.audit_log.witnesses
    if limits.closed_seconds < limits.stale_seconds:
        wrong.append("audit_log.witnesses: closed_seconds is less than stale_seconds")
    if (settings.case_systems or settings.consent_registers) and not settings.confirm.signing_key:
        wrong.append("confirm: needs signing_key, as there are case systems or consent registers")
    listen = settings.listen
    wrong += [
        f"listen: `{name}` names a port that is not from 1 to {_LAST_PORT}"
        for name, address in (("exchange", listen.exchange), ("admin", listen.admin))
        if not 1 <= int(address.rpartition(":")[2]) <= _LAST_PORT
    ]
    if listen.exchange == listen.admin:
        wrong.append("listen: `exchange` and `admin` are the same address")
    return wrong


def _tables(raw: dict[str, Any]) -> list[tuple[str, dict[str, Any], type[Struct]]]:
    """The tables of the file, innermost first, each with its place and what it should be."""
    listed: list[tuple[str, object, type[Struct]]] = [
        ("listen.tls", _inner(raw, "listen", "tls"), Tls),
        ("listen", raw.get("listen"), Listen),
        ("trust", raw.get("trust"), TrustSettings),
        ("audit_log.witnesses", _inner(raw, "audit_log", "witnesses"), WitnessesSettings),
        ("audit_log", raw.get("audit_log"), AuditLogSettings),
        ("projection", raw.get("projection"), ProjectionSettings),
        ("quotas", raw.get("quotas"), QuotaSettings),
        ("confirm", raw.get("confirm"), ConfirmSettings),
        ("limits", raw.get("limits"), Limits),
    ]
    for group, kind in (
        ("sources", SourceSettings),
        ("case_systems", KeeperSettings),
        ("consent_registers", KeeperSettings),
    ):
        named = raw.get(group)
        if isinstance(named, dict):
            listed += [(f"{group}.{name}", one, kind) for name, one in named.items()]
    found = [(place, table, kind) for place, table, kind in listed if isinstance(table, dict)]
    # Last, and only as a frame: what is inside has been looked at.
    return [*found, ("the file", raw, Settings)]


def _inner(raw: dict[str, Any], outer: str, inner: str) -> object:
    table = raw.get(outer)
    return table.get(inner) if isinstance(table, dict) else None


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    got = "an empty one" if value == "" else f"`{type(value).__name__}`"
    raise TypeError(f"Expected the name of a file or folder, got {got}")


def _resolved(settings: Settings, base: Path) -> Settings:
    audit_log = msgspec.structs.replace(
        settings.audit_log,
        signing_key=base / settings.audit_log.signing_key,
        state=base / settings.audit_log.state,
        index_key=settings.audit_log.index_key and base / settings.audit_log.index_key,
        quorum=settings.audit_log.quorum and base / settings.audit_log.quorum,
    )
    listen, tls = settings.listen, settings.listen.tls
    if tls is not None:
        tls = msgspec.structs.replace(
            tls,
            certificate=base / tls.certificate,
            key=base / tls.key,
            client_authorities=tls.client_authorities and base / tls.client_authorities,
        )
    confirm = msgspec.structs.replace(
        settings.confirm,
        signing_key=settings.confirm.signing_key and base / settings.confirm.signing_key,
    )
    return msgspec.structs.replace(
        settings,
        confirm=confirm,
        listen=msgspec.structs.replace(listen, tls=tls),
        audit_log=audit_log,
        policies=base / settings.policies,
        registry=base / settings.registry,
    )
