"""What one check found, and how to speak of a database without its password."""

import re
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

# What connecting and asking may raise, in asyncpg's and the operating system's terms.
BROKEN = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError)
# Strict on purpose: a password with a slash or an @ in it makes a naive reader print half of it.
_DSN = re.compile(
    r"postgres(?:ql)?://(?:(?P<login>[\w.%-]+)(?::[^@/?#\s]*)?@)?"
    r"(?P<where>[\w.:,%-]+|\[[0-9a-fA-F:.]+\](?::\d+)?)(?P<database>/[\w.%-]*)?(?:\?[^@\s]*)?"
)


# Looked up in this order: a TimeoutError is an OSError too.
_WHY: dict[type[BaseException], str] = {
    asyncpg.InvalidAuthorizationSpecificationError: (
        "refuses this login; check its name, password and pg_hba.conf"
    ),
    asyncpg.InvalidCatalogNameError: "has no such database; check the name in the DSN",
    asyncpg.InsufficientPrivilegeError: "does not give this role the right; use one that has it",
    asyncpg.TooManyConnectionsError: "has no connection left; raise max_connections",
    asyncpg.CannotConnectNowError: "is starting or stopping; try again",
    TimeoutError: "does not answer in time; check network, firewall and server",
    OSError: "cannot be reached; check host, port, firewall, and that it runs",
    ValueError: "is not a DSN a connection can be made with; check its spelling",
}


class Verdict(StrEnum):
    """What a check comes to. Only `WRONG` makes the doctor's exit code 1."""

    OK = "ok"
    WARN = "warn"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        what: What was looked at.
        detail: What was found, and where it is not well, what to do.
    """

    verdict: Verdict
    what: str
    detail: str

    def __str__(self) -> str:
        """One line, whatever the detail contains."""
        return f"{self.verdict:<6} {self.what}: {' '.join(self.detail.split())}"


def ok(what: str, detail: str) -> Finding:
    """Nothing to do."""
    return Finding(Verdict.OK, what, detail)


def warn(what: str, detail: str) -> Finding:
    """The gateway works, and someone should look."""
    return Finding(Verdict.WARN, what, detail)


def wrong(what: str, detail: str) -> Finding:
    """The gateway will not start, will answer nothing, or is not safe."""
    return Finding(Verdict.WRONG, what, detail)


def judged(what: str, faults: list[str], fine: str) -> Finding:
    """Every fault in one finding, or that it is fine."""
    return wrong(what, "; ".join(faults)) if faults else ok(what, fine)


def address_of(dsn: str) -> str:
    """A DSN as login@host:port/database, or a word in its place where it cannot be taken apart."""
    parts = _DSN.fullmatch(dsn)
    if parts is None:
        return "(a DSN that is not read apart, as it may show the password)"
    login = f"{parts['login']}@" if parts["login"] else ""
    return f"{login}{parts['where']}{parts['database'] or ''}"


def unreachable(dsn: str, error: BaseException) -> str:
    """Why there is no connection, and what to do; nothing of the error's own text."""
    for kind, words in _WHY.items():
        if isinstance(error, kind):
            return f"{address_of(dsn)} {words}"
    return f"{address_of(dsn)} refuses ({type(error).__name__}); see the server's own log"
