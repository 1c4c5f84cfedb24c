"""``sharegate registry sign``: vouch for the members, as an administrator."""

import argparse
from pathlib import Path

from sharegate.cli.options import Verbs
from sharegate.cli.signing import load_key, sign_set
from sharegate.errors import Misconfigured
from sharegate.identify.registry import read_registry
from sharegate.identify.signed_registry import note_of
from sharegate.model.signed import REGISTRY_SET, Statement


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("registry", help="sign the registry of members")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    sign = actions.add_parser("sign", help="sign it; enough administrators must, one by one")
    sign.add_argument("file", type=Path, help="registry.toml; its version rises with each change")
    sign.add_argument("--key", type=Path, required=True, metavar="PEM", help="an Ed25519 key")
    sign.add_argument("--as", dest="name", required=True, help="the key's name in [trust]")
    sign.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    statement = sign_registry(chosen.file, chosen.key, chosen.name)
    print(f"{chosen.file} version {statement.version}, digest {statement.digest}")
    return 0


def sign_registry(file: Path, key: Path, name: str) -> Statement:
    """Sign a registry file, which says its own version; see `sharegate.cli.signing.sign_set`.

    Raises:
        Misconfigured: The registry or the key cannot be used.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be read") from error
    registry = read_registry(file, content)
    files = {file.name: content}
    return sign_set(note_of(file), REGISTRY_SET, files, load_key(key, name), registry.version)
