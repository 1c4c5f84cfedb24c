"""A demo that cannot be played says why, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from sharegate.cli.demo import stage
from sharegate.cli.main import main
from sharegate.embedded import EmbeddedPostgres
from sharegate.errors import Misconfigured
from tests.postgres import reachable_directory, stopped_at_the_end
from tests.site import POLICIES


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


def test_a_second_demo_in_the_place_of_a_running_one_changes_nothing_there(tmp_path, capsys):
    (tmp_path / "registry.toml").write_text("the first one's")
    with stage.alone_in(tmp_path):
        before = sorted(tmp_path.iterdir())
        assert main(["demo", "--once", "--place", str(tmp_path), "--policies", str(POLICIES)]) == 1
        assert sorted(tmp_path.iterdir()) == before
    assert f"a demo already runs in {tmp_path}" in capsys.readouterr().err
    assert (tmp_path / "registry.toml").read_text() == "the first one's"


def test_a_demo_that_was_killed_is_in_nobodys_way_though_what_it_started_lives(tmp_path):
    """Its gateway and witnesses do not inherit the lock."""
    story = """
        import pathlib, subprocess, sys
        from sharegate.cli.demo.stage import alone_in

        with alone_in(pathlib.Path(sys.argv[1])):
            print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid, flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(story), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as demo:  # fmt: skip
        started = int(demo.stdout.readline())
        try:
            with pytest.raises(Misconfigured, match="already runs"), stage.alone_in(tmp_path):
                pass
            demo.kill()
            demo.wait()
            with stage.alone_in(tmp_path):
                pass
        finally:
            os.kill(started, signal.SIGKILL)
