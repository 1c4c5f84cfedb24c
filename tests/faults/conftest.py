"""Sites of which single parts can be broken: the audit log's server is the test's own."""

import contextlib
from collections.abc import Iterator

import pytest

from sharegate.embedded import EmbeddedPostgres
from tests.postgres import on_a_thread, reachable_directory, stopped_at_the_end
from tests.site import Site, site_on


@contextlib.contextmanager
def breakable_server() -> Iterator[EmbeddedPostgres]:
    """A server to kill, freeze and fill."""
    with reachable_directory() as place:
        server = EmbeddedPostgres(place / "postgres")
        with stopped_at_the_end(server):
            on_a_thread(server.start())
            yield server


@pytest.fixture
def apart(postgres: EmbeddedPostgres) -> Iterator[Site]:
    """A site whose audit log has a server of its own; the sources stay up whatever befalls it."""
    with breakable_server() as server, site_on(server, sources_on=postgres) as site:
        yield site


@pytest.fixture(scope="module")
def module_apart(postgres: EmbeddedPostgres) -> Iterator[Site]:
    """The same for a module whose tests repair what they break."""
    with breakable_server() as server, site_on(server, sources_on=postgres) as site:
        site.gateway()
        yield site


@pytest.fixture
def running(module_apart: Site) -> Site:
    """The module's site, with its gateway ready; it keeps running from test to test."""
    gateway = module_apart.gateways[0]
    if gateway.process is None or gateway.process.poll() is not None:
        gateway.start()
    gateway.wait_until_ready()
    return module_apart


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How many times to kill (``--rounds``)."""
    given: int = request.config.getoption("--rounds")
    return given
