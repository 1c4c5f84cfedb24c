"""Fixtures every test may use."""

from pathlib import Path

import hypothesis
import pytest

from tests.postgres import database, postgres, private_postgres
from tests.site import module_site, site

__all__ = ["database", "module_site", "postgres", "private_postgres", "site"]


# For `make mutants`, which runs the tests some thousand times over.
hypothesis.settings.register_profile("mutants", max_examples=25, deadline=None, derandomize=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What strangers' software says is asked by `make strangers` alone: it fetches compilers."""
    return True if collection_path.name == "strangers" and not config.option.strangers else None


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the fault tests last, and whether strangers are asked."""
    parser.addoption("--strangers", action="store_true", help="collect tests/strangers too")
    parser.addoption(
        "--rounds", type=int, default=20, help="how many times tests/faults kills each process"
    )
