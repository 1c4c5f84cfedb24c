"""`make stressed` puts the machine under load for as long as the tests run, and no longer."""

import os
from pathlib import Path

import pytest

from tests import stressed

SEEN = """
import os, pathlib
def test_seen():
    own = os.getppid()
    beside = pathlib.Path(f"/proc/{own}/task/{own}/children").read_text().split()
    lines = [pathlib.Path(f"/proc/{each}/cmdline").read_bytes() for each in beside]
    assert len([line for line in lines if b"while True" in line]) == 2  # busy, and the disk's
"""


@pytest.fixture(autouse=True)
def gently(monkeypatch):
    monkeypatch.setattr(stressed, "LOOPS", 1)


def test_the_tests_run_beside_load_and_the_load_ends(tmp_path, capfd):
    file = tmp_path / "test_it.py"
    file.write_text(SEEN)
    assert stressed.main([str(file), "-q", "-p", "no:cacheprovider"]) == 0
    file.write_text("def test_it():\n    assert False\n")
    assert stressed.main([str(file), "-q", "-p", "no:cacheprovider"]) == 1
    assert "processes that never rest" in capfd.readouterr().out
    assert _children() == []


def test_tests_that_do_not_end_are_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(stressed, "BOUND_SECONDS", 5)
    monkeypatch.setattr(stressed, "PATIENCE_SECONDS", 5)  # where it is started with SIGINT ignored
    file = tmp_path / "test_it.py"
    file.write_text("import time\ndef test_it():\n    time.sleep(600)\n")
    assert stressed.main([str(file), "-q", "-p", "no:cacheprovider"]) == 1
    assert _children() == []


def _children():
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    lines = [Path(f"/proc/{each}/cmdline").read_bytes() for each in children]
    return [line for line in lines if b"while True" in line or b"\0pytest\0" in line]
