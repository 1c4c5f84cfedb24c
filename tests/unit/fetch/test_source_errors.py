"""Whatever the driver raises, the walk gets a failure it knows, without a word of the source's."""

import asyncio

import asyncpg
import pytest

from sharegate.fetch.postgres import _failure, _only_the_statement
from sharegate.fetch.source import SourceTimeout, SourceUnavailable, Trouble

CANARY = "canary-55aa"


@pytest.mark.parametrize(
    ("error", "kind", "trouble"),
    [
        (TimeoutError(CANARY), SourceTimeout, Trouble.SLOW),
        (asyncpg.QueryCanceledError(CANARY), SourceTimeout, Trouble.SLOW),
        (asyncpg.UndefinedTableError(CANARY), SourceUnavailable, Trouble.REJECTED),
        (asyncpg.InvalidTextRepresentationError(CANARY), SourceUnavailable, Trouble.REJECTED),
        (asyncpg.AdminShutdownError(CANARY), SourceUnavailable, Trouble.DOWN),
        (asyncpg.ConnectionDoesNotExistError(CANARY), SourceUnavailable, Trouble.DOWN),
        (asyncpg.InterfaceError(CANARY), SourceUnavailable, Trouble.DOWN),
        (asyncpg.InternalClientError(CANARY), SourceUnavailable, Trouble.DOWN),
        (ConnectionResetError(CANARY), SourceUnavailable, Trouble.DOWN),
        (
            UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, ""),
            SourceUnavailable,
            Trouble.UNREPRESENTABLE,
        ),
    ],
)
def test_what_is_said_instead(error, kind, trouble):
    said = _failure(error, waited_only=False)
    assert type(said) is kind
    assert said.trouble is trouble
    assert CANARY not in repr(said)


@pytest.mark.parametrize("error", [
    OverflowError(CANARY), ValueError(CANARY), AttributeError(CANARY), IndexError(CANARY),
])  # fmt: skip
def test_what_the_driver_trips_over_is_the_sources_doing(error):
    said = _failure(error, waited_only=False)
    odd = isinstance(error, OverflowError | ValueError)
    assert said.trouble is (Trouble.UNREPRESENTABLE if odd else Trouble.DOWN)
    assert CANARY not in repr(said)


def test_waiting_in_vain_is_busy():
    assert _failure(TimeoutError(), waited_only=True).trouble is Trouble.BUSY


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SourceUnavailable(Trouble.DOWN)])
def test_what_is_not_the_sources_error_stays_what_it_is(error):
    assert _failure(error, waited_only=True) is None


def test_a_connection_that_was_shut_down_is_not_lent_again():
    assert _only_the_statement(asyncpg.UndefinedColumnError(""))
    assert not _only_the_statement(asyncpg.AdminShutdownError(""))
