"""``sharegate policy sign``: vouch for a provider's rules, or for those common to all."""

import argparse
from collections.abc import Collection
from pathlib import Path

from sharegate.authorize.signed import (
    FOR_PEOPLE,
    PROVIDER_FILES,
    PROVIDER_NOTE,
    ROOT_FILES,
    ROOT_NOTE,
)
from sharegate.cli.options import Verbs
from sharegate.cli.signing import load_key, sign_set
from sharegate.errors import Misconfigured
from sharegate.model.signed import ROOT_SET, Statement


def add_to(actions: Verbs) -> None:
    """Add the action."""
    parser = actions.add_parser(
        "sign", help="sign a provider's folder, or the policies folder itself (administrators)"
    )
    parser.add_argument("folder", type=Path, help="policies/PROVIDER, or policies")
    parser.add_argument("--key", type=Path, required=True, metavar="PEM", help="an Ed25519 key")
    parser.add_argument(
        "--as", dest="name", help="the key's name: by default the folder's; a joint owner's own"
    )
    parser.add_argument("--version", type=int, help="by default one more than the last")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    statement = sign_policies(chosen.folder, chosen.key, chosen.name, chosen.version)
    print(f"{statement.name} version {statement.version}, digest {statement.digest}")
    for file in sorted(statement.files):
        print(f"  {statement.files[file]}  {file}")
    return 0


def sign_policies(
    folder: Path, key: Path, name: str | None = None, version: int | None = None
) -> Statement:
    """Sign what lies in a folder; see `sharegate.cli.signing.sign_set`.

    Args:
        folder: A provider's, named like it; or the policies folder, for the common files.
        key: The private key.
        name: The key's name; by default the folder's.
        version: By default the next one.

    Raises:
        Misconfigured: There is a file that does not belong there, one of the common files is
            missing, or one cannot be used.
    """
    folder = folder.resolve()
    common, own = (
        {file for file in known if (folder / file).exists()}
        for known in (ROOT_FILES, PROVIDER_FILES)
    )
    if "model.conf" in common or (common and not own):
        if absent := sorted(ROOT_FILES - common):
            raise Misconfigured(
                str(folder), f"has common rules, but no {' and no '.join(absent)}: all are needed"
            )
        if name is None:
            raise Misconfigured(str(folder), "has the common rules: say which administrator signs")
        files = _files(folder, ROOT_FILES, FOR_PEOPLE | {ROOT_NOTE})
        return sign_set(folder / ROOT_NOTE, ROOT_SET, files, load_key(key, name), version)
    files = _files(folder, PROVIDER_FILES, {PROVIDER_NOTE})
    signer = load_key(key, name or folder.name)
    return sign_set(folder / PROVIDER_NOTE, folder.name, files, signer, version)


def _files(folder: Path, known: Collection[str], beside: Collection[str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() or entry.name in beside or entry.name.startswith("."):
                continue
            if entry.name not in known:
                raise Misconfigured(str(entry), "is no policy file, perhaps a misspelt one")
            files[entry.name] = entry.read_bytes()
    except OSError as error:
        raise Misconfigured(str(folder), error.strerror or "cannot be read") from error
    if not files:
        raise Misconfigured(str(folder), "has no policy file")
    return files
