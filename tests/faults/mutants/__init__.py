"""Gateways with one promise broken, each a module that patches and then runs the command line.

A fault test that passes with its mutant cannot fail, and proves nothing.
"""

import subprocess
import sys
from pathlib import Path

from tests.site import GatewayProcess

ROOT = Path(__file__).parents[3]


def start_mutant(gateway: GatewayProcess, name: str) -> None:
    """Start a gateway as its mutant; returns when it is ready."""
    with gateway.output.open("ab") as output:
        gateway.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"tests.faults.mutants.{name}",
                "serve",
                "--config",
                str(gateway.config),
            ],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    gateway.wait_until_ready()
