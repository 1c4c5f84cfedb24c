"""Small TOML files of which every key is known: of a witness, a monitor, a consortium."""

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from sharegate.errors import Misconfigured

T = TypeVar("T")


def read_toml(path: Path, kind: type[T]) -> T:
    """Read a file as a struct.

    Raises:
        Misconfigured: It cannot be read, is not TOML, or a key is unknown, missing or wrong.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except OSError as error:
        raise Misconfigured(str(path), error.strerror or "cannot be read") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise Misconfigured(str(path), str(error)) from error
