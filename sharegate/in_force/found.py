"""What lies on disk: the sets of files as they are right now, not judged."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from sharegate.authorize.signed import FOR_PEOPLE, PROVIDER_NOTE, ROOT_NOTE
from sharegate.identify.signed_registry import note_of
from sharegate.model.signed import REGISTRY_SET, ROOT_SET

MAX_FILE_BYTES: Final = 64 * 1024 * 1024

Stats = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class FileSet:
    """One set as it was read once, so that what is verified is what is used.

    Attributes:
        place: Where its note is, or should be.
        files: All its files, the note apart.
        note: The note; None where there is none.
        trouble: Why it could not be read whole; None where it could.
        digest: The SHA-256 of all of it.
    """

    place: Path
    files: Mapping[str, bytes]
    note: bytes | None
    trouble: str | None
    digest: bytes

    @property
    def gone(self) -> bool:
        """Whether nothing is there."""
        return not self.files and self.note is None and self.trouble is None


def missing(place: Path) -> FileSet:
    """The set of a folder that is not there any more."""
    return _set(place, {}, None, None)


def look(policies: Path, registry: Path) -> Stats:
    """Say cheaply how everything looks from outside; equal looks mean that nothing was written."""
    paths = [registry, note_of(registry), policies]
    for entry in _entries(policies):
        paths.append(entry)
        paths += _entries(entry)
    return tuple(_look(path) for path in paths)


def read_sets(policies: Path, registry: Path) -> Mapping[str, FileSet]:
    """Read every set, by its name. A folder that cannot be read is a set with a trouble."""
    found = {REGISTRY_SET: read_registry_set(registry)}
    common: dict[str, Path] = {}
    for entry in _entries(policies):
        if entry.is_dir():
            place = entry / PROVIDER_NOTE
            # A folder of this name would be taken for another set: it is read as a stray one.
            name = entry.name if entry.name not in {ROOT_SET, REGISTRY_SET} else f"{entry.name}/"
            found[name] = _read(place, {inner.name: inner for inner in _entries(entry)})
        elif entry.name not in FOR_PEOPLE:
            common[entry.name] = entry
    found[ROOT_SET] = _read(policies / ROOT_NOTE, common)
    return found


def read_registry_set(registry: Path) -> FileSet:
    """Read the registry and its note."""
    return _read(note_of(registry), {registry.name: registry})


def _read(place: Path, paths: Mapping[str, Path]) -> FileSet:
    files: dict[str, bytes] = {}
    trouble = None
    for name, path in sorted({**paths, place.name: place}.items()):
        try:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                trouble = f"{name} has more than {MAX_FILE_BYTES} bytes"
            elif not path.is_file():
                trouble = f"{name} is no file"
            else:
                files[name] = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            trouble = f"{name}: {error.strerror or 'cannot be read'}"
    note = files.pop(place.name, None)
    if note is None and not files and place.name == PROVIDER_NOTE:
        trouble = trouble or "there is nothing in it"
    return _set(place, files, note, trouble)


def _set(
    place: Path, files: Mapping[str, bytes], note: bytes | None, trouble: str | None
) -> FileSet:
    whole = sha256((trouble or "").encode(errors="surrogateescape") + b"\0")
    whole.update(b"-" if note is None else sha256(note).digest())
    for name in sorted(files):
        whole.update(sha256(files[name]).digest() + name.encode(errors="surrogateescape") + b"\0")
    return FileSet(place, files, note, trouble, whole.digest())


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []  # not a folder, or gone: the set then lacks its note


def _look(path: Path) -> tuple[str, int, int, int, int]:
    try:
        seen = path.stat()
    except OSError:
        return str(path), 0, 0, 0, 0
    if stat.S_ISDIR(seen.st_mode):
        return str(path), seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, 0
    return str(path), seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, seen.st_size
