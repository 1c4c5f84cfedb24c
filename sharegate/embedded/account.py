"""The unprivileged account a server started by root runs as, and what it can reach."""

import os
import pwd
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sharegate.errors import PostgresUnavailable

# Nothing of the caller's environment: it may hold keys, and PG* variables change the server.
ENVIRONMENT = MappingProxyType({"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"})


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged account a server started by root runs as."""

    name: str
    uid: int
    gid: int


def account_for(data: Path) -> Account | None:
    """Whom the server is to run as; None is the caller, who is not root."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        owner = data.stat()
        return Account(f"#{owner.st_uid}", owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise PostgresUnavailable(
        "PostgreSQL does not run as root, and there is neither an account postgres nor nobody"
    )


def barrier_to(path: Path, account: Account, wanted: int = stat.S_IXOTH) -> Path | None:
    """The first directory on the way to ``path`` that the account cannot enter.

    ``path`` itself must grant ``wanted``, as bits of the last octal digit.
    """
    for place in (*reversed(path.parents), path):
        found = place.stat()
        shift = 6 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 0
        needed = wanted if place == path else stat.S_IXOTH
        if (found.st_mode >> shift) & needed != needed:
            return place
    return None


def spawn(
    command: list[str | Path], account: Account | None, output: int
) -> subprocess.Popen[bytes]:
    """Start a program as that account, out of reach of the terminal's Ctrl-C."""
    return subprocess.Popen(  # noqa: S603  an argument list, no shell
        command,
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        cwd="/", env=ENVIRONMENT, start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )  # fmt: skip


def give(places: Iterable[Path], account: Account | None) -> None:
    """Make the account the owner of those places; nothing if the caller itself is to own them."""
    if account is not None:
        for place in places:
            os.chown(place, account.uid, account.gid, follow_symlinks=False)
