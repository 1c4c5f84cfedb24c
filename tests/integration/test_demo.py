"""A demo that cannot be played says why, and leaves nothing behind."""

import pytest

from sharegate.cli.demo import stage
from sharegate.cli.main import main
from sharegate.embedded import EmbeddedPostgres
from sharegate.errors import Misconfigured
from tests.postgres import reachable_directory, stopped_at_the_end


def test_policies_that_are_not_there_are_said_before_anything_is_made(tmp_path, capsys):
    place, policies = tmp_path / "demo", tmp_path / "none"
    demo = ["demo", "--once", "--place", str(place), "--policies", str(policies)]
    assert main(demo) == 1
    assert f"--policies: there is no folder {policies}" in capsys.readouterr().err
    assert not place.exists()


async def test_whatever_fails_after_postgresql_was_started_stops_it(tmp_path, monkeypatch):
    async def no_departments(*_, **__):
        return {}

    monkeypatch.setattr(stage, "build_departments", no_departments)
    with reachable_directory() as place:
        server = EmbeddedPostgres(place / "postgres")
        monkeypatch.setattr(stage, "EmbeddedPostgres", lambda _: server)
        with stopped_at_the_end(server):
            with pytest.raises(Misconfigured, match="has no policy file"):
                await stage.build_stage(place, tmp_path, lambda _: None)
            assert not server.running
