"""Fixtures every test may use."""

import pytest

from tests.postgres import database, postgres, private_postgres
from tests.site import module_site, site

__all__ = ["database", "module_site", "postgres", "private_postgres", "site"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the fault tests last: `make faults` asks for more than `make test`."""
    parser.addoption(
        "--rounds", type=int, default=20, help="how many times tests/faults kills each process"
    )
