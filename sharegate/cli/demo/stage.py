"""The demo's stage: databases, keys, registry and settings, under one directory."""

import fcntl
import os
import secrets
import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.note import SignerKey
from sharegate.cli.demo.departments import build_departments
from sharegate.cli.demo.ports import kept_port
from sharegate.cli.demo.witnesses import Consortium, build_consortium
from sharegate.cli.keys import new_detail_key, new_signing_key
from sharegate.cli.policy.sign import sign_policies
from sharegate.cli.registry import sign_registry
from sharegate.embedded import EmbeddedPostgres
from sharegate.errors import Misconfigured
from sharegate.identify.officer import MAX_LIFETIME_S, issue_token
from sharegate.private_keys import load_ed25519
from sharegate.record.migrate import DATABASE, provision, provisioned_search

ORIGIN: Final = "sharegate.example/demo"
DEPARTMENTS: Final = {
    "civil-affairs": ("民政局", "Civil Affairs Bureau", "zhang.wei"),
    "housing": ("住房和城乡建设局", "Housing Bureau", "li.na"),
    "tax": ("税务局", "Tax Bureau", "wang.fang"),
}
AUDITOR: Final = "zhou-min"
ADMINISTRATORS: Final = ("administrator-one", "administrator-two", "administrator-three")
THRESHOLD: Final = 2
_DEPARTMENT: Final = """
[[department]]
id = "{id}"
name_zh = "{name_zh}"
name_en = "{name_en}"
detail_key = "{detail_key}"
policy_keys = ["{policy_key}"]

[[department.key]]
key_id = "{id}-demo"
public = "{public}"
not_before = 2025-01-01T00:00:00Z
not_after = 2035-01-01T00:00:00Z

[[department.issuer]]
issuer = "https://officers.{id}.example"
algorithm = "EdDSA"
jwk = {{ kty = "OKP", crv = "Ed25519", x = "{x}" }}
"""
_AUDITOR: Final = """
[[department]]
id = "discipline-inspection"
name_zh = "纪委监委"
name_en = "Discipline Inspection Office"

[[person]]
id = "{id}"
department = "discipline-inspection"
role = "audit"
public = "{public}"
not_before = 2025-01-01T00:00:00Z
not_after = 2035-01-01T00:00:00Z
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything of the demo is.

    Attributes:
        server: The PostgreSQL server that plays every database.
        config: The gateway's settings file.
        callers: Each department's settings for `sharegate call`.
        keys: The folder of everybody's private keys.
        consortium: The members' witnesses, not started.
        log_key: The log's public key.
    """

    server: EmbeddedPostgres
    config: Path
    callers: dict[str, Path]
    keys: Path
    consortium: Consortium
    log_key: str
    exchange_url: str
    admin_url: str


@contextmanager
def alone_in(place: Path) -> Iterator[None]:
    """Be the only demo there; the kernel lets go when the process ends, however it ends.

    Raises:
        Misconfigured: Another demo runs there, or the place cannot be used at all.
    """
    try:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(f"--place ({place})", error.strerror or "cannot be used") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured("--place", f"a demo already runs in {place}") from None
        yield
    finally:
        os.close(lock)


async def build_stage(place: Path, policies: Path, say: Callable[[str], None]) -> Stage:
    """Build what is missing and start the databases; a second run finds all in place.

    Args:
        place: The demo's directory.
        policies: The folder of policies to copy and sign.
        say: Told of each slow step.

    Raises:
        Misconfigured: A file that should be there is not what it was.
        PostgresUnavailable: The embedded PostgreSQL does not start.
    """
    for folder in (place, place / "keys", place / "callers"):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    say("starting PostgreSQL from its wheel (initdb the first time)")
    server = EmbeddedPostgres(place / "postgres")
    await server.start()
    try:
        return await _furnished(server, place, policies, say)
    except BaseException:
        await server.stop()
        raise


async def _furnished(
    server: EmbeddedPostgres, place: Path, policies: Path, say: Callable[[str], None]
) -> Stage:
    audit_dsns = await provision(server.dsn, ORIGIN)
    sources = await build_departments(
        server, passwords=lambda role: _secret(place / "keys" / f"{role}.password"), say=say
    )
    say("making keys, officers' tokens, the registry and the settings")
    exchange, admin = kept_port(place / "exchange.port"), kept_port(place / "admin.port")
    log_key = SignerKey(ORIGIN, _signing_key(place / "keys" / "log.pem")).vkey
    write_registry(place, _auditor(place / "keys"))
    copy_policies(policies, place / "policies")
    sign_everything(place)
    _index_key(place / "keys" / "index.key")
    consortium = build_consortium(place, log_key)
    config = write_settings(
        place,
        policies=place / "policies",
        ports=(exchange, admin),
        audit_dsns=audit_dsns,
        sources=sources,
        projection=provisioned_search(server.dsn, DATABASE),
        quorum=consortium.quorum,
    )
    return Stage(
        server=server,
        config=config,
        callers={name: write_caller(place, name, exchange, log_key) for name in DEPARTMENTS},
        keys=place / "keys",
        consortium=consortium,
        log_key=log_key,
        exchange_url=f"http://127.0.0.1:{exchange}",
        admin_url=f"http://127.0.0.1:{admin}",
    )


def write_settings(
    place: Path,
    *,
    policies: Path,
    ports: tuple[int, int],
    audit_dsns: tuple[str, str],
    sources: Mapping[str, str],
    projection: tuple[str, str] | None = None,
    quorum: Path | None = None,
) -> Path:
    """Write the gateway's settings file, and give its path.

    Args:
        place: The demo's directory.
        policies: The signed ones.
        ports: For exchanges, and for the operator.
        audit_dsns: To append to the audit log, and to read it.
        sources: By name.
        projection: To fill what auditors search, and to search it; there is none by default.
        quorum: The quorum file; without, the log has no witnesses.
    """
    exchange, admin = ports
    append_dsn, read_dsn = audit_dsns
    tables = "".join(f'\n[sources.{name}]\ndsn = "{dsn}"\n' for name, dsn in sources.items())
    administrators = ", ".join(
        f'"{SignerKey(name, _signing_key(place / "keys" / f"{name}.pem")).vkey}"'
        for name in ADMINISTRATORS
    )
    index = "" if quorum is None else f'quorum = "{quorum}"\n'
    if projection is not None:
        index += 'index_key = "keys/index.key"\n'
        tables += f'\n[projection]\ndsn = "{projection[0]}"\nsearch_dsn = "{projection[1]}"\n'
    config = place / "gateway.toml"
    config.touch(mode=0o600)
    config.write_text(
        f'policies = "{policies.resolve()}"\nregistry = "registry.toml"\n\n[listen]\n'
        f'exchange = "127.0.0.1:{exchange}"\nadmin = "127.0.0.1:{admin}"\n'
        f'authority = "127.0.0.1:{exchange}"\n\n[trust]\nadministrators = [{administrators}]\n'
        f'threshold = {THRESHOLD}\n\n[audit_log]\norigin = "{ORIGIN}"\n'
        f'append_dsn = "{append_dsn}"\nread_dsn = "{read_dsn}"\n'
        f'signing_key = "keys/log.pem"\nstate = "state"\n{index}{tables}',
        encoding="utf-8",
    )
    return config


def write_registry(place: Path, more: str = "") -> None:
    """The demo plays every department, and the audit office, so it makes all their keys.

    Args:
        place: The demo's directory.
        more: Departments and persons besides.
    """
    keys = place / "keys"
    departments = []
    for name, (name_zh, name_en, _officer) in DEPARTMENTS.items():
        member = _signing_key(keys / f"{name}.pem").public_key().public_bytes_raw()
        issuer = _signing_key(keys / f"{name}.issuer.pem").public_key().public_bytes_raw()
        departments.append(
            _DEPARTMENT.format(
                id=name,
                name_zh=name_zh,
                name_en=name_en,
                detail_key=_detail_key(keys / f"{name}.detail.pem"),
                policy_key=SignerKey(name, _signing_key(keys / f"{name}.policy.pem")).vkey,
                public=b64encode(member).decode(),
                x=b64encode(issuer, altchars=b"-_").decode().rstrip("="),
            )
        )
    office = _detail_key(keys / "audit-office.detail.pem")
    text = f'audit_office_key = "{office}"\n' + "".join(departments) + more
    file = place / "registry.toml"
    version, _, former = file.read_text("utf-8").partition("\n") if file.exists() else ("", "", "")
    number = int(version.removeprefix("version = ")) if version.startswith("version = ") else 0
    file.write_text(f"version = {number + (former != text)}\n{text}", encoding="utf-8")


def _auditor(keys: Path) -> str:
    public = _signing_key(keys / f"{AUDITOR}.pem").public_key().public_bytes_raw()
    return _AUDITOR.format(id=AUDITOR, public=b64encode(public).decode())


def copy_policies(ours: Path, folder: Path) -> None:
    """Bring a copy of the policies up to date; notes that are there stay, to be signed on."""
    for old in folder.rglob("*.*"):
        if (
            old.is_file()
            and old.suffix != ".note"
            and not (ours / old.relative_to(folder)).exists()
        ):
            old.unlink()
    shutil.copytree(ours, folder, dirs_exist_ok=True)


def sign_everything(place: Path, policies: Path | None = None) -> None:
    """Sign the registry and the policies as each of those who must; the demo plays them all.

    Args:
        place: The demo's directory, with the keys.
        policies: By default the copy in `place`.
    """
    keys = place / "keys"
    policies = policies or place / "policies"
    for name in ADMINISTRATORS[:THRESHOLD]:
        _signing_key(keys / f"{name}.pem")
        sign_registry(place / "registry.toml", keys / f"{name}.pem", name)
        sign_policies(policies, keys / f"{name}.pem", name)
    for name in DEPARTMENTS:
        if (policies / name).is_dir():
            sign_policies(policies / name, keys / f"{name}.policy.pem")


def write_caller(place: Path, name: str, port: int, log_key: str) -> Path:
    """Write a department's settings for `sharegate call`, with a day's officer token."""
    token = issue_token(
        _signing_key(place / "keys" / f"{name}.issuer.pem"),
        issuer=f"https://officers.{name}.example",
        officer=DEPARTMENTS[name][2],
        department=name,
        audience=f"127.0.0.1:{port}",
        now=int(time.time()),
        lifetime_s=MAX_LIFETIME_S,
    )
    token_file = place / "callers" / f"{name}.token"
    token_file.write_text(token, encoding="ascii")
    token_file.chmod(0o600)
    caller = place / "callers" / f"{name}.toml"
    caller.write_text(
        f'gateway = "http://127.0.0.1:{port}"\nkey_id = "{name}-demo"\n'
        f'key = "../keys/{name}.pem"\ntoken = "{name}.token"\nlog_key = "{log_key}"\n'
        f'store = "../receipts/{name}"\n',
        encoding="utf-8",
    )
    return caller


def _signing_key(file: Path) -> Ed25519PrivateKey:
    if not file.exists():
        return new_signing_key(file)
    return load_ed25519(file)


def _detail_key(file: Path) -> str:
    public = file.with_suffix(".pub")
    if not public.exists():
        public.write_text(b64encode(new_detail_key(file)).decode(), encoding="ascii")
    return public.read_text(encoding="ascii")


def _secret(file: Path) -> str:
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24), encoding="ascii")
    return file.read_text(encoding="ascii")


def _index_key(file: Path) -> None:
    if not file.exists():
        file.touch(mode=0o600)
        file.write_bytes(secrets.token_bytes(32))
