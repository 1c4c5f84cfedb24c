"""The composition root: the only place that builds things and knows them all."""

import gc
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from prometheus_client import CollectorRegistry, ProcessCollector

from sharegate.audit.note import SignerKey
from sharegate.authorize.authorize import Authorize
from sharegate.authorize.ruleset import RuleSet, load_rule_set
from sharegate.consortium.coverage import Coverage
from sharegate.consortium.memory import SignerMemory
from sharegate.consortium.signer import Signer
from sharegate.errors import Misconfigured
from sharegate.fetch.fetch import Fetch
from sharegate.fetch.postgres import PostgresSource
from sharegate.gateway import Gateway
from sharegate.identify.identify import Identify
from sharegate.identify.registry import load_registry
from sharegate.model.catalogue import SourceName
from sharegate.model.party import Registry
from sharegate.observe import Lifecycle, Metrics, Observer, RuleSetLoaded, both
from sharegate.record.migrate import provision
from sharegate.record.postgres import PostgresAuditLog
from sharegate.record.reader import PostgresReader
from sharegate.record.recorder import Recorder
from sharegate.release import Release
from sharegate.settings import AuditLogSettings, Settings
from sharegate.web.admin import AdminRoutes
from sharegate.web.exchange import ExchangeRoutes
from sharegate.web.peers import peer_logger

MEMORY_FILE: Final = "signer.memory"


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that runs.

    Attributes:
        gateway: The walk.
        admin: Its health; set `draining` before stopping.
        exchange_address, admin_address: Where it listens: host and port.
    """

    gateway: Gateway
    admin: AdminRoutes
    exchange_address: tuple[str, int]
    admin_address: tuple[str, int]


@asynccontextmanager
async def running(settings: Settings, lines: Observer) -> AsyncIterator[Running]:
    """Run a gateway for as long as the context is open.

    Args:
        settings: What it is told.
        lines: Where observations go besides the metrics.

    Raises:
        Misconfigured: A setting, the registry, a policy file or the signing key cannot be used.
        LogDiverged: The audit log contradicts the signer's memory.
        PostgresUnavailable: The embedded PostgreSQL does not start.
    """
    metrics = CollectorRegistry()
    ProcessCollector(registry=metrics)
    counted = Metrics(metrics)
    observe = both(counted, lines)
    registry = load_registry(settings.registry)
    rule_set = _rule_set(settings, registry, observe)
    async with AsyncExitStack() as stack:
        audit_log, coverage = await _audit_log(settings.audit_log, observe, stack)
        recorder = Recorder(
            audit_log,
            coverage,
            registry,
            rule_set.catalogue,
            random=os.urandom,
            seconds=settings.audit_log.record_seconds,
        )
        counted.ask_usable(recorder.require_usable)
        gateway = Gateway(
            identify=Identify(
                registry, authority=settings.listen.authority, audience=settings.listen.authority
            ),
            authorize=Authorize(rule_set),
            fetch=Fetch(_sources(settings, rule_set, stack), observe),
            recorder=recorder,
            release=Release(),
            observe=observe,
        )
        admin = AdminRoutes(recorder.require_usable, metrics)
        routes = ExchangeRoutes(gateway, lambda: coverage.checkpoint, settings.limits, observe)
        admin_address = await _listen(admin.application(), settings.listen.admin, stack)
        address = await _listen(routes.application(), settings.listen.exchange, stack)
        # What was built lives as long as the process: a collection that walked 100,000 grants each
        # time would stop every exchange for as long.
        gc.collect()
        gc.freeze()
        observe(Lifecycle("started", f"{address[0]}:{address[1]}"))
        yield Running(gateway, admin, address, admin_address)
        observe(Lifecycle("stopping", "draining"))
    observe(Lifecycle("stopped", ""))


def load_signing_key(settings: AuditLogSettings) -> SignerKey:
    """Read the log's signing key.

    Raises:
        Misconfigured: It is not there, or not an Ed25519 key.
    """
    place = f"audit_log.signing_key ({settings.signing_key})"
    try:
        key = load_pem_private_key(settings.signing_key.read_bytes(), password=None)
    except OSError as error:
        raise Misconfigured(place, error.strerror or "cannot be read") from error
    except (ValueError, TypeError) as error:
        raise Misconfigured(place, "is not an unencrypted PEM private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(place, "is not an Ed25519 key")
    return SignerKey(settings.origin, key)


def _rule_set(settings: Settings, registry: Registry, observe: Observer) -> RuleSet:
    began = perf_counter()
    rule_set = load_rule_set(settings.policies, registry.departments)
    observe(RuleSetLoaded(rule_set.hash, len(rule_set.grants), perf_counter() - began))
    return rule_set


async def _audit_log(
    settings: AuditLogSettings, observe: Observer, stack: AsyncExitStack
) -> tuple[PostgresAuditLog, Coverage]:
    """Connect to the audit log and begin to sign it, or to follow the process that does."""
    key = load_signing_key(settings)
    _make_state_directory(settings.state)
    append_dsn, read_dsn = await stack.enter_async_context(audit_log_logins(settings))
    finder, reader = PostgresReader(read_dsn), PostgresReader(read_dsn)
    stack.push_async_callback(finder.close)
    stack.push_async_callback(reader.close)
    audit_log = PostgresAuditLog(append_dsn, finder, observe, seconds=settings.record_seconds)
    await audit_log.start()
    stack.push_async_callback(audit_log.stop)
    coverage = Coverage(reader)
    memory = SignerMemory(settings.state / MEMORY_FILE, settings.origin)
    signer = Signer(key, memory, reader, coverage, audit_log, observe)
    await signer.start()
    stack.push_async_callback(signer.stop)
    return audit_log, coverage


@asynccontextmanager
async def audit_log_logins(settings: AuditLogSettings) -> AsyncIterator[tuple[str, str]]:
    """Give the DSNs that append to and read the audit log, for as long as the context is open.

    Where the settings name none, the embedded PostgreSQL under `state` is used if it runs, and
    else runs meanwhile.

    Raises:
        PostgresUnavailable: The embedded PostgreSQL does not start.
    """
    if settings.append_dsn is not None and settings.read_dsn is not None:
        yield settings.append_dsn, settings.read_dsn
        return
    # Imported here: its wheel is an extra that a site with its own PostgreSQL does not install.
    from sharegate.embedded import EmbeddedPostgres  # noqa: PLC0415

    async with EmbeddedPostgres(settings.state / "postgres") as server:
        yield await provision(server.dsn, settings.origin)


def _sources(
    settings: Settings, rule_set: RuleSet, stack: AsyncExitStack
) -> dict[SourceName, PostgresSource]:
    """One adapter for each configured source; every source the catalogue names must be there."""
    named = {resource.source for resource in rule_set.catalogue.resources.values()}
    missing = sorted(named - set(settings.sources))
    if missing:
        raise Misconfigured(f"sources.{missing[0]}", "named by resources.toml, but not configured")
    sources = {}
    for name, source in settings.sources.items():
        adapter = PostgresSource(
            source.dsn,
            connections=source.connections,
            seconds=source.seconds,
        )
        stack.push_async_callback(adapter.close)
        sources[SourceName(name)] = adapter
    return sources


async def _listen(
    application: web.Application, address: str, stack: AsyncExitStack
) -> tuple[str, int]:
    """Serve an application at host:port; port 0 takes a free one."""
    host, _, port = address.rpartition(":")
    # auto_decompress off: the digest is of the bytes as sent, and no body expands in memory.
    runner = web.AppRunner(
        application, access_log=None, auto_decompress=False, logger=peer_logger()
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port), shutdown_timeout=10).start()
    except OSError as error:
        raise Misconfigured(f"listen {address}", error.strerror or "cannot listen") from error
    bound: tuple[str, int] = runner.addresses[0][:2]
    return bound


def _make_state_directory(state: Path) -> None:
    try:
        state.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"audit_log.state ({state})", error.strerror or "cannot make"
        ) from error
    if not os.access(state, os.W_OK | os.X_OK):
        raise Misconfigured(f"audit_log.state ({state})", "cannot be written to")
