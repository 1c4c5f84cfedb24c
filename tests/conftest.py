"""Fixtures every test may use."""

import hypothesis
import pytest

from tests.postgres import database, postgres, private_postgres
from tests.site import module_site, site

__all__ = ["database", "module_site", "postgres", "private_postgres", "site"]


# For `make mutants`, which runs the tests some thousand times over.
hypothesis.settings.register_profile("mutants", max_examples=25, deadline=None, derandomize=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the fault tests last: `make faults` asks for more than `make test`."""
    parser.addoption(
        "--rounds", type=int, default=20, help="how many times tests/faults kills each process"
    )
