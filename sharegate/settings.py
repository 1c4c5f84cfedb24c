"""One frozen tree of settings.

Each field says what it is, whether what it names is trusted, and what is lost with it. The file
is TOML; an unknown key, a missing one or a wrong type refuses to start, naming the key.
Relative paths are relative to the settings file.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from sharegate.errors import Misconfigured

_LAST_PORT: Final = 65_535

Address = Annotated[str, Meta(pattern=r"^[^\s/]+:\d{1,5}$", description="host:port")]
Dsn = Annotated[str, Meta(pattern=r"^postgres(ql)?://\S+$", description="postgresql:// URL")]


class Tls(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the exchange listener speaks TLS 1.3, and whose client certificates it looks at."""

    certificate: Annotated[Path, Meta(description="The gateway's certificate chain (PEM).")]
    key: Annotated[Path, Meta(description="Its private key (PEM). Secret.")]
    client_authorities: Annotated[
        Path | None,
        Meta(
            description="Who may issue client certificates (PEM). Trusted. A connection that shows "
            "one is known by it, if the registry lists it. Absent: none is asked for."
        ),
    ] = None


class Listen(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the gateway listens."""

    exchange: Annotated[
        Address, Meta(description="Departments ask here. Untrusted; put TLS in front of it.")
    ]
    admin: Annotated[
        Address,
        Meta(description="Health and metrics. Trusted network only: it says how busy we are."),
    ]
    authority: Annotated[
        str,
        Meta(
            min_length=1,
            description="The host[:port] that departments sign (RFC 9421 @authority). A wrong "
            "value refuses every request.",
        ),
    ]
    tls: Tls | None = None


class TrustSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who signs the registry and the common rules. There is no unsigned mode."""

    administrators: Annotated[
        list[str],
        Meta(
            min_length=2,
            max_length=100,
            description="Verifier keys (C2SP) of the consortium's administrators. Trusted: enough "
            "of them decide who is a member.",
        ),
    ]
    threshold: Annotated[
        int, Meta(ge=2, description="How many of them must sign. Never one alone.")
    ] = 2


class AuditLogSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the audit log lives and who signs it."""

    origin: Annotated[
        str,
        Meta(
            pattern=r"^[^\s+]{1,255}$",
            description="The log's name in every checkpoint (C2SP). Never changes; a new origin "
            "is a new log.",
        ),
    ]
    append_dsn: Annotated[
        Dsn | None,
        Meta(
            description="Role that may call the append function and nothing else. Absent: the "
            "embedded PostgreSQL, under `state`."
        ),
    ] = None
    read_dsn: Annotated[
        Dsn | None, Meta(description="Role that may read. The signer re-reads entries with it.")
    ] = None
    signing_key: Annotated[
        Path,
        Meta(
            description="Ed25519 private key (PEM, PKCS#8). Secret. Whoever has it can sign "
            "checkpoints as this log; lost, the log ends and a new origin begins."
        ),
    ]
    state: Annotated[
        Path,
        Meta(
            description="Directory of the signer's memory and of the versions that were in force. "
            "Trusted. Lost or restored from a backup, the signer refuses to start."
        ),
    ]
    index_key: Annotated[
        Path | None,
        Meta(
            description="The audit office's blind-index key, a file of 32 bytes. Secret. With it "
            "and the log, guessed ID numbers can be tried. Absent: nobody can search by person, "
            "officer or matter."
        ),
    ] = None
    quorum: Annotated[
        Path | None,
        Meta(
            description="Quorum file (C2SP tlog-policy): this log's witnesses, their URLs, and how "
            "many must cosign. Trusted. Absent: nobody but its operator vouches for the log."
        ),
    ] = None
    record_seconds: Annotated[
        float,
        Meta(gt=0, le=2, description="How long an exchange waits to be recorded before 503."),
    ] = 2.0


class ProjectionSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What auditors search: rows made from the log. No evidence; rebuilt at will."""

    dsn: Annotated[
        Dsn | None,
        Meta(
            description="Role that reads entries and fills the projection, in the audit log's "
            "database. Absent: the embedded PostgreSQL's own, or else there is no projection."
        ),
    ] = None
    search_dsn: Annotated[
        Dsn | None,
        Meta(
            description="Role that `sharegate audit search` and `show` read with. Secret: whoever "
            "has it can read without an entry."
        ),
    ] = None
    follow: Annotated[
        bool,
        Meta(
            description="Whether the gateway fills the projection. False where `sharegate "
            "project` runs beside it."
        ),
    ] = True


class SourceSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One source: a provider's own database."""

    dsn: Annotated[
        Dsn,
        Meta(
            description="Read-only role, with default_transaction_read_only and "
            "statement_timeout set on it. Secret. Checked at every connection."
        ),
    ]
    connections: Annotated[
        int, Meta(ge=1, le=100, description="Most statements at once; more wait in line.")
    ] = 8
    seconds: Annotated[
        float, Meta(gt=0, le=60, description="How long one fetch may take, waiting included.")
    ] = 5.0


class QuotaSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How answers are counted."""

    time_zone: Annotated[
        str,
        Meta(
            min_length=1,
            description="Whose midnight begins a day and a month (IANA name). The same for every "
            "gateway of one log.",
        ),
    ] = "Asia/Shanghai"


class ConfirmSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How case systems and consent registers are asked."""

    signing_key: Annotated[
        Path | None,
        Meta(
            description="Ed25519 private key (PEM, PKCS#8) that signs the questions. Secret. "
            "Whoever has it can ask whether there is such a matter or consent. Needed where "
            "anybody is asked."
        ),
    ] = None
    seconds: Annotated[
        float, Meta(gt=0, le=10, description="How long an answer may take before the denial.")
    ] = 2.0


class KeeperSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A case system or a consent register."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(https://[!-~]+|http://(127\.0\.0\.1|localhost)(:\d{1,5})?(/[!-~]*)?)$",
            description="Where it is asked: https, or this machine. It learns who is asked about.",
        ),
    ]
    public: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$",
            description="The raw Ed25519 public key that signs its answers, base64. Trusted.",
        ),
    ]


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds that keep one peer from starving the others."""

    body_bytes: Annotated[
        int, Meta(ge=256, le=1_048_576, description="Longest request body accepted.")
    ] = 65_536
    unproven_per_minute: Annotated[
        int,
        Meta(ge=1, description="Unproven requests one address may send a minute before 429."),
    ] = 120
    drain_seconds: Annotated[
        float,
        Meta(ge=0, le=60, description="How long not ready before the listener closes on SIGTERM."),
    ] = 0.0


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything the gateway is told."""

    listen: Listen
    trust: TrustSettings
    audit_log: AuditLogSettings
    policies: Annotated[
        Path,
        Meta(
            description="Folder of purposes, model, resources and grants. Decides who sees what, "
            "as its owners signed it; a set that is not signed, older or faulty refuses to start, "
            "and is not taken up later."
        ),
    ]
    registry: Annotated[
        Path,
        Meta(
            description="Members and their public keys, with a note beside it that enough "
            "administrators signed. Decides who is who."
        ),
    ]
    sources: Annotated[
        dict[str, SourceSettings], Meta(description="By the name that resources.toml uses.")
    ]
    projection: ProjectionSettings = msgspec.field(default_factory=ProjectionSettings)
    quotas: QuotaSettings = msgspec.field(default_factory=QuotaSettings)
    confirm: ConfirmSettings = msgspec.field(default_factory=ConfirmSettings)
    case_systems: Annotated[
        dict[str, KeeperSettings],
        Meta(description="By consumer: confirms that a matter is its own and open."),
    ] = msgspec.field(default_factory=dict)
    consent_registers: Annotated[
        dict[str, KeeperSettings],
        Meta(description="By provider: confirms that a person consented."),
    ] = msgspec.field(default_factory=dict)
    limits: Limits = msgspec.field(default_factory=Limits)


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
    if (settings.audit_log.append_dsn is None) != (settings.audit_log.read_dsn is None):
        wrong.append("audit_log: needs both append_dsn and read_dsn, or neither")
    if (settings.case_systems or settings.consent_registers) and not settings.confirm.signing_key:
        wrong.append("confirm: needs signing_key, as there are case systems or consent registers")
    wrong += [
        f"listen: `{name}` names a port above {_LAST_PORT}"
        for name in ("exchange", "admin")
        if int(getattr(settings.listen, name).rpartition(":")[2]) > _LAST_PORT
    ]
    return None if wrong else _resolved(settings, path.parent), unknown + wrong


def _tables(raw: dict[str, Any]) -> list[tuple[str, dict[str, Any], type[Struct]]]:
    """The tables of the file, innermost first, each with its place and what it should be."""
    listed: list[tuple[str, object, type[Struct]]] = [
        ("listen.tls", _inner(raw, "listen", "tls"), Tls),
        ("listen", raw.get("listen"), Listen),
        ("trust", raw.get("trust"), TrustSettings),
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
    if kind is Path and isinstance(value, str) and "\0" not in value:
        return Path(value)
    raise TypeError(f"Expected the name of a file or folder, got `{type(value).__name__}`")


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
