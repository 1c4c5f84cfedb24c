"""Which version of each set was in force last: the file that keeps an old one from coming back.

A TOML file, replaced whole, so that a power cut leaves the old one or the new one. All gateways
that share a state directory share it.
"""

import fcntl
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from sharegate import durable
from sharegate.errors import Misconfigured
from sharegate.model.party import DepartmentId
from sharegate.model.signed import Fault, SetRefused, Statement

VERSIONS_FILE: Final = "versions.toml"


class Remembered(Struct, frozen=True, forbid_unknown_fields=True):
    """One set as it was in force last.

    Attributes:
        digest: That of its statement.
        owners: The departments whose signatures its next version needs.
    """

    version: Annotated[int, Meta(ge=1)]
    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    owners: tuple[DepartmentId, ...] = ()


@dataclass(frozen=True, slots=True)
class SetMemory:
    """The file; its directory must exist. Every call blocks for as long as the disk takes."""

    path: Path

    def recall(self) -> Mapping[str, Remembered]:
        """Read what was in force last, by the names of the sets.

        Raises:
            Misconfigured: The file is there and cannot be read or used.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
            return msgspec.convert(tomllib.loads(text), dict[str, Remembered])
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Misconfigured(str(self.path), error.strerror or "cannot be read") from error
        except (ValueError, msgspec.ValidationError) as error:
            raise Misconfigured(str(self.path), f"is damaged: {error}") from error

    def remember(self, accepted: Mapping[str, Remembered]) -> None:
        """Make it durable that these are in force, unless a later version was.

        The comparison and the write are one step to every process that shares the file.

        Raises:
            SetRefused: Another process put a later version into force, or this one otherwise.
            Misconfigured: As for :meth:`recall`.
            OSError: It may not be durable.
        """
        with self._locked():
            known = self.recall()
            for name, one in accepted.items():
                require_newer(str(self.path), known.get(name), one.version, one.digest)
            text = "".join(map(_table, sorted({**known, **accepted}.items())))
            durable.replace(self.path, text.encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def require_newer(place: str, known: Remembered | None, version: int, digest: str) -> None:
    """See that a set is the one that was in force last, or a later one.

    Raises:
        SetRefused: It is an older one, or another one of the same version.
    """
    if known is None or version > known.version:
        return
    if version < known.version:
        raise SetRefused(
            Fault.OLDER, place, f"is version {version}, and {known.version} was in force"
        )
    if digest != known.digest:
        raise SetRefused(
            Fault.REUSED, place, f"is another version {version} than the one that was in force"
        )


def remembered(statement: Statement, owners: tuple[DepartmentId, ...]) -> Remembered:
    """Write of a set what there is to remember."""
    return Remembered(statement.version, statement.digest, owners)


def _table(named: tuple[str, Remembered]) -> str:
    # Names are registry ids and digests hexadecimal: nothing in here needs an escape.
    name, one = named
    owners = ", ".join(f'"{owner}"' for owner in one.owners)
    return f'[{name}]\nversion = {one.version}\ndigest = "{one.digest}"\nowners = [{owners}]\n\n'
