"""What the doctor says of the projection's logins, and of how far it reaches."""

import pytest

from sharegate.cli.doctor import projection as checks
from sharegate.cli.doctor.finding import Verdict
from sharegate.cli.doctor.projection import check_projection
from sharegate.settings import ProjectionSettings
from tests.integration.audit_database import draft
from tests.integration.searchable import searchable


@pytest.fixture
async def place(database):
    return await searchable(database)


def settings(place, **changes):
    return ProjectionSettings(**({"dsn": place.project, "search_dsn": place.search} | changes))


def wrongs(found):
    return {each.what: each.detail for each in found if each.verdict is Verdict.WRONG}


async def test_it_finds_nothing_where_nothing_is_wrong(place):
    found = await check_projection(settings(place))
    assert [each.what for each in found] == ["projection login", "projection", "auditors' login"]
    assert {each.verdict for each in found} == {Verdict.OK}, found
    assert "0 of 0 signed" in found[1].detail
    assert await check_projection(ProjectionSettings()) == []


async def test_logins_that_are_exchanged_or_too_mighty_are_wrong(place):
    swapped = settings(place, dsn=place.search, search_dsn=place.project)
    said = wrongs(await check_projection(swapped))
    assert "sealed details" in said["projection login"]
    assert "may write search_entry" in said["auditors' login"]
    said = wrongs(await check_projection(settings(place, dsn=place.database.owner)))
    assert "plain login" in said["projection login"]


async def test_one_that_lags_is_to_be_looked_at(place, monkeypatch):
    await place.append(draft(), draft())
    await place.sign()
    monkeypatch.setattr(checks, "_BEHIND", 1)
    found = await check_projection(settings(place))
    assert [each.what for each in found if each.verdict is Verdict.WARN] == ["projection"]


async def test_no_database_or_none_that_was_migrated_is_wrong(place, database):
    nowhere = "postgresql://x:canary@127.0.0.1:1/x"
    said = wrongs(await check_projection(settings(place, dsn=nowhere)))
    assert "canary" not in said["projection login"]
    await place.database.ask("drop table sharegate.search_place")
    assert "migrate" in wrongs(await check_projection(settings(place)))["projection login"]
