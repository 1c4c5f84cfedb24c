"""The tree of settings: each field says what it is, whom it trusts, and what is lost with it."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

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


class WitnessesSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far a log that has witnesses may be ahead of them.

    An idle log is shown to them every 20 s, so less than a minute would come and go by itself.
    """

    stale_seconds: Annotated[
        int,
        Meta(ge=60, le=86_400, description="How old a quorum's word may be while data is read."),
    ] = 15 * 60
    stale_entries: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="How many entries it may miss while data is read."),
    ] = 10_000
    closed_seconds: Annotated[
        int,
        Meta(
            ge=60,
            le=7 * 86_400,
            description="How old it may be while anything is answered but break-glass.",
        ),
    ] = 4 * 3600


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
            description="Ed25519 private key (PEM, PKCS#8, or the URI of a token's). Secret. "
            "Whoever has it can sign checkpoints as this log; lost, the log ends and a new origin "
            "begins."
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
    witnesses: WitnessesSettings = msgspec.field(default_factory=WitnessesSettings)
    details: Annotated[
        Literal["A256GCM", "SM4GCM-SM3"],
        Meta(
            description="With what new entries' details are sealed: AES-256-GCM with SHA-256, or "
            "SM4-GCM with SM3 where GM/T 0054 binds you (no certified module, though). Older "
            "ones open all the same."
        ),
    ] = "A256GCM"
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
    body_seconds: Annotated[
        float, Meta(gt=0, le=300, description="How long a request's body may take to arrive.")
    ] = 10.0
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
    ] = msgspec.field(default_factory=dict)
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
