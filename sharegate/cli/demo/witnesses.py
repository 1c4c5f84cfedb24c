"""The demo's consortium: four members' witnesses, each a process with files of its own."""

import asyncio
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import VerifierKey
from sharegate.cli.demo.ports import kept_port
from sharegate.cli.keys import new_signing_key
from sharegate.consortium.witness_memory import Forgotten, WitnessMemory
from sharegate.errors import ShareGateError
from sharegate.private_keys import load_ed25519

MEMBERS: Final = ("civil-affairs", "housing", "tax", "discipline-inspection")
_NEEDED: Final = 3
_TRIES: Final = 200
_PAUSE: Final = 0.05


class NoWitness(ShareGateError):
    """A witness of the demo does not start."""


@dataclass(slots=True)
class Witness:
    """One member's."""

    name: str
    home: Path
    port: int
    vkey: str
    process: asyncio.subprocess.Process | None = field(default=None)

    @property
    def url(self) -> str:
        """Where it takes checkpoints."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        """What it remembers."""
        return self.home / "state"


@dataclass(frozen=True, slots=True)
class Consortium:
    """All of them, and the quorum file that names them."""

    witnesses: tuple[Witness, ...]
    quorum: Path

    async def start(self) -> None:
        """Start them and wait until each listens.

        Raises:
            NoWitness: One does not.
        """
        for one in self.witnesses:
            with (one.home / "witness.log").open("ab") as output:
                one.process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "sharegate", "witness", "serve",
                    "--config", str(one.home / "witness.toml"),
                    stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
        for one in self.witnesses:
            await _until_it_listens(one)

    async def stop(self) -> None:
        """Stop them."""
        running = [one.process for one in self.witnesses if one.process is not None]
        for process in running:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in running:
            await process.wait()


def build_consortium(place: Path, log_key: str) -> Consortium:
    """Make what is missing: keys, settings, and a beginning with the log.

    Args:
        place: The demo's directory.
        log_key: The verifier key of the log they watch.
    """
    witnesses = tuple(_witness(place / "witnesses" / name, name, log_key) for name in MEMBERS)
    lines = [f"log {log_key}", *(f"witness {w.name} {w.vkey} {w.url}" for w in witnesses)]
    lines += [f"group members {_NEEDED} {' '.join(MEMBERS)}", "quorum members", ""]
    quorum = place / "quorum"
    quorum.write_text("\n".join(lines), encoding="utf-8")
    return Consortium(witnesses, quorum)


def _witness(home: Path, name: str, log_key: str) -> Witness:
    home.mkdir(parents=True, exist_ok=True)
    file = home / "witness.pem"
    key = load_ed25519(file) if file.exists() else new_signing_key(file)
    port, called = kept_port(home / "port"), f"{name}.example/witness"
    (home / "witness.toml").write_text(
        f'name = "{called}"\nkeys = ["witness.pem"]\nlisten = "127.0.0.1:{port}"\n'
        f'state = "state"\nlogs = ["{log_key}"]\n',
        encoding="utf-8",
    )
    memory, origin = WitnessMemory(home / "state"), VerifierKey.parse(log_key).name
    memory.seize()
    try:
        memory.recall(origin)
    except Forgotten:
        memory.begin(origin)
    finally:
        memory.release()
    return Witness(name, home, port, Cosigner(called, key).verifier.vkey)


async def _until_it_listens(one: Witness) -> None:
    assert one.process is not None
    for _ in range(_TRIES):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", one.port)
            writer.close()
            return
        if one.process.returncode is not None:
            break
        await asyncio.sleep(_PAUSE)
    raise NoWitness(f"the witness of {one.name} does not start; see {one.home / 'witness.log'}")
