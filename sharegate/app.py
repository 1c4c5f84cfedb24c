"""The composition root: the only place that builds things and knows them all."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector

from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.authorize.hearing import Hearing, officers
from sharegate.authorize.settle import Settle
from sharegate.authorize.settling import load_confirm_key, settling
from sharegate.consortium.projection import ProjectionFollower
from sharegate.consortium.signed_log import SignedLog, signed_log
from sharegate.consortium.standing import StandingEntries
from sharegate.errors import AuditLogUnavailable, LogDiverged, Misconfigured
from sharegate.fetch.fetch import Fetch
from sharegate.fetch.postgres import PostgresSource
from sharegate.gateway import Gateway
from sharegate.identify.discovery import PublishedKeys
from sharegate.identify.identify import Identify
from sharegate.in_force import InForce, Judge, SetMemory, load_members
from sharegate.in_force.memory import VERSIONS_FILE
from sharegate.metrics import Metrics
from sharegate.model.catalogue import SourceName
from sharegate.model.party import Registry
from sharegate.observe import IssuerKeys, Lifecycle, Observer, both
from sharegate.private_keys import load_ed25519, seed_of
from sharegate.record.blind import INDEX_KEY_BYTES, blind_index
from sharegate.record.migrate import provision, provisioned_erasure, provisioned_search
from sharegate.record.projected import PostgresProjection
from sharegate.record.recorder import Recorder
from sharegate.record.suite import SUITES
from sharegate.release import Release
from sharegate.settings import AuditLogSettings, Settings
from sharegate.web.admin import AdminRoutes
from sharegate.web.channel import channel, no_channel, tls_context
from sharegate.web.exchange import ExchangeRoutes
from sharegate.web.listening import listen

_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that runs.

    Attributes:
        gateway: The walk.
        admin: Its health; set `closed` before stopping.
        recorder: Writes into its log.
        members: Gives those in force.
        published: The keys of issuers that publish them themselves.
        exchange_address, admin_address: Where it listens: host and port.
    """

    gateway: Gateway
    admin: AdminRoutes
    recorder: Recorder
    members: Callable[[], Registry]
    published: PublishedKeys
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
    published = PublishedKeys(
        lambda issuer, why: observe(
            IssuerKeys(not why, f"{issuer} {why or 'gives its keys again'}")
        )
    )
    in_force = _in_force(settings, published, observe)
    registry = in_force.rules.registry
    async with AsyncExitStack() as stack:
        access = await _access(settings.audit_log, stack)
        signed = await _signed(settings.audit_log, access, observe, stack)
        recorder = _recorder(settings, signed, registry)
        counted.ask_usable(recorder.require_usable)
        if signed.witnessed is not None:
            standing = StandingEntries(signed.witnessed, signed.signer, recorder)
            standing.start()
            stack.push_async_callback(standing.stop)
        published.start()
        stack.push_async_callback(published.stop)
        in_force.start(recorder)
        stack.push_async_callback(in_force.stop)
        settle, hearing = await _settle(settings, access, in_force, recorder, observe, stack)
        gateway = Gateway(
            identify=in_force.identify,
            authorize=in_force.authorize,
            settle=settle,
            fetch=Fetch(_sources(settings, stack), observe),
            recorder=recorder,
            release=Release(),
            hearing=hearing,
            observe=observe,
        )

        def members() -> Registry:
            return in_force.rules.registry

        def require_ready() -> None:
            in_force.require_usable()
            recorder.require_witnessed(detail=True)

        admin = AdminRoutes(require_ready, metrics)
        tls = settings.listen.tls
        routes = ExchangeRoutes(
            gateway,
            lambda: signed.checkpoint,
            settings.limits,
            observe,
            no_channel if tls is None or tls.client_authorities is None else channel(),
            lambda: in_force.rules.rule_set.catalogue,
        )
        admin.closed = "starting"  # until departments can ask: who is told otherwise sends them
        admin_address = await listen(admin.application(), settings.listen.admin, stack)
        address = await listen(
            routes.application(),
            settings.listen.exchange,
            stack,
            None if tls is None else tls_context(tls),
        )
        admin.closed = None
        await _project(settings, access, observe, stack)
        # What was built lives as long as the process: a collection that walked 100,000 grants each
        # time would stop every exchange for as long.
        gc.collect()
        gc.freeze()
        observe(Lifecycle("started", f"{address[0]}:{address[1]}"))
        yield Running(gateway, admin, recorder, members, published, address, admin_address)
        observe(Lifecycle("stopping", "draining"))
    observe(Lifecycle("stopped", ""))


@asynccontextmanager
async def recording(settings: Settings, observe: Observer) -> AsyncIterator[Recorder]:
    """Write acts into the audit log from a command, beside whatever gateways run or alone.

    Raises:
        Misconfigured: A setting, the registry or a key cannot be used.
        AuditLogUnavailable: The audit log is not usable now.
        LogDiverged: The audit log contradicts the signer's memory.
    """
    registry = load_members(settings)
    async with AsyncExitStack() as stack:
        access = await _access(settings.audit_log, stack)
        signed = await _signed(settings.audit_log, access, observe, stack)
        recorder = _recorder(settings, signed, registry)
        await _until_usable(recorder, settings.audit_log.record_seconds)
        yield recorder


async def _until_usable(recorder: Recorder, seconds: float) -> None:
    """Wait for the first checkpoint of whoever signs; beside a gateway that takes a moment."""
    until = perf_counter() + seconds
    while True:
        try:
            recorder.require_usable()
        except AuditLogUnavailable:
            if perf_counter() >= until:
                raise
        else:
            return
        await asyncio.sleep(_LOOK_SECONDS)


def load_index_key(settings: AuditLogSettings) -> bytes | None:
    """Read the blind-index key; None where the settings name none.

    Raises:
        Misconfigured: It cannot be read, or is not 32 bytes.
    """
    if settings.index_key is None:
        return None
    place = f"audit_log.index_key ({settings.index_key})"
    try:
        key = settings.index_key.read_bytes()
    except OSError as error:
        raise Misconfigured(place, error.strerror or "cannot be read") from error
    if len(key) != INDEX_KEY_BYTES:
        raise Misconfigured(place, f"is not {INDEX_KEY_BYTES} bytes")
    return key


def _recorder(settings: Settings, signed: SignedLog, registry: Registry) -> Recorder:
    key = load_index_key(settings.audit_log)
    return Recorder(
        signed.audit_log,
        signed.coverage,
        registry,
        random=os.urandom,
        seconds=settings.audit_log.record_seconds,
        details=SUITES[settings.audit_log.details],
        blind=None if key is None else blind_index(key),
        witnesses=signed.witnessed,
    )


def load_signing_key(settings: AuditLogSettings) -> SignerKey:
    """Read the log's signing key.

    Raises:
        Misconfigured: It is not there, or not an Ed25519 key.
    """
    place = f"audit_log.signing_key ({settings.signing_key})"
    key = load_ed25519(settings.signing_key, place)
    return SignerKey(settings.origin, key)


def _in_force(settings: Settings, published: PublishedKeys, observe: Observer) -> InForce:
    """Read what decides, as it was signed."""
    authority = settings.listen.authority

    def identify(registry: Registry) -> Identify:
        return Identify(registry, authority=authority, audience=authority, published=published)

    memory = SetMemory(settings.audit_log.state / VERSIONS_FILE)
    judge = Judge.of(settings, identify)
    return InForce(judge, memory, observe, lambda registry: published.follow(registry.issuers))


@dataclass(frozen=True, slots=True)
class _Access:
    """What opens one audit log: its key, and the DSNs that append to it and read it."""

    key: SignerKey
    append_dsn: str
    read_dsn: str


async def _access(settings: AuditLogSettings, stack: AsyncExitStack) -> _Access:
    key = load_signing_key(settings)
    _make_state_directory(settings.state)
    return _Access(key, *await stack.enter_async_context(audit_log_logins(settings)))


async def _signed(
    settings: AuditLogSettings, access: _Access, observe: Observer, stack: AsyncExitStack
) -> SignedLog:
    dsns = access.append_dsn, access.read_dsn
    return await signed_log(settings, access.key, dsns, observe, stack)


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
        logins = await provision(server.dsn, settings.origin)
        keeping = asyncio.create_task(server.keep_running())
        try:
            yield logins
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])


@asynccontextmanager
async def projection_logins(settings: Settings) -> AsyncIterator[tuple[str | None, str | None]]:
    """Give the DSNs that fill and that search the projection; None where there is none.

    With the embedded PostgreSQL, only while :func:`audit_log_logins` is open.
    """
    if settings.audit_log.append_dsn is not None:
        yield settings.projection.dsn, settings.projection.search_dsn
        return
    from sharegate.embedded import EmbeddedPostgres  # noqa: PLC0415  see above

    async with EmbeddedPostgres(settings.audit_log.state / "postgres") as server:
        yield provisioned_search(server.dsn)


@asynccontextmanager
async def erasure_login(settings: AuditLogSettings, dsn: str | None) -> AsyncIterator[str]:
    """Give the DSN that erases details: the one given, or the embedded PostgreSQL's own.

    With the embedded PostgreSQL, only while :func:`audit_log_logins` is open.

    Raises:
        Misconfigured: None is given, and the PostgreSQL is not the embedded one.
    """
    if dsn is not None:
        yield dsn
        return
    if settings.append_dsn is not None:
        raise Misconfigured("--dsn", "is needed: a login with the role sharegate_erase")
    from sharegate.embedded import EmbeddedPostgres  # noqa: PLC0415  see above

    async with EmbeddedPostgres(settings.state / "postgres") as server:
        yield provisioned_erasure(server.dsn)


async def _project(
    settings: Settings, access: _Access, observe: Observer, stack: AsyncExitStack
) -> None:
    """Fill the projection, if the settings say so, for as long as the gateway runs."""
    dsn, _ = await stack.enter_async_context(projection_logins(settings))
    if dsn is None or not settings.projection.follow:
        return
    projection = PostgresProjection(dsn)
    stack.push_async_callback(projection.close)
    key = VerifierKey.parse(access.key.vkey)
    following = asyncio.create_task(ProjectionFollower(key, projection, observe).run())

    async def stop() -> None:
        following.cancel()
        # It said so when it happened; the signer judges the log by itself.
        with suppress(asyncio.CancelledError, LogDiverged):
            await following

    stack.push_async_callback(stop)


async def _settle(
    settings: Settings,
    access: _Access,
    in_force: InForce,
    recorder: Recorder,
    observe: Observer,
    stack: AsyncExitStack,
) -> tuple[Settle, Hearing]:
    """Connect to what settles; counts and rulings stand in the audit log's own database."""
    dsn, seed = access.append_dsn, seed_of(access.key.private_key)
    key = load_confirm_key(settings.confirm)
    under, members = in_force.authorize.under, lambda: in_force.rules.registry
    rulings, hearing = await stack.enter_async_context(
        officers(dsn, seed, members, under, recorder, observe)
    )
    departments = in_force.rules.registry.departments
    settle = await stack.enter_async_context(
        settling(settings, departments, rulings, observe, dsn=dsn, seed=seed, key=key)
    )
    return settle, hearing


def _sources(settings: Settings, stack: AsyncExitStack) -> dict[SourceName, PostgresSource]:
    """One adapter for each configured source; that the catalogue names no other was seen to."""
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


def _make_state_directory(state: Path) -> None:
    try:
        state.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"audit_log.state ({state})", error.strerror or "cannot make"
        ) from error
    if not os.access(state, os.W_OK | os.X_OK):
        raise Misconfigured(f"audit_log.state ({state})", "cannot be written to")
