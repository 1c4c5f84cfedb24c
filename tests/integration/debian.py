"""Programs of Debian that no wheel brings: unpacked beside the tests, never installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[2] / ".cache"


def unpacked(name, *packages, what):
    """A directory with Debian's packages unpacked in it, kept in `.cache`; skips or fails without.

    Args:
        name: Of the directory.
        packages: Debian's names.
        what: What is not tried where they cannot be had.
    """
    directory = CACHE / name
    if not directory.exists():
        why = _unpack(directory, packages)
        if why is not None:
            if os.environ.get("CI", "").lower() == "true":
                pytest.fail(f"no {name}: {why}")
            pytest.skip(f"no {name}, so {what}: {why}")
    return directory


def _unpack(directory, packages):
    """Fetch packages and unpack them; say why not."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "neither on PATH, nor is this a Debian that it could be fetched from"
    if os.geteuid() != 0:
        return "not on PATH, and only root fetches Debian's package"
    CACHE.mkdir(exist_ok=True)
    fetching = CACHE / f"{directory.name}-{os.getpid()}"
    fetching.mkdir()
    try:
        fetch = ["apt-get", "download", "-q", *packages]
        if run(*fetch, cwd=fetching).returncode != 0:
            run("apt-get", "update", "-q")
            done = run(*fetch, cwd=fetching)
            if done.returncode != 0:
                return f"apt-get: {done.stderr[-500:]}"
        for package in fetching.glob("*.deb"):
            done = run("dpkg-deb", "-x", str(package), str(fetching))
            if done.returncode != 0:
                return f"dpkg-deb: {done.stderr[-500:]}"
            package.unlink()
        if not directory.exists():
            fetching.rename(directory)
        return None
    finally:
        shutil.rmtree(fetching, ignore_errors=True)


def run(*command, cwd=None, env=None):
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=180, check=False
    )
