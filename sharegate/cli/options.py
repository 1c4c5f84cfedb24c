"""What several verbs' arguments share."""

import argparse
from pathlib import Path
from typing import TypeAlias

# argparse gives the thing that holds sub-commands no public name.
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def config_argument(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the argument that names the settings file."""
    parser.add_argument(
        "--config", type=Path, required=required, metavar="FILE", help="the settings file (TOML)"
    )
