"""A cluster on disk: made whole or not at all, and the process that has it open."""

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sharegate.embedded.account import Account, give, spawn
from sharegate.errors import PostgresUnavailable

SUPERUSER = "postgres"


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What ``postmaster.pid`` says; true only while that process lives."""

    pid: int
    port: int
    ready: bool


def make_cluster(
    directory: Path, bin_directory: Path, version: int, account: Account | None
) -> None:
    """Make ``directory/data`` and the password beside it; all of it or none."""
    for abandoned in directory.glob("data.*.new"):
        shutil.rmtree(abandoned, ignore_errors=True)
    # A fresh name: the initdb of a caller that was killed may still be writing under the old one.
    unfinished = directory / f"data.{secrets.token_hex(4)}.new"
    unfinished.mkdir(mode=0o700)
    password = directory / "password"
    password.unlink(missing_ok=True)
    descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
        file.flush()
        os.fsync(descriptor)
    give([unfinished, password], account)
    # From 17 on UTF8 text sorts by code point without asking the operating system's libc, whose
    # upgrades change the order and so break indexes.
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if version >= 17 else []  # noqa: PLR2004
    command: list[str | Path] = [
        bin_directory / "initdb", "-D", unfinished, "--username", SUPERUSER,
        f"--pwfile={password}", "--auth-local=scram-sha-256", "--auth-host=scram-sha-256",
        "--data-checksums", "--encoding=UTF8", "--locale=C", *builtin, "--no-instructions",
    ]  # fmt: skip
    process = spawn(command, account, subprocess.PIPE)
    said, _ = process.communicate()
    if process.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        sentence = said.decode(errors="replace").strip()[-2000:]
        raise PostgresUnavailable(f"no cluster could be made in {directory}. It said: {sentence}")
    unfinished.rename(directory / "data")
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cluster_version(data: Path) -> int | None:
    """The major version of the cluster there; None if there is none yet."""
    if not data.exists():
        return None
    try:
        return int((data / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError) as error:
        raise PostgresUnavailable(f"{data} exists but is not a PostgreSQL cluster") from error


def read_postmaster(data: Path) -> Postmaster | None:
    """Read ``postmaster.pid``: pid, directory, start time, port, …, and on line 8 the status."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").split("\n")
        return Postmaster(int(lines[0]), int(lines[3]), lines[7].strip() == "ready")
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
        return None  # absent, or being written this moment


def is_postmaster(pid: int, data: Path) -> bool:
    """Whether that process is the server over that directory, and not a heir to its number.

    In a container the same numbers come back after every restart. The file also lies where the
    server's account can write it: root must not signal whatever number it finds there, so the
    process has to belong to the cluster's owner.
    """
    process = Path("/proc") / str(pid)
    if not Path("/proc/self/cmdline").exists():  # macOS
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return pid > 1
    try:
        arguments = (process / "cmdline").read_bytes().split(b"\0")
        same_owner = process.stat().st_uid == data.stat().st_uid
    except (FileNotFoundError, ProcessLookupError):
        return False
    return same_owner and os.fsencode(data) in arguments


def forget_dead_postmaster(data: Path) -> None:
    """Remove a ``postmaster.pid`` whose number now belongs to something else.

    PostgreSQL itself only asks whether *some* process has the number. Backends that outlived a
    killed postmaster are still noticed: by the shared memory they hold.
    """
    server = read_postmaster(data)
    if server is not None and not is_postmaster(server.pid, data):
        (data / "postmaster.pid").unlink(missing_ok=True)
